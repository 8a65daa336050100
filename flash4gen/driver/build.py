"""Plan → rendered module → compiled artefact, trying the next schedule where one spills."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import DiagnosticError
from flash4gen.driver.model import Event, IndexPlan, Plan, Progress, StageError
from flash4gen.render.module import RenderedModule, render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice, Family, Searched
from flash4gen.schedule.pins import DOMAINS_OF
from flash4gen.schedule.text import record_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flash4gen.build.artefact import Artefact, Facts
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.schedule.model import AnySchedule, Excluded

_ATTEMPTS = 6
_SEARCHED = re.compile(
    r"^# searched +by --search, ([\d.]+) times as fast as by the rules, modelled\n# found +(.*)$",
    re.MULTILINE,
)
_PIN = re.compile(r"(\w+) = (\w+)")
_RECORD = re.compile(r"^# excluded +([^:\n]+): (.*)$", re.MULTILINE)

_HARMLESS_SPILLS = 12
"""Reloads of what a role was handed, in all loops together: two in a loop of 700 instructions."""


@dataclass(frozen=True, slots=True)
class Run:
    """What holds for a whole run: where outputs go, whose templates, who is told, how deep."""

    out: Path
    template_dirs: tuple[Path, ...]
    progress: Progress
    mutate: bool = False

    def module_path(self, plan: Plan) -> Path:
        """Return where the module of a plan goes."""
        return self.out / plan.hardware.name / f"{plan.attention.name}.py"

    def index_path(self, plan: IndexPlan) -> Path:
        """Return where the index module of a model goes: beside the modules of its layers."""
        return self.out / plan.hardware.name / f"{plan.model.name}.py"

    def tell(self, stage: str, subject: str, detail: str) -> None:
        """Report what a running stage is doing."""
        event = Event(stage=stage, subject=subject, detail=detail, seconds=0.0, done=False)
        self.progress(event)

    @contextmanager
    def stage(self, name: str, subject: str) -> Iterator[list[str]]:
        """Report a stage; the block appends its details. Faults of ours leave as ``StageError``."""
        start = time.perf_counter()
        details: list[str] = []
        self.tell(name, subject, "")
        try:
            yield details
        except (StageError, OSError, DiagnosticError):
            raise
        except Exception as error:
            raise StageError(name, subject) from error
        seconds = time.perf_counter() - start
        detail = ", ".join(details)
        self.progress(Event(stage=name, subject=subject, detail=detail, seconds=seconds, done=True))


@dataclass(frozen=True, slots=True)
class Built:
    """A plan with the schedule that was settled on, its text, its file, and its cubin."""

    plan: Plan
    rendered: RenderedModule
    file: Path
    artefact: Artefact


def render_plan(plan: Plan, run: Run) -> RenderedModule:
    """Return the module of a plan.

    Raises:
        DiagnosticError: a template of a user cannot be rendered.
    """
    return render(plan.attention, plan.hardware, plan.choice, run.template_dirs)


def build_plan(plan: Plan, run: Run, scratch: Path, findings: Findings) -> Built | None:
    """Render and compile a plan; where the kernel spills, exclude its schedule and try the next.

    If every attempt spills, the one that spills least is taken and a warning says so. None after
    an error.
    """
    excluded: Excluded = ()
    best: Built | None = None
    current: Plan | None = plan
    while current is not None and len(excluded) < _ATTEMPTS:
        built = build_once(current, run, scratch / str(len(excluded)), findings)
        if built is None:
            return None
        spilled = built.artefact.facts.spill_bytes
        if not spills_matter(current.choice.schedule, built.artefact.facts):
            return built
        if best is None or spilled < best.artefact.facts.spill_bytes:
            best = built
        excluded += ((current.choice.schedule, f"spills {spilled} bytes per thread"),)
        current = replan(plan, excluded)
    assert best is not None
    findings.warning(
        Code.SPILLS,
        f"the kernel of `{plan.attention.name}` for {plan.hardware.name} spills "
        f"{best.artefact.facts.spill_bytes} bytes per thread",
        plan.attention.span,
        notes=[f"{len(excluded)} schedules were compiled, and each of them spills"],
        helps=["if the spec pins tile_q, tile_k or warps, unpin them"],
    )
    return best


def replan(plan: Plan, excluded: Excluded) -> Plan | None:
    """Return the plan with the best schedule that is not excluded, None if none is left."""
    choice = choose(plan.attention, plan.hardware, excluded, plan.choice.searched)
    if not isinstance(choice, Choice):
        return None
    return replace(plan, choice=choice, excluded=excluded)


def recorded_plan(plan: Plan, text: str) -> Plan:
    """Return the plan with the schedules excluded that a module's header names.

    They were compiled and found to spill, which nobody can know from the spec alone. What a search
    on the clock has found stands there too, and is taken where this plan has not been searched for.
    """
    plan = as_searched(plan, text)
    candidates: dict[str, AnySchedule] = {}
    for ranked in plan.choice.ranked:
        candidates.setdefault(record_text(ranked.schedule), ranked.schedule)
    excluded = tuple(
        (candidates[shape], reason)
        for shape, reason in _RECORD.findall(text)
        if shape in candidates
    )
    return (replan(plan, excluded) or plan) if excluded else plan


def as_searched(plan: Plan, text: str) -> Plan:
    """Return the plan with what a module's header says that a search has found."""
    matched = _SEARCHED.search(text)
    if plan.searched or matched is None:
        return plan
    written = dict(_PIN.findall(matched[2]))
    pins = tuple(
        (name, value)
        for name, domain in DOMAINS_OF[Family.BLACKWELL].items()
        if name in written and isinstance(value := domain.written(written[name]), int | str)
    )
    searched = Searched(float(matched[1]), pins)
    choice = choose(plan.attention, plan.hardware, searched=searched)
    return replace(plan, choice=choice) if isinstance(choice, Choice) else plan


def spills_matter(schedule: AnySchedule, facts: Facts) -> bool:
    """Whether a module's first kernel spills so much that another schedule is worth a try.

    The portable kernel is one loop, where every spill counts. The roles of a warp-specialised one
    save what they were handed before their loops, which costs nothing to speak of. What is launched
    for short queries has one role less, and more registers for each of the others.
    """
    if schedule.family is Family.PORTABLE:
        return facts.spill_bytes > 0
    return facts.loop_spills > _HARMLESS_SPILLS


def build_once(plan: Plan, run: Run, folder: Path, findings: Findings) -> Built | None:
    """Render and compile a plan with the schedule that it has; None after an error."""
    from flash4gen.build.compile import CompileError, compile_module
    from flash4gen.build.limits import limit_findings

    try:
        with run.stage("render", plan.subject) as details:
            rendered = render_plan(plan, run)
            details.append(f"{rendered.text.count(chr(10))} lines")
    except DiagnosticError as error:
        findings.add(*error.diagnostics)
        return None
    file = folder / plan.hardware.name / f"{plan.attention.name}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(rendered.text, encoding="utf-8")
    with run.stage("compile", plan.subject) as details:
        try:
            artefact = compile_module(file, plan.attention, plan.hardware)
        except CompileError as error:
            findings.error(
                Code.COMPILE_FAILED,
                f"Triton cannot compile `{plan.attention.name}` for {plan.hardware.name}: {error}",
                plan.attention.span,
                notes=error.log.strip().splitlines()[-12:],
                helps=["pin other tiles in a schedule { } block, and report this"],
            )
            return None
        facts = artefact.facts
        details.append(f"{facts.registers} registers, {facts.spill_bytes} bytes spilled")
    for kernel in artefact.backward:
        if spills_matter(plan.choice.schedule, kernel.facts):
            findings.warning(
                Code.SPILLS,
                f"`{kernel.kernel}` of `{plan.attention.name}` for {plan.hardware.name} spills "
                f"{kernel.facts.spill_bytes} bytes per thread",
                plan.attention.span,
                notes=["it is right, and slower than it could be"],
            )
    problems = [
        problem
        for kernel in (*artefact.kernels, *artefact.backward)
        for problem in limit_findings(kernel.facts, plan.hardware, plan.attention.span)
    ]
    findings.add(*problems)
    return None if problems else Built(plan, rendered, file, artefact)
