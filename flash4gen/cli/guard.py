"""What holds around every command: signals, the disk's errors and our own faults end in one line.

A user never sees a traceback, except with ``flash4gen --debug``.
"""

from __future__ import annotations

import signal
import threading
import traceback
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

import flash4gen
from flash4gen.cli.output import FINDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from flash4gen.cli.output import Output

ENDED_BY = 128
"""What shells add to the number of a signal that ended a program: 130 after Ctrl-C."""
DEBUG: ContextVar[bool] = ContextVar("debug", default=False)
_PACKAGE = Path(flash4gen.__file__).parent


def nothing_written() -> str:
    """Say what a command that writes no file has written."""
    return "nothing was written"


@contextmanager
def guard(output: Output, written: Callable[[], str] = nothing_written) -> Iterator[None]:
    """Turn whatever interrupts a command into a message and an exit code.

    Args:
        output: of the command.
        written: called after Ctrl-C or SIGTERM; says what has been written so far.

    Raises:
        typer.Exit: with 130 after Ctrl-C, 143 after SIGTERM, with 1 after any exception.
    """
    with _interrupts() as interrupted:
        try:
            yield
        except (typer.Exit, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as fault:
            # Ctrl-C also reaches the assembler that Triton runs, whose failure may come first.
            if isinstance(fault, KeyboardInterrupt) or interrupted:
                code = ENDED_BY + (interrupted[0] if interrupted else signal.SIGINT)
                _end(output, f"interrupted: {written()}", code, fault)
            if isinstance(fault, OSError):
                where = f" {fault.filename}" if fault.filename else ""
                _end(output, f"error: cannot use{where}: {fault.strerror}", FINDINGS, fault)
            _end(output, internal_error(fault), FINDINGS, fault)


def internal_error(fault: Exception) -> str:
    """Describe a fault of ours: the stage, the exception, and what to do."""
    cause = fault.__cause__ if getattr(fault, "stage", None) and fault.__cause__ else fault
    stage, place = _stage(cause)
    stage = getattr(fault, "stage", stage)
    subject = f" of {name}" if (name := getattr(fault, "subject", "")) else ""
    return (
        f"error: internal error in stage {stage}{subject}: {type(cause).__name__}: {cause}\n"
        f"  = note: at {place}, flash4gen {flash4gen.__version__}\n"
        "  = help: this is a fault of flash4gen, not of your spec; please report it with this text "
        "and the spec\n"
        "  = help: `flash4gen --debug ...` prints where it comes from"
    )


def _stage(fault: BaseException) -> tuple[str, str]:
    """Return the package of the innermost frame of ours, and its file and line."""
    stage, place = "unknown", "an unknown place"
    for frame in traceback.extract_tb(fault.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE):
            inside = path.relative_to(_PACKAGE)
            stage = inside.with_suffix("").parts[0]
            place = f"flash4gen/{inside.as_posix()}:{frame.lineno}"
    return stage, place


def _end(output: Output, message: str, code: int, fault: BaseException) -> NoReturn:
    if DEBUG.get():
        traceback.print_exception(fault)
    if output.json:
        output.document((), failure=message)
    else:
        output.remark(message)
    raise typer.Exit(code) from None


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Collect the signals that arrive in the block and end it, each by a KeyboardInterrupt.

    Beside Ctrl-C that is SIGTERM, which ``timeout`` and schedulers send to this process alone: the
    processes that it has started would live on.
    """
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> NoReturn:
        seen.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield seen
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
