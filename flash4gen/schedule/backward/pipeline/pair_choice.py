"""The choice of a pair of CTAs in the backward pipeline: its pin, its slots, and its reasons.

In: the schedule of one CTA, and a ``Hardware``. Out: that of a pair, and why its fields are so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.schedule.backward.pipeline.model import QuerySum
from flash4gen.schedule.backward.pipeline.pair import PIECE, in_pieces
from flash4gen.schedule.backward.pipeline.plan import pipeline_plan
from flash4gen.schedule.domain import Domain

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.pipeline.model import PipelineSchedule

PIN = "gradient_ctas"

PIPELINE_DOMAINS: dict[str, Domain] = {
    PIN: Domain((1, 2), "products of gradients are computed by one CTA or by a pair"),
}
"""What a spec may pin of a backward pipeline."""


def pins_pair(attention: Attention) -> bool:
    """Whether a spec pins a pair of CTAs for its gradients; a value that cannot be is none."""
    return any(pin.name == PIN and pin.value == 2 for pin in attention.pins)


SLOTS = ((2, 2, 2), (2, 2, 1), (2, 1, 1), (1, 1, 1))
"""Slots of queries, of the output's gradient, and of dq on its way out: as many as fit.

Where key tiles add to dq in turns, each has been written before the next is, and one does.
"""

WIDE_SLOTS = ((1, 1, 2), (1, 1, 1))
"""The same where dq leaves in pieces, several of them in one turn."""


def paired(alone: PipelineSchedule, hardware: Hardware) -> PipelineSchedule:
    """Return the schedule of a pair that computes what a schedule of one CTA does."""
    pair = replace(alone, ctas=2, tile_k=2 * alone.tile_k, dq_columns=alone.head_pad)
    wide = alone.rest > 0
    if not wide or alone.argument_bytes:
        compute, reduce, other = _split(alone)
        pair = replace(
            pair, compute_registers=compute, reduce_registers=reduce, other_registers=other
        )
    drafts = [
        replace(pair, query_stages=queries, out_stages=out, dq_slots=slots)
        for queries, out, slots in (WIDE_SLOTS if wide else SLOTS)
        if slots == 1 or wide or alone.query_sum is QuerySum.ATOMIC
    ]
    if alone.argument_bytes and not wide:
        drafts.append(replace(drafts[-1], dq_columns=PIECE))
    room = hardware.smem_per_block
    return next((it for it in drafts if pipeline_plan(it).smem_bytes <= room), drafts[-1])


def _split(alone: PipelineSchedule) -> tuple[int, int, int]:
    """Return the registers of compute, reduce and other roles: those that loops do not reload."""
    if alone.rest:
        return 168, 80, 96
    return (176, 80, 80) if alone.query_sum is QuerySum.ATOMIC else (176, 88, 72)


def pair_reasons(schedule: PipelineSchedule) -> dict[str, str]:
    """Return why fields are what they are where they differ from those of one CTA."""
    several, one = "as many as fit: the next arrive ahead of their turn", "shared memory has room"
    return {
        "ctas": "pinned: each CTA reads half as much of shared memory for a product, and adds half "
        "as much to dq in global memory; for that, half of ds goes to the other in every step",
        "tile_k": "of both CTAs, each with as many as tensor memory has lanes",
        "query_stages": several
        if schedule.query_stages > 1
        else f"{one} for one tile, by rows and by columns; scores release the rows early",
        "out_stages": several
        if schedule.out_stages > 1
        else f"{one} for one tile, by rows and by columns",
        "dq_columns": "32 of either half of a head, as a thread has columns of one: what is read "
        "of tensors leaves no room for all"
        if in_pieces(schedule)
        else "all of them: a CTA has 64 rows",
        "dq_slots": _dq_slots(schedule, one),
        **(_wide_reasons(schedule) if schedule.rest else _NARROW),
    }


def _wide_reasons(schedule: PipelineSchedule) -> dict[str, str]:
    ordered = schedule.query_sum is QuerySum.ORDERED
    return {**_WIDE, **({"dq_slots": _IN_ONE_TURN} if ordered else {})}


_NARROW = {
    "compute_registers": "2·compute + reduce + other = 512; beside 64 weights and a fragment lie "
    "addresses in the other CTA, positions, and what tensors hold",
    "reduce_registers": "half of the rows of a tile, all columns",
}
"""What is otherwise where heads have as many columns as a CTA has lanes, or fewer."""

_WIDE = {
    "tile_q": "dk and dv leave 192 columns of tensor memory: scores, their gradients, and dq, "
    "which is transposed and has a column for each query",
    "compute_roles": "a thread then holds 32 weights of one key, half of them for each CTA",
    "dq_columns": "all of them: a lane each, 128 in the first CTA and 64 in the second",
    "dq_slots": "of the queries that a role has for a CTA; one is filled while the copy engine "
    "reads the other",
    "reduce_registers": "a column of a head to each thread, 16 queries at a time",
}
"""What is otherwise where heads have more columns than a CTA has lanes."""

_IN_ONE_TURN = (
    "of the queries that a role has for a CTA; all are sent in one turn, and the first lies there "
    "before it comes"
)


def _dq_slots(schedule: PipelineSchedule, one: str) -> str:
    if in_pieces(schedule):
        return "the second piece follows when the copy engine has read the first"
    if schedule.query_sum is QuerySum.ORDERED:
        return "it has been written before the next turn, of the same CTA and of others"
    if schedule.dq_slots > 1:
        return "one is filled while the copy engine reads the other"
    return f"{one} for one"
