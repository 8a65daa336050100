"""`flash4gen compile` of many specs: a live table of what runs, a summary of what came of it."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from flash4gen.cli.options import spec_files
from flash4gen.cli.output import console, lively
from flash4gen.driver.batch import Job, Order, Outcome, Status, jobs_of
from flash4gen.driver.pool import run_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flash4gen.cli.output import Output
    from flash4gen.cli.request import Request
    from flash4gen.driver import Event

    Notify = Callable[[Job, Event | Outcome | None], None]

_STYLES = {Status.COMPILED: "green", Status.FRESH: "dim", Status.FAILED: "bold red"}


def compile_batch(specs: Sequence[str], request: Request, jobs: int, output: Output) -> None:
    """Compile all specs for all targets, so many at a time, and end the command."""
    work, failed = jobs_of(spec_files(specs), request.targets)
    order = Order(
        out=request.out,
        validate=request.validate,
        emit=request.emit,
        template_dirs=request.template_dirs,
        force=request.force,
        mutate=request.mutate,
        search=request.search,
    )
    with _shown(len(work), output) as notify:
        outcomes = (*failed, *run_jobs(work, order, jobs, notify))
    _report(outcomes, output)


def _report(outcomes: Sequence[Outcome], output: Output) -> None:
    found = [item for outcome in outcomes for item in outcome.diagnostics]
    counts = Counter(outcome.status for outcome in outcomes)
    if output.json:
        failed = counts[Status.FAILED]
        failure = {"failure": f"{failed} failed"} if failed else {}
        output.document(found, jobs=[_as_object(outcome) for outcome in outcomes], **failure)
    output.diagnostics(dict.fromkeys(found))
    for outcome in outcomes:
        if outcome.status is Status.FAILED:
            why = f": {outcome.fault}" if outcome.fault else ", as said above"
            output.remark(f"failed: {_subject(outcome)}{why}")
    output.line(", ".join(f"{counts[status]} {status}" for status in Status))
    output.end(ok=not counts[Status.FAILED])


def _subject(outcome: Outcome) -> str:
    return f"{outcome.spec} for {outcome.target}" if outcome.target else str(outcome.spec)


def _as_object(outcome: Outcome) -> dict[str, Any]:
    return {
        "spec": str(outcome.spec),
        "target": outcome.target,
        "status": str(outcome.status),
        "seconds": round(outcome.seconds, 3),
        "files": [str(path) for path in outcome.files],
        "fault": outcome.fault,
        "codes": [str(item.code) for item in outcome.diagnostics],
    }


def _line(job: Job, outcome: Outcome) -> str:
    return f"{outcome.status:<9} {job.subject} ({outcome.seconds:.1f} s)"


def _quiet(job: Job, what: Event | Outcome | None) -> None:
    del job, what


def _plain(job: Job, what: Event | Outcome | None) -> None:
    if isinstance(what, Outcome):
        print(_line(job, what), file=sys.stderr, flush=True)


@contextmanager
def _shown(total: int, output: Output) -> Iterator[Notify]:
    """Give the function that shows what jobs do: a table on a terminal, else a line for each."""
    if output.json:
        yield _quiet
    elif not lively(sys.stderr):
        yield _plain
    else:
        from rich.live import Live

        from flash4gen.cli.board import Board

        terminal = console(sys.stderr)
        board = Board(total, time.monotonic)
        with Live(board.table(), console=terminal, refresh_per_second=8, transient=True) as live:

            def show(job: Job, what: Event | Outcome | None) -> None:
                board.note(job, what)
                if isinstance(what, Outcome):
                    terminal.print(_line(job, what), style=_STYLES[what.status], soft_wrap=True)
                live.update(board.table())

            yield show
