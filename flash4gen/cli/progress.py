"""What a running command shows: a line per finished stage, on a terminal a spinner beneath them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flash4gen.cli.output import console, lively

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.cli.output import Output
    from flash4gen.driver import Event, Progress


def stage_line(event: Event) -> str:
    """Return the line of a finished stage: its name, whose it is, what came of it, seconds."""
    told = f"{event.subject}: {event.detail}" if event.detail else event.subject
    return f"{event.stage:<9} {told} ({event.seconds:.1f} s)"


@contextmanager
def shown_progress(output: Output) -> Iterator[Progress | None]:
    """Give the function that shows events on stderr; None where a program reads the output."""
    if output.json:
        yield None
    elif lively(sys.stderr):
        with _spinner() as progress:
            yield progress
    else:
        yield _plain


def _plain(event: Event) -> None:
    if event.done:
        print(stage_line(event), file=sys.stderr, flush=True)


@contextmanager
def _spinner() -> Iterator[Progress]:
    terminal = console(sys.stderr)
    with terminal.status("") as status:

        def show(event: Event) -> None:
            if event.done:
                terminal.print(stage_line(event), style="dim", soft_wrap=True)
            detail = "" if event.done else f" {event.stage} {event.subject} {event.detail}"
            status.update(detail.rstrip())

        yield show
