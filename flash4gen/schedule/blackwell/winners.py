"""Tensor-memory plans that a search on the clock has found fastest, by target and width of heads.

In: ``winners.csv``, written by ``python -m benchmarks.plans``; tests run some of its rows again.
Out: ``Winner``. A compile reads it instead of running the clock. Emulation is FlashAttention-4's in
all rows: the model takes it for cheaper than it was measured to be.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.blackwell.model import TensorPlan

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.traits import Traits

FILE = Path(__file__).with_name("winners.csv")

LEAST_GAIN = 1.03
"""A plan that is ahead of FlashAttention-4's by less is not chosen: the model is not that good."""


class Key(NamedTuple):
    """What decides: compute capability, padded widths, and whether a score has a tangent."""

    arch: int
    head_pad: int
    value_pad: int
    tanh: bool


class Winner(NamedTuple):
    """A row of the file. Cycles are modelled: of 256 queries and 128 keys, without mask code.

    Attributes:
        plan: the fastest, or FlashAttention-4's where it is not slower by ``LEAST_GAIN``.
        cycles, low, high: mean, least and most of all runs.
        p_in_s: mean of FlashAttention-4's plan, all else the same.
    """

    plan: TensorPlan
    cycles: float
    low: float
    high: float
    p_in_s: float

    @property
    def gain(self) -> float:
        """How many times as fast as FlashAttention-4's plan."""
        return self.p_in_s / self.cycles


def winner(traits: Traits, hardware: Hardware) -> Winner | None:
    """Return the fastest plan of two query tiles; None if none was searched for: of 8 bits."""
    if traits.element == 1:
        return None
    key = Key(hardware.capability, traits.head_pad, traits.value_pad, traits.tanh)
    return winners().get(key)


@cache
def winners() -> dict[Key, Winner]:
    """Return all rows."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return {
            Key(
                int(row["arch"]), int(row["head_pad"]), int(row["value_pad"]), row["tanh"] == "1"
            ): Winner(
                TensorPlan(row["plan"]),
                *(float(row[name]) for name in ("cycles", "low", "high", "p_in_s")),
            )
            for row in csv.DictReader(file)
        }
