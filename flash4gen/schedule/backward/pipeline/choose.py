"""The choice of the backward pipeline: which attentions it takes, and why each field is as it is.

In: an ``Attention`` whose forward pass the warp-specialised family computes, and a ``Hardware``.
Out: a ``BackwardChoice``; or, as text, why the pipeline cannot compute its gradients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Var, variables
from flash4gen.ir.masks import never_true
from flash4gen.ir.printer import format_expr
from flash4gen.schedule.backward.model import BackwardChoice
from flash4gen.schedule.backward.pins import gradient_pins
from flash4gen.schedule.backward.pipeline.inputs import (
    argument_bytes,
    beside,
    by_score,
    reads_score,
    row_bytes,
)
from flash4gen.schedule.backward.pipeline.model import (
    RESTING,
    KeyOrder,
    PipelineSchedule,
    QuerySum,
)
from flash4gen.schedule.backward.pipeline.pair_choice import pair_reasons, paired, pins_pair
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
    known, pins = traits(attention), gradient_pins(attention)
    if pins:
        return f"the spec pins `{pins[0].name} = {pins[0].value}`, a shape of portable gradients"
    widths = known.head_pad, known.value_pad
    if widths != WIDE and not {*widths} <= {*WIDTHS}:
        return (
            f"its backward pipeline has room for heads of 33 to {WIDTHS[-1]} columns, and for "
            f"{WIDE[0]} with {WIDE[1]}; head_dim {attention.head_dim} with value_dim "
            f"{attention.value_dim} has others"
        )
    others = beside(attention)
    if others and (attention.packed or not attention.normalised):
        lacking = "packed sequences" if attention.packed else "sigmoid weights"
        return (
            f"its backward pipeline does not sum the gradient of `{format_expr(others[0])}`, and "
            f"the kernels beside it know no {lacking}"
        )
    if never_true(attention.mask) or Var.S not in variables(attention.score):
        return "its backward pipeline needs scores that move with q and k"
    wrong = pipeline_faults(_schedule(attention, hardware), hardware)
    # At 192 / 128 a pair that is pinned has room where one CTA has none.
    if not wrong or (pins_pair(attention) and not no_pair(attention, hardware)):
        return ""
    return f"its backward pipeline does not fit: {wrong[0].reason}"


def no_pair(attention: Attention, hardware: Hardware) -> str:
    """Return why no pair of CTAs can share the products of a pipeline, or an empty text."""
    if attention.packed:
        return "two CTAs that share products know no packed sequences, and these lie packed"
    wrong = pipeline_faults(paired(_schedule(attention, hardware), hardware), hardware)
    return f"it does not fit: {wrong[0].reason}" if wrong else ""


def choose_pipeline(
    attention: Attention, hardware: Hardware, *, pair: bool = False
) -> BackwardChoice:
    """Choose the schedule of an attention that ``no_pipeline`` has nothing against.

    Args:
        attention: what to differentiate.
        hardware: the target.
        pair: whether two CTAs share all products; ``no_pair`` has nothing against it.
    """
    schedule = _schedule(attention, hardware)
    if pair:
        schedule = paired(schedule, hardware)
    return BackwardChoice(schedule=schedule, reasons=tuple(_reasons(schedule).items()))


def _schedule(attention: Attention, hardware: Hardware) -> PipelineSchedule:
    known = traits(attention)
    narrow = known.head_pad + known.value_pad <= 2 * WIDTHS[0]
    of_rows, reads = row_bytes(attention), argument_bytes(attention)
    wide = (known.head_pad, known.value_pad) == WIDE
    bent = BENT if _bends(attention) else PLAIN
    split = WHOLE if wide else CROWDED if reads > 0 else bent
    return PipelineSchedule(
        hardware=hardware.name,
        tile_q=64 if wide else 128,
        tile_k=128,
        compute_roles=2,
        query_stages=2,
        out_stages=2 if narrow or wide else 1,
        dq_columns=WIDE[0] if wide else 16 if reads else 32,
        dq_slots=1 if wide else 2,
        head_pad=known.head_pad,
        value_pad=known.value_pad,
        compute_registers=split[0],
        reduce_registers=split[1],
        other_registers=split[2],
        order=_order(attention),
        query_sum=QuerySum.ORDERED if attention.deterministic else QuerySum.ATOMIC,
        rows=ROWS,
        argument_bytes=reads,
        row_bytes=of_rows,
        normalised=known.normalised,
        packed=attention.packed,
    )


WHOLE = (152, 96, 112)
"""Registers of compute, reduce and other warps where there is no role that rests."""

PLAIN = (152, 96, 56)
"""The same where there is one, nothing is read, and scores are products."""

BENT = (160, 96, 40)
"""The same where scores have a derivative that varies."""

CROWDED = (184, 64, 24)
"""The same where tensors are read."""


def _bends(attention: Attention) -> bool:
    """Whether the derivative of the score differs from score to score."""
    return reads_score(by_score(attention))


def _order(attention: Attention) -> KeyOrder:
    if attention.deterministic:
        return KeyOrder.SHORTEST_FIRST
    return KeyOrder.LONGEST_FIRST if traits(attention).grows else KeyOrder.KEY_TILES_FIRST


_ORDERS = {
    KeyOrder.LONGEST_FIRST: "the first keys are seen by most queries; the longest programs start "
    "first",
    KeyOrder.KEY_TILES_FIRST: "programs that run together share queries in L2",
    KeyOrder.SHORTEST_FIRST: "a program waits for key tiles after its own only, which have started "
    "before it; under a causal mask each begins where nobody is before it, and one query tile "
    "later there than the next, so that no wait follows from another",
}

_SUMS = {
    QuerySum.ATOMIC: "programs add to dq by TMA in float32, so that nobody waits; the order is "
    "that of their arrival, and the last bits of dq with it",
    QuerySum.ORDERED: "asked for by `deterministic = true`: at each query tile the key tiles add "
    "one after the other, from the last on; a number in global memory says whose turn it is",
}


def _reasons(schedule: PipelineSchedule) -> dict[str, str]:
    """Return why each field is what it is, by name."""
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
        "dq_columns": "a box of 32 float32 is the 128 bytes of a swizzled row"
        if schedule.dq_columns == 32
        else "half of a swizzled row leaves room for what is read of tensors for each query",
        "dq_slots": "one is filled while the copy engine reads the other",
        "compute_registers": f"{_shared(schedule)}; a compute thread holds 64 weights and a "
        "fragment of 32 gradients, and more than 152 changes nothing"
        if schedule.compute_registers != BENT[0]
        else f"{_shared(schedule)}; a compute thread holds 64 weights times their derivatives and "
        "a fragment of 32 gradients, and reloads one a turn with 152",
        "reduce_registers": "32 columns at a time; with 80 its loop reloaded some of them",
        "other_registers": "what the others leave; addresses of the five products are not kept",
        "order": _ORDERS[schedule.order],
        "query_sum": _SUMS[schedule.query_sum],
        "rows": "rows of the kernel that reads out and its gradient once, before the pipeline"
        if schedule.normalised
        else "there is no such kernel: sigmoid weights need nothing before the pipeline",
        **_reads(schedule),
    }
    if schedule.ctas > 1:
        return {**reasons, **pair_reasons(schedule)}
    if not schedule.rest:
        return reasons
    ordered = schedule.query_sum is QuerySum.ORDERED
    return {**reasons, **_WIDE_REASONS, **(_WIDE_AND_ORDERED if ordered else {})}


def _shared(schedule: PipelineSchedule) -> str:
    """Return how groups of warps share the registers of a CTA."""
    split = "2·compute + reduce + other"
    return f"{split} + {RESTING} = 480" if schedule.first_rests else f"{split} = 512"


def _reads(schedule: PipelineSchedule) -> dict[str, str]:
    """Return why fields of tensors that are read are what they are, where some are."""
    reasons = {
        "argument_bytes": "a warp-specialised kernel hands addresses and strides on in shared "
        "memory",
        "row_bytes": "the load warp reads tensors by query, as it does lse and delta",
    }
    split = {
        "compute_registers": f"{_shared(schedule)}; beside 64 weights and a fragment lie positions "
        "and what tensors hold",
        "reduce_registers": "16 columns at a time",
    }
    found = {name: reason for name, reason in reasons.items() if getattr(schedule, name)}
    if found and schedule.rest:
        wide = (
            "a thread holds 32 weights, which leaves room for positions and for what tensors hold"
        )
        return {**found, "compute_registers": f"{_shared(schedule)}; {wide}"}
    return {**found, **split} if found else {}


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

_WIDE_AND_ORDERED = {"dq_slots": "two parts have a buffer each, and are sent in one turn"}
"""And what is where they add in turns besides."""
