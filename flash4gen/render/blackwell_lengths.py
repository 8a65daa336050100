"""How a ``blackwell`` module finds the rows of a work tile: in a batch, or in packed sequences.

In a batch all sequences have the lengths of the launch, which ``problem`` holds. Packed ones lie
one behind the other: a work tile finds its own, ``sequence``, and copies end where that ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.render.context_blackwell import Lengths

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule


def lengths(attention: Attention, schedule: BlackwellSchedule) -> Lengths:
    """Return the concern."""
    return _packed(schedule) if attention.packed else _batched(schedule)


def _batched(schedule: BlackwellSchedule) -> Lengths:
    return Lengths(
        impl="batched",
        holder="problem",
        place="q_tile, pack, b = _place(work, problem)",
        tiles="QUERY_TILES",
        rows="ROWS",
        host_rows="ROWS.value",
        key_length="seq_k",
        before=(),
        queries="b, q, pack, 0" if schedule.pack > 1 else "b, q, pack",
        keys="b, key, h",
        entry="b",
        second="(b * HEADS + h).to(gl.int64) * problem.seq_q + q",
    )


def _packed(schedule: BlackwellSchedule) -> Lengths:
    """Return the concern for sequences whose lengths the host does not know.

    Either kernel is right for all lengths. That with one query tile is launched where sequences
    have no more rows than that on average.
    """
    short = bool(schedule.short_queries)
    tiles = "tiles = 1 if total_q <= SHORT_QUERIES * batch else QUERY_TILES.value"
    return Lengths(
        impl="packed",
        holder="sequence",
        place="q_tile, pack, b, sequence = _locate(work, problem)",
        tiles="problem.TILES" if short else "QUERY_TILES",
        rows="problem.TILES * TILE_Q" if short else "ROWS",
        host_rows="tiles * TILE_Q.value" if short else "ROWS.value",
        key_length="max(1, k.shape[0] // batch)",
        before=(tiles,) if short else (),
        queries="FAR, sequence.q_end, FAR - sequence.seq_q + q, pack",
        keys="FAR, sequence.k_end, FAR - sequence.seq_k + key, h",
        entry="sequence",
        second="h.to(gl.int64) * problem.total_q + sequence.q_end - sequence.seq_q + q",
    )
