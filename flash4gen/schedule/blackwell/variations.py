"""Schedules beside the chosen one, each different in one choice, and why it is not the default.

In: traits, target and pins. Out: the register splits that stand in where a compile spills, and the
variations that a spec may pin. Pinned fields do not vary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.blackwell.model import Dispatch, RowMax, Tanh, TensorPlan
from flash4gen.schedule.blackwell.registers import FIELDS, Split, splits
from flash4gen.schedule.blackwell.resolve import resolve
from flash4gen.schedule.blackwell.space import EARLY
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.traits import Traits
    from flash4gen.schedule.pins import Pins

CURES = 3
"""Register splits that are tried where the first one spills."""


class Variation(NamedTuple):
    """A schedule that was not chosen, and why not."""

    schedule: BlackwellSchedule
    reason: str


def cures(
    traits: Traits, hardware: Hardware, pins: Pins, first: BlackwellSchedule
) -> Iterator[Variation]:
    """Yield the nearest register splits that the pins allow, in the order in which to try them."""
    split = Split(*(getattr(first, name) for name in FIELDS))
    others = [
        other
        for other in splits(first.query_tiles, hardware)
        if other.other == split.other
        and other != split
        and all(other[n] == pins[name] for n, name in enumerate(FIELDS) if name in pins)
    ]
    others.sort(key=lambda other: (abs(other.softmax - split.softmax), other.softmax))
    for other in others[:CURES]:
        changed = {**pins, **dict(zip(FIELDS, other, strict=True))}
        yield Variation(
            resolve(traits, hardware, changed),
            f"{other.text()} registers stand in for {split.text()} where those spill",
        )


VARIATIONS: tuple[tuple[str, int | str, str], ...] = (
    ("plan", TensorPlan.SHARED_S, "both tiles take turns at one score slot"),
    ("plan", TensorPlan.DISJOINT, "scores and weights have columns of their own"),
    ("plan", TensorPlan.P_IN_S, "next scores wait for the last weights, which lie in them"),
    ("query_tiles", 1, "a single query tile has no other to hide its softmax behind"),
    ("query_tiles", 2, "a second query tile does not fit beside the first"),
    ("short_queries", 0, "half of a program would have nothing to do where queries are few"),
    ("ctas", 2, "a pair has to be pinned: its CTAs wait for each other in every step"),
    ("dispatch", Dispatch.SINGLE, "programs that walk several work tiles overlap end and start"),
    ("dispatch", Dispatch.STATIC, "shares that are fixed beforehand end at different times"),
    (
        "dispatch",
        Dispatch.CLC,
        "has to be pinned: FlashAttention-4 saw it win and lose as often (its PR 2455)",
    ),
    ("order", TileOrder.QUERY_TILES_FIRST, "the longest work tiles would start last"),
    ("order", TileOrder.LONGEST_FIRST, "no work tile is longer than another"),
    ("emulated", 0, "all exponentials wait for the MUFU"),
    ("emulated", 16, "not the share of FlashAttention-4's tuning table"),
    ("emulated", 24, "not the share of FlashAttention-4's tuning table"),
    ("early", 0, "the product with the values waits for the last weight"),
    ("early", EARLY, "the split costs a barrier"),
    ("rescale_threshold", 0, "the accumulator is rescaled in most of the first steps"),
    ("row_max", RowMax.REDUCE, "maxima in registers cost half an instruction per score"),
    ("row_max", RowMax.LOAD, "maxima in registers are as cheap"),
    ("tanh", Tanh.APPROX, "11 bits are too few for scores that are a multiple of it"),
    ("staging", 1, "the correction waits until an output tile is stored"),
    ("staging", 2, "a second output tile costs ring slots"),
)
"""Field, value, and why it is not the default where it is possible and not chosen."""


def variations(traits: Traits, hardware: Hardware, pins: Pins) -> Iterator[Variation]:
    """Yield schedules that differ from the default in one choice, and in what follows from it."""
    for name, value, reason in VARIATIONS:
        if name not in pins and not (name == "emulated" and "emulation_share" in pins):
            yield Variation(resolve(traits, hardware, {**pins, name: value}), reason)
    if "pack" not in pins and traits.group > 1:
        packed = resolve(traits, hardware, {**pins, "pack": traits.group})
        yield Variation(packed, "pays for short queries only, which a kernel cannot know of")
