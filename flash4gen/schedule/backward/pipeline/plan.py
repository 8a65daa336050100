"""The memory plan of the backward pipeline, and its verifier.

In: a ``PipelineSchedule``. Out: a ``MemoryPlan``, as the forward kernel has one: buffers, tensor
memory, barriers, and who arrives; and what, if anything, is wrong with the schedule on a target.

Tensor memory is FlashAttention-4's with one CTA: weights take the place of scores, gradients of
scores that of gradients of weights, and the queries' gradient that of both halves of those.

Heads of 192 columns leave 192 columns of tensor memory beside dk and dv. So a step has 64 queries,
and their gradient is transposed, a query to each column: of 128 lanes in the place of the gradients
of scores, and of 64 beside them. (FlashAttention-4 takes these heads with two CTAs only.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.schedule.backward.pipeline.barriers import product_barriers
from flash4gen.schedule.backward.pipeline.model import RESTING
from flash4gen.schedule.backward.pipeline.pair import (
    FLOAT,
    PIECE,
    pair_barriers,
    pair_buffers,
    pair_regions,
    row_numbers,
)
from flash4gen.schedule.blackwell.memory import (
    BARRIER,
    ELEMENT,
    GROUP,
    TILE,
    Barrier,
    MemoryPlan,
    Region,
    Role,
)
from flash4gen.schedule.blackwell.plan_check import faults
from flash4gen.schedule.constraints import Violation
from flash4gen.schedule.memory import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.backward.pipeline.model import PipelineSchedule

SLACK = 656
"""Bytes for alignment, and for the lengths that roles are handed: what Triton 3.9 asks for beyond
buffers and barriers (measured by compiling: 640 at head_dim 128, 656 where programs add in turns).
"""

WIDE_SLACK = 688
"""The same where heads are multiplied in two parts, and roles are handed both (measured: 672, and
688 where programs add in turns)."""

PAIR_SLACK = 848
"""The same where roles are handed three descriptors more (measured: 832 at 128, 848 at 64)."""

WIDE_PAIR_SLACK = 968
"""The same with heads in two parts (measured: 960, and 968 where programs add in turns)."""

SEQUENCE = 48
"""Bytes in which roles are handed where their sequence lies, beside its lengths (measured)."""

FRAGMENT = 32
"""Columns that a thread loads or stores in one instruction."""

STEP = 8
"""Registers are handed out by the eight."""


def pipeline_plan(schedule: PipelineSchedule) -> MemoryPlan:
    """Return the memory plan of a schedule."""
    pair = schedule.ctas > 1
    barriers = tuple((pair_barriers if pair else _barriers)(schedule))
    return MemoryPlan(
        roles=(
            *((Role("rest", GROUP),) if schedule.first_rests else ()),
            Role("reduce", GROUP),
            *(Role(f"compute{part}", GROUP) for part in range(schedule.compute_roles)),
            Role("mma", 1),
            Role("load", 1),
        ),
        buffers=(_both if pair else _buffers)(schedule, barriers),
        regions=tuple((pair_regions if pair else _regions)(schedule)),
        barriers=barriers,
    )


def _buffers(s: PipelineSchedule, barriers: tuple[Barrier, ...]) -> tuple[Buffer, ...]:
    return (
        Buffer("k, at last dk", s.tile_k * s.head_pad * ELEMENT),
        Buffer("v, at last dv", s.tile_k * s.value_pad * ELEMENT),
        Buffer("q", s.query_stages * s.tile_q * s.head_pad * ELEMENT),
        Buffer("do", s.out_stages * s.tile_q * s.value_pad * ELEMENT),
        Buffer("ds", s.tile_k * s.tile_q * ELEMENT),
        Buffer("dq on its way out", s.dq_slots * s.tile_q * s.dq_columns * FLOAT),
        row_numbers(s),
        *_values(s),
        Buffer("barriers", sum(barrier.count for barrier in barriers) * BARRIER),
        Buffer("alignment", WIDE_SLACK if s.rest else SLACK),
    )


def _both(s: PipelineSchedule, barriers: tuple[Barrier, ...]) -> tuple[Buffer, ...]:
    """Return the buffers of each CTA of a pair."""
    slack = WIDE_PAIR_SLACK if s.rest else PAIR_SLACK
    return (*pair_buffers(s, barriers), *_values(s), Buffer("alignment", slack))


def _values(s: PipelineSchedule) -> Iterator[Buffer]:
    """Yield what roles are handed besides: of sequences, and of what input tensors hold."""
    if s.packed:
        yield Buffer("place of the sequence", SEQUENCE)
    if s.argument_bytes:
        yield Buffer("arguments of the roles", s.argument_bytes)
    if s.row_bytes:
        yield Buffer("values of queries", s.row_stages * s.tile_q * s.row_bytes)


def _regions(s: PipelineSchedule) -> Iterator[Region]:
    yield Region("s", 0, s.tile_q)
    for part in range(s.compute_roles):
        yield Region(f"p{part}", part * s.share, s.share // 2, "s")
    yield Region("dp", s.tile_q, s.tile_q)
    # Of one place: first the gradients of scores, then, once they are read, that of the queries.
    dq = s.tile_q if s.rest else s.head_pad
    yield Region("ds, dq", s.tile_q, max(dq, s.share // 2), "dp")
    if s.rest:
        yield Region("dq, columns beyond 128", 2 * s.tile_q, s.tile_q)
    gradients = (3 if s.rest else 2) * s.tile_q
    yield Region("dv", gradients, s.value_pad)
    yield Region("dk", gradients + s.value_pad, s.head_pad)


def _barriers(s: PipelineSchedule) -> Iterator[Barrier]:
    yield Barrier("k_full", 1, 1, ("load",))
    yield Barrier("v_full", 1, 1, ("load",))
    yield Barrier("q_full", s.query_stages, 1, ("load",))
    yield Barrier("q_empty", s.query_stages, 1, ("mma",))
    yield Barrier("do_full", s.out_stages, 1, ("load",))
    yield Barrier("do_empty", s.out_stages, 1, ("mma",))
    yield Barrier("rows_full", s.query_stages, 1, ("load",))
    yield from product_barriers(s)


def pipeline_faults(schedule: PipelineSchedule, hardware: Hardware) -> tuple[Violation, ...]:
    """Return every rule that a schedule breaks on a target, also one that nobody chose."""
    return (
        *_shape(schedule),
        *_registers(schedule, hardware),
        *(Violation("memory_plan", fault) for fault in faults(pipeline_plan(schedule), hardware)),
    )


def _shape(s: PipelineSchedule) -> Iterator[Violation]:
    lanes = TILE if s.rest else s.tile_q
    if s.tile_k != TILE * s.ctas or lanes != TILE:
        yield Violation("tiles", f"tiles are {s.tile_q} × {s.tile_k}, products have {TILE} lanes")
    if s.compute_roles < 1 or s.tile_q % s.compute_roles or s.share % FRAGMENT:
        yield Violation("roles", f"{s.compute_roles} roles share {s.tile_q} queries unevenly")
    if s.dq_columns < 1 or s.head_pad % s.dq_columns:
        yield Violation("columns", f"{s.dq_columns} columns do not divide {s.head_pad}")
    if s.ctas > 1 and s.dq_columns not in (s.head_pad, PIECE):
        yield Violation("columns", f"dq of a pair leaves whole, or {PIECE} columns at a time")
    if s.ctas > 1 and s.share != (FRAGMENT if s.rest else 2 * FRAGMENT):
        of = "for both CTAs" if s.rest else "for each CTA"
        yield Violation("roles", f"{s.share} queries are no fragment of {FRAGMENT} {of}")
    if s.row_stages < 2:
        yield Violation("stages", "the next queries are multiplied before the last ones are done")
    if s.out_stages < 1 or s.dq_slots < 1:
        yield Violation("stages", "there is a buffer that has no slot")


def _registers(s: PipelineSchedule, hardware: Hardware) -> Iterator[Violation]:
    """Yield what is wrong with the split: all groups of warps share what a CTA has."""
    threads = s.groups * GROUP * hardware.warp_size
    # A thread starts with as many as each can have.
    pool = hardware.registers_per_sm // threads // STEP * STEP * s.groups
    split = s.compute_registers, s.reduce_registers, s.other_registers
    rest = RESTING if s.first_rests else 0
    used = s.compute_roles * s.compute_registers + s.reduce_registers + s.other_registers + rest
    if used > pool or any(one % STEP or not 24 <= one <= 255 for one in split):
        sum_of = f"{s.compute_roles} · {split[0]} + {split[1]} + {split[2]}"
        yield Violation(
            "registers",
            f"{sum_of}{f' + {rest}' if rest else ''} = {used} registers for {s.groups} groups of "
            f"warps that have {pool}, each in steps of {STEP} from 24 to 248",
        )


CONSTRAINTS = ("tiles", "roles", "columns", "stages", "registers", "memory_plan")
"""The names of the rules."""
