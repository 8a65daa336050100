"""`flash4gen vgpu`: run kernels that a user wrote on the virtual GPU, with all checks on."""

from __future__ import annotations

import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flash4gen.cli import options
from flash4gen.cli.guard import DEBUG, guard
from flash4gen.cli.output import Output, print_rich
from flash4gen.diagnostics import Code, Diagnostic, DiagnosticError, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.vgpu import Finding, Launch, Policy, Redundant, Report

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
        launches: list[_Launched] = []
        found: tuple[Any, ...] = ()
        try:
            for launched in _run(place, target, policy, seed, output):
                launches.append(launched)
                if not output.json:
                    launched.print()
        except DiagnosticError as error:
            found = error.diagnostics
        ok = not found and not any(launched.report.findings for launched in launches)
        if output.json:
            shown = [launched.document() for launched in launches]
            output.document(found, ok=ok, launches=shown)
        output.diagnostics(found)
        output.end(ok=ok)


# --- running ----------------------------------------------------------------------------------


def _run(
    place: str, target: str, schedule: Schedule, seed: int, output: Output
) -> Iterator[_Launched]:
    """Call the function once in every wanted schedule and yield its launches.

    Raises:
        DiagnosticError: there is no such target, file or function, or the function failed.
    """
    arch = _arch(target)
    path, name = _place(place)
    # What the user's code prints must not end up inside of the document.
    with redirect_stdout(sys.stderr) if output.json else nullcontext():
        from flash4gen.vgpu import Check, virtual_gpu
        from flash4gen.vgpu.caching import own_cache

        function = _function(path, name)
        for policy in _policies(schedule):
            check = Check(policy=policy, seed=seed)
            with own_cache(path), virtual_gpu(arch, check=check) as gpu:
                try:
                    function()
                except (Exception, SystemExit) as error:
                    failure: BaseException | None = error
                else:
                    failure = None
            for launch, report in zip(gpu.launches, gpu.reports, strict=False):
                yield _Launched(launch, report)
            if failure is not None:
                raise _failed(Code.CALL_FAILED, f"`{name}` raised", failure, path)
            if not gpu.launches:
                raise _refused(Code.CALL_FAILED, f"`{name}` launched no kernel")


def _policies(schedule: Schedule) -> tuple[Policy, ...]:
    from flash4gen.vgpu import Policy

    if schedule is Schedule.ALL:
        return tuple(Policy)
    return (Policy[schedule.name],)


def _arch(target: str) -> int:
    from flash4gen.diagnostics.suggest import did_you_mean, one_of
    from flash4gen.ir import library

    known = library.target_names()
    if target not in known:
        helps = did_you_mean(target, known) or (f"one of {one_of(known)}",)
        raise _refused(Code.UNKNOWN_TARGET, f"unknown target `{target}`", *helps)
    hardware = library.target(target)
    if hardware.backend != "cuda":
        raise _refused(Code.UNKNOWN_TARGET, f"the virtual GPU cannot be a `{target}`")
    return int(hardware.arch)


def _place(place: str) -> tuple[Path, str]:
    file, _, name = place.partition("::")
    if not name.isidentifier():
        example = f"{file or 'kernels.py'}::main"
        raise _refused(Code.NO_FUNCTION, f"`{place}` names no function", f"write `{example}`")
    path = Path(file)
    if not path.is_file():
        raise _refused(Code.UNREADABLE, f"cannot read `{file}`: there is no such file")
    return path.resolve(), name


def _function(path: Path, name: str) -> Callable[[], object]:
    """Import a file as Python would run it, and return one of its functions."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise _refused(Code.NO_FUNCTION, f"`{path.name}` is no Python file")
    module = module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(Code.CALL_FAILED, f"`{path.name}` cannot be imported", error, path) from error
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    from flash4gen.diagnostics.suggest import did_you_mean

    names = [key for key, value in vars(module).items() if callable(value)]
    helps = did_you_mean(name, names)
    raise _refused(Code.NO_FUNCTION, f"`{path.name}` has no function `{name}`", *helps)


def _refused(code: Code, message: str, *helps: str, notes: tuple[str, ...] = ()) -> DiagnosticError:
    found = Diagnostic(
        code=code, severity=Severity.ERROR, message=message, notes=notes, helps=helps
    )
    return DiagnosticError((found,))


def _failed(code: Code, what: str, error: BaseException, path: Path) -> DiagnosticError:
    """Return the diagnostic of an exception in the user's code, with the user's line."""
    import traceback

    if DEBUG.get():
        traceback.print_exception(error)
    said = str(error).strip()
    message = f"{what}: {type(error).__name__}" + (f": {said}" if said else "")
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) == path]
    notes = (f"at {path.name}:{own[-1].lineno}",) if own else ()
    return _refused(code, message, notes=notes)


# --- showing ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Launched:
    """One launch and what was found of it."""

    launch: Launch
    report: Report

    def document(self) -> dict[str, Any]:
        """Return it for programs."""
        report = self.report
        return {
            "kernel": self.launch.name,
            "grid": list(self.launch.grid),
            "policy": str(report.policy),
            "seed": report.seed,
            "steps": report.steps,
            "findings": [_finding(finding) for finding in report.findings],
            "redundant": [_redundant(one) for one in report.redundant],
        }

    def print(self) -> None:
        """Print it for people."""
        from rich.table import Table
        from rich.text import Text

        report = self.report
        grid = "x".join(map(str, self.launch.grid))
        head = Text(f"{self.launch.name}", style="bold")
        head.append(f", grid {grid}, in {report.policy}: ", style="not bold")
        head.append(_count(len(report.findings)), style="red" if report.findings else "green")
        rows = Table.grid(padding=(0, 1))
        rows.add_column(no_wrap=True)
        rows.add_column(overflow="fold")
        for finding in report.findings:
            rows.add_row(Text(f"  {finding.kind}", style="red"), finding.message)
            rows.add_row("", Text(_where(finding), style="dim"))
            if finding.other is not None:
                other = finding.other
                where = ", ".join(filter(None, (other.source, other.op, other.partition)))
                rows.add_row("", Text(f"with {where}", style="dim"))
        for one in report.redundant:
            reason = "orders nothing" if one.executed else "never ran"
            text = f"{one.op}, {one.source}: {reason}"
            rows.add_row(Text("  redundant", style="cyan"), text)
        print_rich(head, *([rows] if rows.row_count else []))


def _count(number: int) -> str:
    if not number:
        return "nothing found"
    return f"{number} finding{'s' if number > 1 else ''}"


def _where(finding: Finding) -> str:
    program = f"program {finding.program}" if finding.program is not None else ""
    return ", ".join(filter(None, (finding.source, finding.op, finding.partition, program)))


def _finding(finding: Finding) -> dict[str, Any]:
    other = finding.other
    return {
        "kind": str(finding.kind),
        "message": finding.message,
        "source": finding.source,
        "op": finding.op,
        "line": finding.line,
        "partition": finding.partition,
        "program": list(finding.program) if finding.program is not None else None,
        "with": None
        if other is None
        else {
            "source": other.source,
            "op": other.op,
            "line": other.line,
            "partition": other.partition,
        },
    }


def _redundant(one: Redundant) -> dict[str, Any]:
    return {"source": one.source, "op": one.op, "line": one.line, "executed": one.executed}
