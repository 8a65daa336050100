"""The choice of the backward pipeline: which attentions it takes, and why each field is as it is.

In: an ``Attention`` whose forward pass the warp-specialised family computes, and a ``Hardware``.
Out: a ``BackwardChoice``; or, as text, why the pipeline cannot compute its gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Var, lookups, variables
from flash4gen.ir.masks import never_true
from flash4gen.schedule.backward.model import BackwardChoice
from flash4gen.schedule.backward.pipeline.model import KeyOrder, PipelineSchedule, QuerySum
from flash4gen.schedule.backward.pipeline.plan import pipeline_faults
from flash4gen.schedule.backward.space import ROWS
from flash4gen.schedule.blackwell.traits import traits

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention

WIDTHS = (64, 128)
"""Widths of heads, padded, that tensor memory has room for beside two score tiles."""

WIDE = (192, 128)
"""The pair of widths that it has room for beside two score tiles of 64 queries."""


def no_pipeline(attention: Attention, hardware: Hardware) -> str:
    """Return why the pipeline has no gradients of an attention, or an empty text."""
    known = traits(attention)
    read = tuple(
        dict.fromkeys(item.tensor.name for item in lookups(attention.score, attention.mask))
    )
    if attention.deterministic:
        return (
            "its backward pipeline adds up dq in any order, and `deterministic = true` asks for one"
        )
    if not attention.normalised:
        return "its backward pipeline has no sigmoid weights, and this attention has"
    if read:
        names = ", ".join(read)
        return f"its backward pipeline reads no input tensors but sinks, and this one has {names}"
    widths = known.head_pad, known.value_pad
    if widths != WIDE and not {*widths} <= {*WIDTHS}:
        return (
            f"its backward pipeline has room for heads of 33 to {WIDTHS[-1]} columns, and for "
            f"{WIDE[0]} with {WIDE[1]}; head_dim {attention.head_dim} with value_dim "
            f"{attention.value_dim} has others"
        )
    if never_true(attention.mask) or Var.S not in variables(attention.score):
        return "its backward pipeline needs scores that move with q and k"
    wrong = pipeline_faults(_schedule(attention, hardware), hardware)
    return f"its backward pipeline does not fit: {wrong[0].reason}" if wrong else ""


def choose_pipeline(attention: Attention, hardware: Hardware) -> BackwardChoice:
    """Choose the schedule of an attention that ``no_pipeline`` has nothing against."""
    schedule = _schedule(attention, hardware)
    return BackwardChoice(schedule=schedule, reasons=tuple(_reasons(schedule).items()))


def _schedule(attention: Attention, hardware: Hardware) -> PipelineSchedule:
    known = traits(attention)
    narrow = known.head_pad + known.value_pad <= 2 * WIDTHS[0]
    wide = (known.head_pad, known.value_pad) == WIDE
    return PipelineSchedule(
        hardware=hardware.name,
        tile_q=64 if wide else 128,
        tile_k=128,
        compute_roles=2,
        query_stages=2,
        out_stages=2 if narrow or wide else 1,
        dq_columns=WIDE[0] if wide else 32,
        dq_slots=1 if wide else 2,
        head_pad=known.head_pad,
        value_pad=known.value_pad,
        compute_registers=152,
        reduce_registers=96,
        other_registers=112,
        order=KeyOrder.LONGEST_FIRST if known.grows else KeyOrder.KEY_TILES_FIRST,
        query_sum=QuerySum.ATOMIC,
        rows=ROWS,
    )


def _reasons(schedule: PipelineSchedule) -> dict[str, str]:
    """Return why each field is what it is, by name."""
    grows = schedule.order is KeyOrder.LONGEST_FIRST
    reasons = {
        "tile_q": "columns of a transposed score: with as many gradients they fill half of tensor "
        "memory, and leave the other half for dk and dv",
        "tile_k": "lanes of tensor memory: dk and dv of so many keys stay there from first to last",
        "compute_roles": "a thread then holds 64 weights of one key until their gradients are "
        "there; all 128 would not fit into its registers",
        "query_stages": "the next scores are multiplied while dk still reads the last queries",
        "out_stages": "shared memory has room for one tile; dv releases it early"
        if schedule.out_stages == 1
        else "narrow heads leave room for a second tile, which arrives ahead of its turn",
        "dq_columns": "a box of 32 float32 is the 128 bytes of a swizzled row",
        "dq_slots": "one is filled while the copy engine reads the other",
        "compute_registers": "2·compute + reduce + other = 512; a compute thread holds 64 weights "
        "and a fragment of 32 gradients, and more than 152 changes nothing",
        "reduce_registers": "32 columns at a time; with 80 its loop reloaded some of them",
        "other_registers": "what the others leave; addresses of the five products are not kept",
        "order": "the first keys are seen by most queries; the longest programs start first"
        if grows
        else "programs that run together share queries in L2",
        "query_sum": "programs add to dq by TMA in float32, so that nobody waits; the order is "
        "that of their arrival, and the last bits of dq with it",
        "rows": "rows of the kernel that reads out and its gradient once, before the pipeline",
    }
    return {**reasons, **_WIDE_REASONS} if schedule.rest else reasons


_WIDE_REASONS = {
    "tile_q": "dk and dv leave 192 columns of tensor memory: scores, their gradients, and a third "
    "of dq, which is transposed and has a column for each query",
    "compute_roles": "a thread then holds 32 weights of one key, and the other role's overlap with "
    "its own",
    "out_stages": "tiles of 64 queries leave room for a second one, which arrives ahead of its "
    "turn",
    "dq_columns": "all of them: a warp turns 32 lanes into 32 columns, the 128 bytes of a swizzled "
    "row",
    "dq_slots": "two parts have a buffer each; one is filled while the copy engine reads the other",
    "reduce_registers": "32 queries at a time",
}
"""What is otherwise where heads have more columns than a product has lanes."""
