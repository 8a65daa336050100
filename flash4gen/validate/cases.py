"""Which inputs a module is run on: edge shapes, adversarial scores, layouts, and every loop it has.

In: the attention and its schedule. Out: a ``CasePlan``, plain data, the same every time. Shapes are
derived from the tile sizes; what the mask lets the kernel skip is found by ``loops.py``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.blackwell.model import BlackwellSchedule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import AnySchedule


class Values(StrEnum):
    """What q, k and v hold."""

    NORMAL = "normal"
    LARGE = "large scores"  # exp(score) overflows float32
    NEGATIVE = "negative scores"  # exp(score) underflows: a running maximum must not start at 0
    DOMINANT = "one dominant key"
    EQUAL = "equal rows"
    TINY = "tiny scores"
    RISING = "rising scores"  # each key tile raises the running maximum
    NEEDLES = "needles at the mask's edges"  # the first hidden and the last visible keys decide


class Layout(StrEnum):
    """How q, k and v lie in memory. Whatever of their storage they do not show holds NaN."""

    CONTIGUOUS = "contiguous"
    HEADS_FIRST = "heads first"  # [batch, heads, seq, dim], transposed
    PACKED = "packed"  # k and v are the two halves of the last axis of one tensor
    SLICED = "every other row"  # of a longer cache
    DIM_STRIDED = "strided last axis"
    MISALIGNED = "misaligned"  # starts one element off a 16-byte boundary
    EXPANDED = "k and v expanded"  # one batch entry, stride 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One call of the module.

    Attributes:
        name: unique in its plan.
        batch: entries.
        seq_q: query length.
        seq_k: key length.
        values: what the tensors hold.
        layout: how they lie in memory.
        alone: of packed or paged entries, whether there are none of other lengths beside its own.
    """

    name: str
    batch: int = 1
    seq_q: int
    seq_k: int
    values: Values = Values.NORMAL
    layout: Layout = Layout.CONTIGUOUS
    alone: bool = False

    @property
    def seed(self) -> int:
        """Seed of the random numbers: another for each case, the same on every machine."""
        return zlib.crc32(self.name.encode())


def basic_cases(attention: Attention, schedule: AnySchedule) -> tuple[Case, ...]:
    """Return the cases that every module is run on."""
    cases = [
        *_shapes(schedule.tile_rows, schedule.tile_k),
        *_adversaries(schedule.tile_rows, schedule.tile_k),
        *_layouts(schedule.tile_k),
        *_short(short_rows(schedule), schedule.tile_k),
    ]
    if attention.lengths is Lengths.EQUAL:
        return tuple(_distinct(_equalised(case) for case in cases))
    return tuple(cases)


def _shapes(tile_q: int, tile_k: int) -> tuple[Case, ...]:
    needles = Values.NEEDLES
    return (
        Case(name="one query, one key", seq_q=1, seq_k=1),
        Case(name="one query", seq_q=1, seq_k=2 * tile_k + 3),
        Case(name="one key", seq_q=tile_q + 1, seq_k=1),
        Case(name="no keys", seq_q=3, seq_k=0),
        Case(name="no queries", seq_q=0, seq_k=5),
        Case(name="empty batch", batch=0, seq_q=3, seq_k=5),
        Case(name="exactly one tile", seq_q=tile_q, seq_k=tile_k),
        Case(name="one less than a tile", seq_q=tile_q - 1, seq_k=tile_k - 1, values=needles),
        Case(name="one more than a tile", seq_q=tile_q + 1, seq_k=tile_k + 1, values=needles),
        Case(name="several tiles", seq_q=2 * tile_q + 7, seq_k=4 * tile_k + 5, values=needles),
        Case(name="more queries than keys", seq_q=tile_q + 19, seq_k=tile_k // 2 + 3),
        Case(name="more keys than queries", seq_q=9, seq_k=6 * tile_k + 9),
        Case(name="three batch entries", batch=3, seq_q=5, seq_k=tile_k + 7),
    )


def _adversaries(tile_q: int, tile_k: int) -> tuple[Case, ...]:
    return tuple(
        Case(name=values.value, seq_q=tile_q // 2 + 3, seq_k=3 * tile_k + 5, values=values)
        for values in Values
        if values is not Values.NORMAL
    )


def _layouts(tile_k: int) -> tuple[Case, ...]:
    return tuple(
        Case(name=layout.value, batch=2, seq_q=13, seq_k=tile_k + 5, layout=layout)
        for layout in Layout
        if layout is not Layout.CONTIGUOUS
    )


def short_rows(schedule: AnySchedule) -> int:
    """Return up to how many queries another kernel is launched; 0 if there is none."""
    if not isinstance(schedule, BlackwellSchedule):
        return 0
    return schedule.short_queries // schedule.pack


def _short(rows: int, tile_k: int) -> tuple[Case, ...]:
    if not rows:
        return ()
    keys, needles = 3 * tile_k + 5, Values.NEEDLES
    return (
        Case(name="the most short queries", seq_q=rows, seq_k=keys, values=needles),
        Case(name="a query more", seq_q=rows + 1, seq_k=keys, values=needles),
        Case(name="short and rising", seq_q=rows - 1, seq_k=keys, values=Values.RISING),
        Case(name="short and large", seq_q=rows // 2 + 1, seq_k=keys, values=Values.LARGE),
    )


def _equalised(case: Case) -> Case:
    """Return the case with one length: the longer one, or none where one of them was 0."""
    length = max(case.seq_q, case.seq_k) if case.seq_q and case.seq_k else 0
    return replace(case, seq_q=length, seq_k=length)


def _distinct(cases: Iterable[Case]) -> list[Case]:
    """Leave out cases that differ from an earlier one in nothing but the name."""
    kept = {replace(case, name=""): case for case in reversed(list(cases))}
    return list(reversed(kept.values()))
