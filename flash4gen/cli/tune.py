"""`flash4gen tune`: a longer search for the schedule of a spec, on the modelled clock."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output
from flash4gen.cli.progress import shown_search, shown_trial

if TYPE_CHECKING:
    from flash4gen.driver.model import Plan
    from flash4gen.schedule.blackwell.trials import Trial
    from flash4gen.schedule.blackwell.tune import Timed, Tuned

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m)?")
_SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0}


def _seconds(text: str) -> str:
    if not _BUDGET.fullmatch(text):
        raise typer.BadParameter(f"{text} is no time: write 60s or 5min")
    return text


def command(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="File, or name of a shipped spec.")],
    target: options.Targets = None,
    budget: Annotated[
        str, typer.Option(metavar="TIME", callback=_seconds, help="How long: 60s, 5min.")
    ] = "60s",
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Search for a faster schedule, and print it as a block to paste into the spec."""
    output = Output(output_format)
    with guard(output):
        from flash4gen.driver import check_spec, plan_spec

        checked = check_spec(options.spec_path(spec))
        plans, problems = plan_spec(checked, tuple(target or ())) if checked.ok else ((), ())
        found = (*checked.diagnostics, *problems)
        able = [plan for plan in plans if _able(plan, output)]
        matched = _BUDGET.fullmatch(budget)
        assert matched is not None
        seconds = float(matched[1]) * _SECONDS[matched[2]] / max(1, len(able))
        results = [(plan, _tuned(plan, seconds, output)) for plan in able]
        if output.json:
            output.document(found, tuned=[_document(*result) for result in results])
        for plan, result in results:
            _print(plan, result, output)
        if not plans and not found:
            output.line(f"{checked.path}: nothing in it to compile")
        output.diagnostics(found)
        output.end(ok=checked.ok and not problems)


def _able(plan: Plan, output: Output) -> bool:
    """Whether there is anything to search; if not, say so."""
    from flash4gen.ir.hardware import Backend
    from flash4gen.schedule.model import Schedule

    if isinstance(plan.choice.schedule, Schedule):
        where = f"{plan.attention.name} on {plan.hardware.name}"
        why = "the portable family has ranked all of its schedules already: see `flash4gen explain`"
        if plan.hardware.backend == Backend.HIP:
            why = f"there is no model of time for AMD, and {why}"
        output.remark(f"{where}: {why}")
        return False
    return True


def _tuned(plan: Plan, seconds: float, output: Output) -> Tuned:
    from flash4gen.driver.tune import Shown, tune_plan

    where = f"{plan.attention.name} on {plan.hardware.name}"
    shown = None if output.json else Shown(shown_search(where), shown_trial(where))
    return tune_plan(plan, seconds, shown)


def _print(plan: Plan, found: Tuned, output: Output) -> None:
    from flash4gen.schedule.blackwell.block import block

    output.line(f"# {plan.attention.name} on {plan.hardware.name}, {found.seconds:.0f} s")
    output.line(block(found, plan.attention).rstrip())


def _document(plan: Plan, found: Tuned) -> dict[str, Any]:
    from flash4gen.schedule.blackwell.block import block

    def timed(item: Timed | Trial) -> dict[str, Any]:
        cycles = [item.cycles, item.low, item.high]
        known = cycles if math.isfinite(item.cycles) else None
        return {"schedule": asdict(item.schedule), "modelled_cycles": known}

    return {
        "attention": plan.attention.name,
        "target": plan.hardware.name,
        "schedule": asdict(found.schedule),
        "best": timed(found.best),
        "default": timed(found.default),
        "candidates": found.candidates,
        "evaluated": found.evaluated,
        "compiled": [
            {
                **timed(trial),
                "spill_bytes": trial.spill_bytes,
                "loop_spills": trial.loop_spills,
                "wanting": trial.wanting,
            }
            for trial in found.trials
        ],
        "block": block(found, plan.attention),
    }
