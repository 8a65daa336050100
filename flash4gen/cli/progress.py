"""What a running command shows: a line per finished stage, on a terminal a spinner beneath them."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from flash4gen.cli.output import console, lively

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.cli.output import Output
    from flash4gen.driver import Event, Progress
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.trials import Trial


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


EVERY = 25
"""Candidates between two lines of progress that do not go to a terminal."""


def shown_search(where: str) -> Callable[[int, int, float, BlackwellSchedule], None]:
    """Give the function that shows, on stderr, how far a search for a schedule has come."""
    from flash4gen.schedule.text import shape_text

    live = lively(sys.stderr)

    def show(ran: int, of: int, cycles: float, best: BlackwellSchedule) -> None:
        text = f"{where}: {ran} of {of}, best {cycles:,.0f} cycles a step, modelled: "
        text += shape_text(best)
        if live:
            room = min(get_terminal_size().columns - 1, 120)  # a line that wraps is not taken back
            print(f"\r\x1b[K{text[:room]}", end="\n" if ran == of else "", file=sys.stderr)
        elif ran % EVERY == 0 or ran == of:
            print(text, file=sys.stderr)

    return show


def shown_trial(where: str) -> Callable[[Trial], None]:
    """Give the function that shows, on stderr, what came of a compile in a search."""
    from flash4gen.schedule.text import shape_text

    def show(trial: Trial) -> None:
        told = trial.wanting or f"{trial.cycles:,.0f} cycles, modelled"
        print(f"{where}: compiled {shape_text(trial.schedule)}: {told}", file=sys.stderr)

    return show
