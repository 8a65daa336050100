"""`flash4gen vgpu`: run kernels that a user wrote on the virtual GPU, with all checks on."""

from __future__ import annotations

import sys
import traceback
from contextlib import nullcontext, redirect_stdout
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from flash4gen.cli import options
from flash4gen.cli.guard import DEBUG, guard
from flash4gen.cli.output import Output
from flash4gen.diagnostics import Code, DiagnosticError

if TYPE_CHECKING:
    from flash4gen.diagnostics import Diagnostic
    from flash4gen.vgpu import Policy

TARGET = "b200"


class Action(StrEnum):
    """What the virtual GPU can be asked to do."""

    RUN = "run"


class Schedule(StrEnum):
    """The order in which partitions and asynchronous work go on."""

    IN_ORDER = "in-order"
    RANDOM = "random"
    LAZIEST = "laziest"
    EAGEREST = "eagerest"
    ALL = "all"


def command(
    action: Annotated[Action, typer.Argument(metavar="run", show_default=False, help="Run it.")],
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py::FUNCTION",
            show_default=False,
            help="A function without parameters that launches kernels on CPU tensors.",
        ),
    ],
    target: Annotated[
        str, typer.Option("--target", metavar="NAME", help="GPU to compile for and to be.")
    ] = TARGET,
    policy: Annotated[
        Schedule, typer.Option("--policy", help="Schedule; `all` calls the function in each.")
    ] = Schedule.IN_ORDER,
    seed: Annotated[int, typer.Option("--seed", help="Of the random schedule.")] = 0,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Run a function that launches kernels on the virtual GPU, and report what is wrong."""
    del action
    output = Output(output_format)
    with guard(output):
        from flash4gen.cli.launches import Launched
        from flash4gen.vgpu import Check
        from flash4gen.vgpu.user_file import checked_launches

        launches: list[Launched] = []
        found: tuple[Diagnostic, ...] = ()
        try:
            checks = [Check(policy=one, seed=seed) for one in _policies(policy)]
            # What the user's code prints must not end up inside of the document.
            with redirect_stdout(sys.stderr) if output.json else nullcontext():
                for launch, report in checked_launches(place, _arch(target), checks):
                    launches.append(Launched(launch, report))
                    if not output.json:
                        launches[-1].print()
        except DiagnosticError as error:
            found = error.diagnostics
            if DEBUG.get():
                traceback.print_exception(error)
        ok = not found and not any(launched.report.findings for launched in launches)
        if output.json:
            documents = [launched.document() for launched in launches]
            output.document(found, ok=ok, launches=documents)
        output.diagnostics(found)
        output.end(ok=ok)


def _policies(schedule: Schedule) -> tuple[Policy, ...]:
    from flash4gen.vgpu import Policy

    if schedule is Schedule.ALL:
        return tuple(Policy)
    return (Policy[schedule.name],)


def _arch(target: str) -> int | str:
    from flash4gen.diagnostics.suggest import did_you_mean, one_of
    from flash4gen.ir import library
    from flash4gen.vgpu.user_file import refused

    known = library.target_names()
    if target not in known:
        helps = did_you_mean(target, known) or (f"one of {one_of(known)}",)
        raise refused(Code.UNKNOWN_TARGET, f"unknown target `{target}`", *helps)
    return library.target(target).arch
