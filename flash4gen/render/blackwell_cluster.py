"""What a kernel on pairs of CTAs says differently from one that runs on CTAs by themselves.

Tensors of a pair are those of both CTAs: a query tile has 256 rows, of which each CTA holds 128 in
its tensor memory; of a key tile each holds half of the keys, of a value tile half of the columns,
so that keys and values have rings of their own, used in turn. The first CTA issues the products:
barriers that the mma warp waits at lie there and take the arrivals of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.render.blackwell_constants import chunk

if TYPE_CHECKING:
    from flash4gen.schedule.blackwell.model import BlackwellSchedule

SHARED = ("q_full", "kv_full", "p_ready", "p_last", "work_empty")
"""Barriers at which only the first CTA of a pair waits, for both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How memory is split among the CTAs of a program, as text.

    Attributes:
        impl: the file of ``concern/cluster``.
        ring: what ``_fetch`` is given to find slots in; ``slot`` is one of them.
        keys, values: the ring of key tiles and that of value tiles, at the calls of ``_fetch``.
        key_slots, value_slots: how many tiles, or chunks of tiles, they have.
        key_slot, value_slot: one of them where it is multiplied.
        score_layout, output_layout: of tensor memory.
        rows_layout: of a number for each row, in shared memory.
        answer_layout: of an answer of cluster launch control.
        vote: statements of the correction that find the least factor of this CTA's rows.
        least: that factor.
        rows_split, columns_split: the last argument of ``_descriptor``: which axis is split.
    """

    impl: str
    ring: str
    slot: str
    keys: str
    values: str
    key_slots: str
    value_slots: str
    key_slot: str
    value_slot: str
    score_layout: str
    output_layout: str
    rows_layout: str
    answer_layout: str
    vote: tuple[str, ...]
    least: str
    rows_split: str
    columns_split: str

    def arrivals(self, barrier: str, count: str) -> str:
        """Return the last arguments of ``_barriers``."""
        return count if self.impl == "alone" else f"{count}, {barrier in SHARED}"


def sharing(schedule: BlackwellSchedule) -> Sharing:
    """Return what is printed for one CTA, or for a pair."""
    return _pair(schedule) if schedule.ctas > 1 else _alone(schedule)


def _alone(schedule: BlackwellSchedule) -> Sharing:
    chunked = chunk(schedule) is not None
    slots = "STAGES * SLOT_CHUNKS" if chunked else "STAGES"
    slot = f"memory.ring.index({'stage * SLOT_CHUNKS + chunk' if chunked else 'stage'})"
    return Sharing(
        impl="alone",
        ring="memory",
        slot=slot,
        keys="memory",
        values="memory",
        key_slots=slots,
        value_slots=slots,
        key_slot=slot,
        value_slot=slot,
        score_layout="bw.TensorMemoryLayout((TILE_Q, TILE_K), col_stride=1)",
        output_layout="bw.TensorMemoryLayout((TILE_Q, VALUE_PAD), col_stride=1)",
        rows_layout=_vector(""),
        answer_layout=_vector(""),
        vote=(),
        least="gl.min(factor, 0)",
        rows_split="",
        columns_split="",
    )


def _pair(schedule: BlackwellSchedule) -> Sharing:
    chunked = chunk(schedule) is not None
    # Slots alternate between keys and values, and their number is even.
    stages = [
        f"stage // 2 * {chunks} + chunk" if chunked else "stage // 2"
        for chunks in ("CHUNKS", "HEAD_CHUNKS", "VALUE_CHUNKS")
    ]
    return Sharing(
        impl="pair",
        ring="ring",
        slot=f"ring.index({stages[0]})",
        keys="memory.k",
        values="memory.v",
        key_slots="STAGES // 2 * HEAD_CHUNKS" if chunked else "STAGES // 2",
        value_slots="STAGES // 2 * VALUE_CHUNKS" if chunked else "STAGES // 2",
        key_slot=f"memory.k.index({stages[1]})",
        value_slot=f"memory.v.index({stages[2]})",
        score_layout="_split_rows(TILE_K)",
        output_layout="_split_rows(VALUE_PAD)",
        rows_layout=_vector(", cga_layout=[[1]]"),
        answer_layout=_vector(", cga_layout=[[0]]"),
        vote=("least = _own_least(memory.stats.index(tile))",),
        least="least",
        rows_split=", 1",
        columns_split=", 3",
    )


def _vector(cluster: str) -> str:
    return f"gl.SwizzledSharedLayout(1, 1, 1, order=[0]{cluster})"
