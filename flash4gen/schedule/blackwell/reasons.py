"""Why every field of a ``blackwell`` schedule is what it is, one sentence each.

In: the schedule, the traits it was made for, the target, the pins. Out: ``Decision`` per field.
Fields follow from rules, and the plan from a search on the modelled clock (``winners``); where a
value was taken over from FlashAttention-4, the sentence says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.hardware import Feature
from flash4gen.schedule.blackwell.memory import TILE, memory_plan, score_slots
from flash4gen.schedule.blackwell.model import Dispatch, KeyLoops, RowMax, TensorPlan
from flash4gen.schedule.blackwell.registers import (
    DEFAULTS,
    FIELDS,
    READING,
    SOFTMAX_FLOOR,
    Split,
    equation,
)
from flash4gen.schedule.blackwell.resolve import FAST_EXP2, NARROW, most_stages
from flash4gen.schedule.blackwell.space import MOST_STAGES
from flash4gen.schedule.blackwell.winners import winner
from flash4gen.schedule.decisions import ORDER, padding
from flash4gen.schedule.model import Decision

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.traits import Traits
    from flash4gen.schedule.pins import Pins

FA4 = "as FlashAttention-4"


def decisions(
    schedule: BlackwellSchedule, traits: Traits, hardware: Hardware, pins: Pins
) -> tuple[Decision, ...]:
    """Return the reason for each field of the chosen schedule."""
    reasons = {
        "family": f"{hardware.doc} has tcgen05 and tensor memory, and the heads have a memory plan",
        **_shape(schedule, traits),
        "short_queries": _short(schedule, traits),
        "stages": _stages(schedule, hardware),
        "plan": _plan(schedule, traits, hardware),
        "pack": _pack(schedule, traits),
        "order": ORDER[schedule.order],
        "dispatch": _dispatch(schedule, traits),
        **_registers(schedule, hardware),
        **_short_registers(schedule, hardware),
        "emulated": _emulated(schedule, traits, hardware),
        "early": _early(schedule),
        "rescale_threshold": _threshold(schedule, traits),
        "key_loops": KEY_LOOPS[schedule.key_loops],
        "row_max": _row_max(schedule, traits, hardware),
        "tanh": _tanh(traits),
        "staging": _staging(schedule),
        "head_pad": _padding("head_dim", traits.head_dim, schedule.head_pad),
        "value_pad": _padding("value_dim", traits.value_dim, schedule.value_pad),
        **_budgets(schedule, hardware),
    }
    return tuple(_decision(schedule, name, reason, pins) for name, reason in reasons.items())


def _decision(schedule: BlackwellSchedule, name: str, reason: str, pins: Pins) -> Decision:
    value = getattr(schedule, name)
    if name in pins:
        return Decision(name, value, "pinned by the spec", pinned=True)
    if name == "emulated" and "emulation_share" in pins:
        share = f"{pins['emulation_share']} of {TILE} columns, to the nearest four"
        return Decision(name, value, f"emulation_share is pinned: {share}", pinned=True)
    return Decision(name, value, reason)


PLANS = {
    TensorPlan.P_IN_S: (
        f"{FA4}: a score slot per query tile, weights in its upper half; both tiles may compute "
        "their scores at once"
    ),
    TensorPlan.SHARED_S: "one score slot for both tiles leaves each a weight slot of its own",
    TensorPlan.DISJOINT: "scores and weights have columns of their own",
    TensorPlan.DOUBLE_S: (
        "a single query tile uses two score slots in turn: the next scores are computed while the "
        "softmax works on these"
    ),
}


def _plan(schedule: BlackwellSchedule, traits: Traits, hardware: Hardware) -> str:
    """Return what the plan is, and how far ahead it was found to be."""
    found = winner(traits, hardware) if schedule.ctas == 1 else None
    text = PLANS[schedule.plan]
    if found is None or found.plan is not schedule.plan or found.plan is TensorPlan.P_IN_S:
        return text
    return f"{text}: {found.gain:.2f} times as fast as FlashAttention-4's plan, modelled"


def _shape(schedule: BlackwellSchedule, traits: Traits) -> dict[str, str]:
    tiles = f"{FA4}: two query tiles take turns, one's softmax runs while the other's products do"
    if schedule.query_tiles == 1:
        tiles = "one query tile of this plan"
        if traits.widest:
            tiles = "an accumulator of 256 columns leaves room for scores of one query tile only"
    pair = "one CTA; a pair that shares products (M = 256) has to be pinned"
    if schedule.ctas == 2:
        pair = "a pair shares products, each holds half of the keys and values"
    return {
        "query_tiles": tiles,
        "ctas": pair,
        "tile_q": "the lanes of tensor memory; a softmax thread has a row of its own",
        "tile_k": f"{FA4}: a row of {TILE} scores fits the registers of a softmax thread",
    }


def _short(schedule: BlackwellSchedule, traits: Traits) -> str:
    if schedule.short_queries and traits.packed:
        return (
            "a kernel with one query tile is launched where sequences have as few rows on average; "
            "either is right for all lengths, which the host does not know"
        )
    if schedule.short_queries:
        return (
            f"{FA4}: where all rows fit into one query tile, a kernel without the second is "
            "launched"
        )
    if schedule.query_tiles == 1:
        return "every kernel has one query tile"
    if schedule.ctas > 1:
        return "query tiles of a pair have rows of both CTAs"
    if traits.equal:
        return (
            "as few keys as queries lie in one tile: a kernel for them would have loops without a "
            "second turn"
        )
    return "tiles of this plan wait for each other"


def _stages(schedule: BlackwellSchedule, hardware: Hardware) -> str:
    most = most_stages(schedule, hardware)
    if schedule.stages == MOST_STAGES:
        return f"{MOST_STAGES} at most: more loads than that are never on their way"
    text = "as many key or value tiles as fit into shared memory"
    return text if schedule.stages == most else f"{text} would be {most}"


def _pack(schedule: BlackwellSchedule, traits: Traits) -> str:
    if traits.group == 1:
        return "every query head has keys and values of its own"
    if schedule.pack > 1:
        return "the heads of a group share keys and values, and here query tiles"
    return (
        f"{traits.group} query heads share keys and values, each in query tiles of its own; "
        "packing them pays for short queries, and has to be pinned"
    )


_DISPATCH = {
    Dispatch.SINGLE: (
        f"{FA4} under such masks: one program per work tile, and the hardware hands the next one "
        "to the first SM that is free"
    ),
    Dispatch.STATIC: (
        f"{FA4} without a mask: all work tiles take as long, so every SM walks its share and the "
        "stores of one tile overlap the loads of the next"
    ),
    Dispatch.CLC: "SMs take over work tiles as they become free, and keep their set-up",
}


def _dispatch(schedule: BlackwellSchedule, traits: Traits) -> str:
    if traits.packed and schedule.dispatch is Dispatch.SINGLE:
        return (
            f"{FA4} where lengths differ: one program per work tile, and the hardware hands the "
            "next one to the first SM that is free"
        )
    return _DISPATCH[schedule.dispatch]


def _registers(schedule: BlackwellSchedule, hardware: Hardware) -> dict[str, str]:
    split = Split(*(getattr(schedule, name) for name in FIELDS))
    rule = equation(schedule.query_tiles, hardware)
    softmax = f"a thread holds a row of {TILE} scores and spills below {SOFTMAX_FLOOR}; {rule}"
    if split == DEFAULTS[2]:
        softmax += "; at head_dim 128 no loop over keys spills with this split"
    if split == READING:
        softmax += "; what it reads of input tensors for its keys lies beside them"
    reasons = (softmax, f"what is left: {rule}", "addresses, counters and barriers only")
    return dict(zip(FIELDS, reasons, strict=True))


def _short_registers(schedule: BlackwellSchedule, hardware: Hardware) -> dict[str, str]:
    rule = f"of the kernel for short queries: {equation(1, hardware)}"
    reason = rule if schedule.short_queries else "there is no kernel for short queries"
    return {f"short_{name}": reason for name in FIELDS}


def _emulated(schedule: BlackwellSchedule, traits: Traits, hardware: Hardware) -> str:
    if not traits.normalised and not schedule.emulated:
        return f"{hardware.exp2_rate} per clock: polynomials would gain 2 % at most, modelled"
    if not traits.normalised:
        return (
            "a sigmoid takes an exponential and a reciprocal: polynomials relieve the MUFU, "
            f"{hardware.exp2_rate} per clock, of as many exponentials as they may"
        )
    if hardware.exp2_rate >= FAST_EXP2:
        return (
            f"{FA4} on sm_103: {hardware.exp2_rate} exponentials per clock keep up with the tensor "
            "cores"
        )
    if traits.head_pad == NARROW and not schedule.early and not traits.grows:
        return (
            f"of {TILE}: with weights that are released at once, 24 (FlashAttention-4) take more "
            "registers than a warp has"
        )
    work = "under masks whose work grows" if traits.grows else "where all tiles take as long"
    if traits.widest:
        work = "at head_dim 256"
    return (
        f"of {TILE}, by FlashAttention-4's tuning table for such widths {work}: a polynomial "
        f"relieves the MUFU, {hardware.exp2_rate} per clock"
    )


def _early(schedule: BlackwellSchedule) -> str:
    if not schedule.early:
        return (
            "all weights are released at once: a row would wait longer for the release than it "
            "gains"
        )
    return f"{FA4}: the product with the values starts on three quarters of the weights"


def _threshold(schedule: BlackwellSchedule, traits: Traits) -> str:
    if not traits.normalised:
        return "sigmoid weights have no maximum to be scaled by"
    if schedule.element == 1:
        return f"{FA4} in 8 bits: weights fill the range of e4m3, which leaves no room for growth"
    if schedule.rescale_threshold == 0:
        return "the accumulator is rescaled whenever the maximum grows"
    return (
        f"{FA4}: the accumulator keeps its scale until the maximum has grown by 2 to this power; "
        "the last division makes up for it"
    )


KEY_LOOPS = {
    KeyLoops.MASKED: (
        "proven: of no query tile do all rows see a whole key tile, so that all run mask code"
    ),
    KeyLoops.MASKED_FULL: (
        "only the end of a range of keys may cut a tile; proven: at no length is there one to mask "
        "in front of those that all rows see"
    ),
    KeyLoops.MASKED_FULL_MASKED: (
        "either end of a range of keys may cut a tile; those between, that all rows see, run no "
        "mask code"
    ),
}


def _row_max(schedule: BlackwellSchedule, traits: Traits, hardware: Hardware) -> str:
    if not traits.normalised:
        return "sigmoid weights need none"
    if schedule.row_max is RowMax.LOAD:
        rest = "" if traits.identity else ", and the score expression keeps their order"
        return f"{FA4} on sm_103: the load from tensor memory reduces the products{rest}"
    if not hardware.has(Feature.TMEM_REDUCE):
        return f"maxima of three at a time; {hardware.doc} cannot reduce while it loads"
    if not traits.monotone:
        return "the score expression may order the keys of a row differently than the products"
    return "maxima of three at a time"


def _tanh(traits: Traits) -> str:
    if not traits.tanh:
        return "the score has none"
    return "the instruction for it has 11 bits, too few for scores that are a multiple of it"


def _staging(schedule: BlackwellSchedule) -> str:
    if schedule.staging == 2:
        return "one output tile is stored while the next is written"
    return f"a second one would cost slots of the ring, of which {schedule.stages} fit so"


def _padding(name: str, dim: int, padded: int) -> str:
    if dim == padded and dim & (dim - 1):
        return f"{name} = {dim}, as tiles of 128 and of {dim - 128} columns"
    return padding(name, dim)


def _budgets(schedule: BlackwellSchedule, hardware: Hardware) -> dict[str, str]:
    plan = memory_plan(schedule)
    slots = score_slots(schedule)
    columns = (
        f"{slots} score slot{'s' if slots > 1 else ''}, weights and {schedule.query_tiles} "
        f"accumulator{'s' if schedule.query_tiles > 1 else ''}, of {hardware.tmem_columns}"
    )
    barriers = sum(barrier.count for barrier in plan.barriers)
    return {
        "smem_bytes": f"of {hardware.smem_per_block:,} per block, {barriers} barriers among it",
        "tmem_columns": columns,
    }
