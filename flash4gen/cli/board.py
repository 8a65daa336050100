"""The live table of a batch: which jobs run, in which stage, for how long; how many are done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flash4gen.driver.batch import Job, Outcome, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.driver import Event


@dataclass(slots=True)
class Board:
    """What is known about the jobs of a batch so far."""

    total: int
    clock: Callable[[], float]
    running: dict[Job, tuple[float, str]] = field(default_factory=dict)
    counts: Counter[Status] = field(default_factory=Counter)

    def note(self, job: Job, what: Event | Outcome | None) -> None:
        """Take in an event or an outcome."""
        if isinstance(what, Outcome):
            self.running.pop(job, None)
            self.counts[what.status] += 1
        elif what is not None:
            since, _ = self.running.get(job, (self.clock(), ""))
            self.running[job] = (since, f"{what.stage} {what.detail}".strip())

    def table(self) -> Group:
        """Return the table as it looks now."""
        rows = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        for name in ("target", "spec"):
            rows.add_column(name, no_wrap=True)
        # Whose job it is stays in sight: what a stage says takes the room that is left.
        rows.add_column("stage", overflow="ellipsis", no_wrap=True, ratio=1)
        rows.add_column("s", justify="right")
        for job, (since, stage) in self.running.items():
            rows.add_row(job.target, job.spec.stem, stage, f"{self.clock() - since:.0f}")
        done = sum(self.counts.values())
        counts = ", ".join(f"{self.counts[status]} {status}" for status in Status)
        line = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=self.total or 1, completed=done, width=30)
        line.add_row(bar, Text(f"{done} of {self.total}: {counts}"))
        return Group(rows, line)
