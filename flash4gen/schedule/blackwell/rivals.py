"""What a search on the clock has found beside the defaults, and why each is not the default.

In: ``rivals.csv``, written by ``python -m benchmarks.rivals``; a test runs some of its rows again.
Out: ``Rival``, and the reason that stands against one. All gains are modelled.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

from flash4gen.schedule.blackwell.winners import LEAST_GAIN

FILE = Path(__file__).with_name("rivals.csv")

LENGTHS = (2048, 8192, 32768)
"""Keys and queries of the launches at which a rival is compared with the default."""


class Rival(NamedTuple):
    """A row of the file: a schedule that differs from the default of a dense attention.

    Attributes:
        target, head_dim, value_dim, causal: of the attention.
        change: fields and values, as they are pinned.
        at_2k, at_8k, at_32k: how many times as fast as the default a launch is, the mean of all
            runs with shaken latencies.
        least: the same of the default's fastest run and the rival's slowest, at the worst length.
    """

    target: str
    head_dim: int
    value_dim: int
    causal: bool
    change: str
    at_2k: float
    at_8k: float
    at_32k: float
    least: float

    @property
    def ahead(self) -> bool:
        """Whether it is faster by more than the model may be off, at every length and run."""
        return self.least >= LEAST_GAIN

    def against(self) -> str:
        """Return why it is not the default; nothing if nothing stands against it."""
        if not self.ahead:
            return BAR
        return next((reason for name, reason in CONTRADICTED.items() if name in self.change), "")


BAR = "not 3 % faster at every length, in every run with shaken latencies"

CONTRADICTED = {
    "dispatch=clc": (
        "FlashAttention-4 measured launch control over 750 dense launches: 324 won, 369 lost (its "
        "PR 2455); the model, which knows no cost of a query, has it ahead or equal in all"
    ),
    "emulated": (
        "columns in software were measured at head_dim 128 only: at 2,048 and 8,192 keys under a "
        "causal mask they gained a third of what the model says, on B300 they lost; with more "
        "of them modules of head_dim 64 spill, which a sketch does not see"
    ),
}
"""What speaks against rivals that the model has ahead, by what they change."""


@cache
def rivals() -> tuple[Rival, ...]:
    """Return all rows."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Rival(
                row["target"],
                int(row["head_dim"]),
                int(row["value_dim"]),
                row["causal"] == "1",
                row["change"],
                *(float(row[name]) for name in ("at_2k", "at_8k", "at_32k", "least")),
            )
            for row in csv.DictReader(file)
        )
