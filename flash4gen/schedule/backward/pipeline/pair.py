"""The memory plan of the backward pipeline where a pair of CTAs shares all products.

The two CTAs of a cluster share every product (FlashAttention-4, section 3.2 of its paper): each
has 128 of 256 keys, half of the queries where their gradient is the result, and half of the columns
where queries are summed over. So queries and their output's gradient come twice, by rows and by
columns, half of each; and so do the keys. The gradients of scores are found with a key in each
lane, and multiplied with a query in each: each CTA gives the other those of its own keys, for half
of the queries, and adds half as much to the queries' gradient in global memory.

That gradient has 64 rows in each CTA, which lie over all 128 lanes in half of the columns. It is
loaded whole, and leaves whole, or in two pieces where what is read of tensors takes the room.

Heads of 192 columns have steps of 64 queries, of which 32 rows would be too few for a product. So
their gradient is transposed, as with one CTA: a column of a head in each lane, the first 128 in
those of the first CTA, and what is left in half of the second's. It leaves in pieces: the queries
that one role has for one CTA.

In: a ``PipelineSchedule`` with ``ctas = 2``. Out: parts of its ``MemoryPlan``, those of one CTA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.schedule.backward.pipeline.barriers import product_barriers
from flash4gen.schedule.backward.pipeline.model import PART, QuerySum
from flash4gen.schedule.blackwell.memory import BARRIER, ELEMENT, Barrier, Region
from flash4gen.schedule.memory import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.schedule.backward.pipeline.model import PipelineSchedule

SHARED = (
    "k_full",
    "v_full",
    "q_full",
    "q_columns_full",
    "do_full",
    "do_columns_full",
    "p_ready",
    "ds_ready",
    "dq_empty",
)
"""Barriers at which only the first CTA of a pair waits, for both: those of the mma role."""

TENSOR_COLUMNS = 512
"""Columns of tensor memory that all of a plan may have."""

FLOAT = 4
"""Bytes of a float32."""

PIECE = 64
"""Columns of the queries' gradient that leave together where all of them have no room: of either
half of a head 32, the 128 bytes of a swizzled row."""

MEETING = 24
"""Bytes with which Triton has both CTAs meet around an atomic: two barriers, and a count."""


def is_apart(s: PipelineSchedule) -> bool:
    """Whether tensor memory has room for the queries' gradient beside all else."""
    return 2 * s.tile_q + s.value_pad + s.head_pad + _dq_columns(s) <= TENSOR_COLUMNS


def in_pieces(s: PipelineSchedule) -> bool:
    """Whether rows of the queries' gradient leave in two pieces, each of half of their columns."""
    return s.dq_columns < s.head_pad


def _dq_columns(s: PipelineSchedule) -> int:
    """Return the columns of tensor memory that the queries' gradient takes."""
    return s.tile_q if s.rest else s.head_pad // 2


def _dq_floats(s: PipelineSchedule) -> int:
    """Return the elements of the queries' gradient that a slot holds, in each CTA."""
    return s.share // s.ctas * PART if s.rest else s.tile_q // s.ctas * s.dq_columns


def pair_buffers(s: PipelineSchedule, barriers: tuple[Barrier, ...]) -> tuple[Buffer, ...]:
    """Return the shared memory of each CTA."""
    keys, queries = s.tile_k // s.ctas, s.tile_q // s.ctas
    query, out = queries * s.head_pad * ELEMENT, queries * s.value_pad * ELEMENT
    columns = PART if s.rest else s.head_pad // s.ctas
    return (
        Buffer("k, at last dk", keys * s.head_pad * ELEMENT),
        Buffer("k by columns", s.tile_k * columns * ELEMENT),
        Buffer("v, at last dv", keys * s.value_pad * ELEMENT),
        Buffer("q", s.query_stages * query),
        Buffer("q by columns", s.query_stages * query),
        Buffer("do", s.out_stages * out),
        Buffer("do by columns", s.out_stages * out),
        Buffer("ds of both", s.tile_k * queries * ELEMENT),
        Buffer("dq on its way out", s.dq_slots * _dq_floats(s) * FLOAT),
        row_numbers(s),
        *_turns(s),
        Buffer("barriers", sum(barrier.count for barrier in barriers) * BARRIER),
    )


def row_numbers(s: PipelineSchedule) -> Buffer:
    """Return the buffer of what softmax, or the sum of weights, has for each query."""
    rows = s.row_stages * s.tile_q * FLOAT
    if s.normalised:
        return Buffer("lse and delta", 2 * rows)
    return Buffer("gradients of totals", rows)


def _turns(s: PipelineSchedule) -> Iterator[Buffer]:
    """Yield what it takes that both CTAs add to the queries' gradient in one turn."""
    if s.query_sum is QuerySum.ORDERED:
        yield Buffer("meetings of both CTAs", MEETING)


def pair_regions(s: PipelineSchedule) -> Iterator[Region]:
    """Yield the tensor memory of each CTA: 16-bit numbers lie where their fragment was."""
    fragment = s.share if s.rest else s.share // s.ctas
    yield Region("s", 0, s.tile_q)
    for first in range(0, s.tile_q, fragment):
        yield Region(f"p of queries {first} on", first, fragment // 2, "s")
    yield Region("dp", s.tile_q, s.tile_q)
    yield Region("dv", 2 * s.tile_q, s.value_pad)
    yield Region("dk", 2 * s.tile_q + s.value_pad, s.head_pad)
    if is_apart(s):
        for first in range(0, s.tile_q, fragment):
            yield Region(f"ds of queries {first} on", s.tile_q + first, fragment // 2, "dp")
        yield Region("dq", 2 * s.tile_q + s.value_pad + s.head_pad, _dq_columns(s))
    else:
        # Of one place: first the gradients of scores, then, once they are read, that of queries.
        yield Region("ds, dq", s.tile_q, s.tile_q, "dp")


def pair_barriers(s: PipelineSchedule) -> Iterator[Barrier]:
    """Yield the barriers of each CTA; of those in ``SHARED`` the first CTA's take all arrivals."""
    yield Barrier("k_full", 1, 1, ("load",))
    yield Barrier("v_full", 1, 1, ("load",))
    for name, stages in (("q", s.query_stages), ("do", s.out_stages)):
        for kind in ("", "_columns"):
            yield Barrier(f"{name}{kind}_full", stages, 1, ("load",))
            yield Barrier(f"{name}{kind}_empty", stages, 1, ("mma",))
    yield Barrier("rows_full", s.row_stages, 1, ("load",))
    yield from product_barriers(s)
