"""Plan → rendered module → compiled artefact, trying the next schedule where one spills."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import DiagnosticError
from flash4gen.driver.failures import compile_failed, import_failed
from flash4gen.driver.model import Event, IndexPlan, Plan, Progress, StageError
from flash4gen.ir import library
from flash4gen.ir.core import core
from flash4gen.render.module import RenderedModule, render
from flash4gen.schedule.backward.model import KernelShape
from flash4gen.schedule.backward.pins import shapes_to_try
from flash4gen.schedule.backward.space import Kernel, shape_of
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice, Family, Load, Searched
from flash4gen.schedule.pins import DOMAINS_OF
from flash4gen.schedule.text import record_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flash4gen.build.artefact import Artefact, Facts
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.backward.model import AnyBackwardSchedule, Unfit
    from flash4gen.schedule.model import AnySchedule, Excluded
    from flash4gen.validate.subject import Subject

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
    """What holds for a whole run: where outputs go, whose templates, who is told, how deep.

    `listed` says whether kernels that do not spill are disassembled, too.
    """

    out: Path
    template_dirs: tuple[Path, ...]
    progress: Progress
    mutate: bool = False
    listed: bool = True

    def module_path(self, plan: Plan) -> Path:
        """Return where the module of a plan goes."""
        return self.out / plan.hardware.name / f"{plan.attention.name}.py"

    def index_path(self, plan: IndexPlan) -> Path:
        """Return where the index module of a model goes: beside the modules of its layers."""
        return self.out / plan.hardware.name / f"{plan.model.name}.py"

    def targets_of(self, name: str) -> tuple[str, ...]:
        """Return the shipped targets that there is a module of this name for."""
        names = library.target_names()
        return tuple(it for it in names if (self.out / it / f"{name}.py").is_file())

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


def subject_of(built: Built, overrides: tuple[Path, ...] = ()) -> Subject:
    """Return what is validated, or timed, of a module; ``overrides``: template directories."""
    from flash4gen.validate.subject import Subject

    return Subject(
        attention=built.plan.attention,
        hardware=built.plan.hardware,
        choice=built.plan.choice,
        rendered=built.rendered,
        path=built.file,
        artefact=built.artefact,
        overrides=overrides,
    )


def render_plan(plan: Plan, run: Run) -> RenderedModule:
    """Return the module of a plan.

    Raises:
        DiagnosticError: a template of a user cannot be rendered.
    """
    return render(plan.attention, plan.hardware, plan.choice, run.template_dirs)


def build_plan(plan: Plan, run: Run, scratch: Path, findings: Findings) -> Built | None:
    """Render and compile a plan; where a kernel spills or is too large, try the next schedule.

    If every attempt spills, the one that spills least is taken and a warning says so. None after
    an error, as where no kernel stays within the limits of the target.
    """
    best: Built | None = None
    beyond: tuple[Diagnostic, ...] = ()
    current: Plan | None = plan
    attempts, family, own = 0, plan.choice.schedule.family, 0
    while current is not None and own < _ATTEMPTS:
        built = build_once(current, run, scratch / str(attempts), findings)
        if built is None:
            return None
        attempts, own = attempts + 1, own + 1
        wanting = next_plan(current, built.artefact)
        problems = _beyond_limits(built)
        beyond = beyond or problems
        fewer = best is None or spilled(built.artefact) < spilled(best.artefact)
        if not problems and (fewer or wanting is current):
            best = built
        if wanting is current:
            break
        current = wanting
        # What was tried of one family says nothing of another one's kernels.
        if current is not None and current.choice.schedule.family is not family:
            family, own = current.choice.schedule.family, 0
    if best is None:
        findings.add(*beyond)
    else:
        _warn_of_spills(best, attempts, findings)
    return best


def _beyond_limits(built: Built) -> tuple[Diagnostic, ...]:
    """Return an error for each limit of the target that one of the kernels exceeds."""
    from flash4gen.build.limits import limit_findings

    plan, kernels = built.plan, (*built.artefact.kernels, *built.artefact.backward)
    found = (limit_findings(it.facts, plan.hardware, plan.attention.span) for it in kernels)
    return tuple(problem for of_kernel in found for problem in of_kernel)


def next_plan(plan: Plan, artefact: Artefact) -> Plan | None:
    """Return the plan to try after a compile: the same if all is well, None if none is left.

    Every kernel that spills, or that cannot be launched, has its schedule, or its shape, excluded.
    """
    excluded, unfit = plan.excluded, plan.unfit
    schedule, hardware = plan.choice.schedule, plan.hardware
    whys = [
        _wanting(schedule, kernel.facts, hardware, spills=kernel is artefact)
        for kernel in artefact.kernels
    ]
    if any(whys):
        excluded += ((schedule, next(why for why in whys if why)),)
    for kernel, backward in _of_gradients(plan, artefact):
        shape = shape_of(backward, kernel.kernel)
        why = _wanting(backward, kernel.facts, hardware)
        if shape is not None and why:
            unfit += ((shape, why),)
    if (excluded, unfit) == (plan.excluded, plan.unfit):
        return plan
    return replan(plan, excluded, unfit)


def _of_gradients(
    plan: Plan, artefact: Artefact
) -> tuple[tuple[Artefact, AnyBackwardSchedule], ...]:
    """Return the kernels of the backward pass, each with its schedule: maybe of another family."""
    backward = plan.choice.backward
    if backward is None:
        return ()
    return tuple((it, backward.schedule_of(it.kernel)) for it in artefact.backward)


def _wanting(
    schedule: AnySchedule | AnyBackwardSchedule,
    facts: Facts,
    hardware: Hardware,
    *,
    spills: bool = True,
) -> str:
    """Return why another schedule is worth a try, or an empty text; by spills where they count."""
    from flash4gen.build.limits import over_limit

    if spills and spills_matter(schedule, facts):
        return f"spills {facts.spill_bytes} bytes per thread"
    return over_limit(facts, hardware)


def spilled(artefact: Artefact) -> int:
    """Return the bytes that a module's kernels spill per thread, the forward one's first."""
    return sum(kernel.facts.spill_bytes for kernel in (artefact, *artefact.backward))


def _warn_of_spills(best: Built, attempts: int, findings: Findings) -> None:
    plan = best.plan
    forward = best.artefact, plan.choice.schedule
    for kernel, schedule in (forward, *_of_gradients(plan, best.artefact)):
        if not spills_matter(schedule, kernel.facts):
            continue
        name = "the kernel" if kernel is best.artefact else f"`{kernel.kernel}`"
        findings.warning(
            Code.SPILLS,
            f"{name} of `{plan.attention.name}` for {plan.hardware.name} spills "
            f"{kernel.facts.spill_bytes} bytes per thread",
            plan.attention.span,
            notes=[f"compiled {attempts} times, with other schedules where there were any"],
            helps=["if the spec pins tile_q, tile_k or warps, unpin them"],
        )


def replan(plan: Plan, excluded: Excluded, unfit: Unfit = ()) -> Plan | None:
    """Return the plan with the best schedule that is not excluded, None if none is left."""
    choice = choose(plan.attention, plan.hardware, excluded, plan.choice.searched, unfit=unfit)
    if not isinstance(choice, Choice):
        return None
    if (choice.schedule, choice.backward) == (plan.choice.schedule, plan.choice.backward):
        return None
    if choice.backward is not None and choice.backward.exhausted:
        return None
    return replace(plan, choice=choice, excluded=excluded, unfit=unfit)


def recorded_plan(plan: Plan, text: str) -> Plan:
    """Return the plan with the schedules excluded that a module's header names.

    They were compiled and found to spill, which nobody can know from the spec alone. What a search
    on the clock has found stands there too, and is taken where this plan has not been searched for.
    """
    plan = as_searched(plan, text)
    candidates: dict[str, AnySchedule] = {}
    for ranked in plan.choice.ranked:
        candidates.setdefault(record_text(ranked.schedule), ranked.schedule)
    shapes = {
        item.text: item
        for kernel, load in product(Kernel, Load)
        for shape in shapes_to_try(core(plan.attention), plan.hardware, kernel, load)
        for item in (KernelShape(kernel.value, shape),)
    }
    told = _RECORD.findall(text)
    excluded = tuple((candidates[name], why) for name, why in told if name in candidates)
    unfit = tuple((shapes[name], why) for name, why in told if name in shapes)
    return (replan(plan, excluded, unfit) or plan) if excluded or unfit else plan


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


def spills_matter(schedule: AnySchedule | AnyBackwardSchedule, facts: Facts) -> bool:
    """Whether a kernel spills so much that another schedule is worth a try.

    A portable kernel is one loop, where every spill counts. The roles of a warp-specialised one
    save what they were handed before their loops, which costs nothing to speak of. What is launched
    for short queries has one role less, and more registers for each of the others.
    """
    if schedule.family is Family.PORTABLE:
        return facts.spill_bytes > 0
    return facts.loop_spills > _HARMLESS_SPILLS


def build_once(plan: Plan, run: Run, folder: Path, findings: Findings) -> Built | None:
    """Render and compile a plan with the schedule that it has; None after an error."""
    from flash4gen.build.compile import CompileError, compile_module

    try:
        with run.stage("render", plan.subject) as details:
            rendered = render_plan(plan, run)
            findings.add(*rendered.warnings)
            details.append(f"{rendered.text.count(chr(10))} lines")
    except DiagnosticError as error:
        findings.add(*error.diagnostics)
        return None
    file = folder / plan.hardware.name / f"{plan.attention.name}.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(rendered.text, encoding="utf-8")
    with run.stage("compile", plan.subject) as details:
        try:
            artefact = compile_module(file, plan.attention, plan.hardware, listed=run.listed)
        except CompileError as error:
            findings.add(compile_failed(plan, error, run.template_dirs))
            return None
        except Exception as error:
            failure = import_failed(error, file, run.template_dirs)
            if failure is None:
                raise
            findings.add(failure)
            return None
        facts = artefact.facts
        details.append(f"{facts.registers} registers, {facts.spill_bytes} bytes spilled")
    return Built(plan, rendered, file, artefact)
