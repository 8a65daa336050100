"""The front door of the model of time: spec file → compiled module → its time on the clock.

Nothing is written. The schedule is the one of the module on disk where that is fresh, so that no
schedule is tried again that is known to spill; else it is found as ``compile_spec`` does.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.machine import NoConstantsError, machine_for
from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.model import DiagnosticError
from flash4gen.diagnostics.suggest import one_of
from flash4gen.driver.build import (
    Built,
    Run,
    build_once,
    build_plan,
    recorded_plan,
    render_plan,
    subject_of,
)
from flash4gen.driver.plan import check_spec, plan_spec
from flash4gen.ir import library
from flash4gen.render.overrides import check_overrides
from flash4gen.validate.certificate import from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.driver.model import Event, Plan, Progress
    from flash4gen.simulate.timed import Timed
    from flash4gen.validate.certificate import Certificate


class Asked(NamedTuple):
    """What a launch is like, and how many runs are made of it.

    Attributes:
        length: queries and keys of a sequence.
        batch: sequences; None for as many as have 64 heads together.
        jitter: latencies are off by as much as this share.
        seeds: runs with them off.
        lengths: queries and keys of each sequence where they are packed, in place of length and
            batch.
    """

    length: int = 8192
    batch: int | None = None
    jitter: float = 0.2
    seeds: int = 5
    lengths: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A module and its modelled time.

    Attributes:
        plan: with the schedule that was compiled.
        path: where the module lies, or would.
        fresh: whether what lies there is the module that was simulated.
        timed: its time.
        certificate: what lies beside it, if that is of this very module.
    """

    plan: Plan
    path: Path
    fresh: bool
    timed: Timed
    certificate: Certificate | None


def simulate_spec(
    path: str | Path,
    target: str | None = None,
    asked: Asked | None = None,
    *,
    out: Path | str = "generated",
    template_dirs: Sequence[Path] = (),
    progress: Progress | None = None,
) -> tuple[tuple[Simulated, ...], tuple[Diagnostic, ...]]:
    """Return the modelled time of every module of a spec, and what was found.

    Args:
        path: the ``.attn`` file.
        target: name of a hardware item; the first that the spec names if left out.
        asked: the launch; by default of 8192 queries and keys.
        out: folder of the generated modules.
        template_dirs: searched before the shipped templates. Templates are code.
        progress: called at the beginning and end of every stage.

    Raises:
        StageError: a fault of ours.
    """
    run = Run(Path(out), tuple(template_dirs), progress or _silent)
    findings = Findings()
    checked = check_spec(path)
    findings.add(*checked.diagnostics, *check_overrides(run.template_dirs))
    found: list[Simulated] = []
    if checked.ok:
        plans, problems = plan_spec(checked, (target,) if target else ())
        findings.add(*problems)
        wanted = asked or Asked()
        able = [
            plan
            for plan in _first(plans)
            if _known(plan, findings) and _packed(plan, wanted, findings)
        ]
        with tempfile.TemporaryDirectory(prefix="flash4gen-") as scratch:
            for plan in able if not findings.errors else ():
                one = _simulated(plan, wanted, run, Path(scratch), findings)
                found += [one] if one is not None else []
    return tuple(found), findings.in_order()


def _first(plans: tuple[Plan, ...]) -> tuple[Plan, ...]:
    """Return the plan of the first target of each attention."""
    return tuple({plan.attention.name: plan for plan in reversed(plans)}.values())[::-1]


def _known(plan: Plan, findings: Findings) -> bool:
    """Whether the clock knows the target; else say so, before anything is compiled."""
    try:
        machine_for(plan.hardware)
    except NoConstantsError as error:
        known = [name for name in library.target_names() if _has_constants(name)]
        findings.error(
            Code.NO_CONSTANTS,
            f"the time of `{plan.attention.name}` on {plan.hardware.name} cannot be modelled",
            plan.hardware.span or plan.attention.span,
            notes=[str(error)],
            helps=[f"one of {one_of(known)} can be simulated: pass it with --target"],
        )
        return False
    return True


def _packed(plan: Plan, asked: Asked, findings: Findings) -> bool:
    """Whether its sequences may have lengths of their own; else say so."""
    if not asked.lengths or plan.attention.packed:
        return True
    findings.error(
        Code.NOT_SIMULATED,
        f"the sequences of `{plan.attention.name}` all have the same length",
        plan.attention.span,
        notes=["lengths for each of them are for packed sequences"],
        helps=["write `lengths = packed` in the spec, or pass --seq and --batch"],
    )
    return False


def _has_constants(name: str) -> bool:
    try:
        machine_for(library.target(name))
    except NoConstantsError:
        return False
    return True


def _simulated(
    plan: Plan, asked: Asked, run: Run, scratch: Path, findings: Findings
) -> Simulated | None:
    from flash4gen.simulate.model import SimulationError
    from flash4gen.simulate.timed import shape_of, time_module

    file = run.module_path(plan)
    try:
        built, fresh = _built(plan, file, run, scratch, findings)
    except DiagnosticError as error:
        findings.add(*error.diagnostics)
        return None
    if built is None:
        return None
    made = built.plan
    subject = subject_of(built, run.template_dirs)
    with run.stage("simulate", plan.subject) as details:
        try:
            shape = shape_of(made.attention, asked.length, asked.batch, asked.lengths)
            timed = time_module(subject, shape, jitter=asked.jitter, seeds=asked.seeds)
        except SimulationError as error:
            findings.error(
                Code.NOT_SIMULATED,
                f"the time of `{made.attention.name}` on {made.hardware.name} cannot be modelled",
                made.attention.span,
                notes=[str(error)],
                helps=["`flash4gen explain` has a rougher model, of the schedule alone"],
            )
            return None
        details.append(f"{timed.simulation.cycles_per_turn:,.0f} cycles a turn, modelled")
    certificate = _certificate(file, built) if fresh else None
    return Simulated(plan=made, path=file, fresh=fresh, timed=timed, certificate=certificate)


def _built(
    plan: Plan, file: Path, run: Run, scratch: Path, findings: Findings
) -> tuple[Built | None, bool]:
    """Return a plan compiled, and whether its module is the one on disk."""
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    known = recorded_plan(plan, text)
    if render_plan(known, run).text == text:
        return build_once(known, run, scratch / plan.attention.name, findings), True
    return build_plan(plan, run, scratch / plan.attention.name, findings), False


def _certificate(file: Path, built: Built) -> Certificate | None:
    """Return the certificate on disk if it is of this module."""
    try:
        found = from_json(file.with_suffix(".certificate.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.provenance == built.rendered.provenance.as_mapping() else None


def _silent(event: Event) -> None:
    del event
