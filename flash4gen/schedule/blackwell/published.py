"""FlashAttention-4 as it schedules itself: what published measurements are of.

In: what is computed, a target, and the name of a published kernel. Out: a ``BlackwellSchedule``
with its values, from its source (flash-attention@0251105, ``flash_fwd_sm100``: its tuning table,
tile schedulers and shared-memory sum), also where ours would break a rule or choose differently.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.ir.expr import ALWAYS, SCORE, Apply, Op, Var, Variable
from flash4gen.ir.hardware import Feature
from flash4gen.ir.nodes import Attention, DType, EmptyRow, Lengths, Pass
from flash4gen.schedule.blackwell.model import Dispatch, RowMax, TensorPlan
from flash4gen.schedule.blackwell.resolve import FAST_EXP2, planned, resolve
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.traits import Traits

PLAIN = "fa4"
NO_EMULATION = "fa4_abl_noemu"
ALWAYS_RESCALES = "fa4_abl_alwaysrescale"
ONE_TILE = "fa4_abl_qstage1"
KERNELS = (PLAIN, NO_EMULATION, ALWAYS_RESCALES, ONE_TILE)
"""The published kernels that are FlashAttention-4 with nothing, or one technique, taken away."""

STAGES = {64: 10, 96: 5, 128: 3, 192: 3}
"""Slots of its ring, by the wider head, for one CTA and two query tiles; of a pair, twice as many
halves. At 192 they are uneven, so that three fit."""

PAIR_HEADS = (128, 192)
"""Heads at which two CTAs share products, without a mask."""


def flash_attention_4(traits: Traits, hardware: Hardware, name: str = PLAIN) -> BlackwellSchedule:
    """Return the schedule of a published kernel; only the fields that the clock reads are its own.

    Raises:
        ValueError: it is no kernel of ``KERNELS``.
    """
    if name not in KERNELS:
        raise ValueError(f"{name} is not FlashAttention-4's forward pass")
    one = name == ONE_TILE
    pair = traits.unmasked and traits.head_dim in PAIR_HEADS and not one
    stages = STAGES.get(traits.head_dim, 3) * (2 if pair else 1)
    schedule = resolve(traits, hardware, {"plan": TensorPlan.P_IN_S, "query_tiles": 2})
    return planned(
        replace(
            schedule,
            query_tiles=1 if one else 2,
            ctas=2 if pair else 1,
            stages=stages,
            emulated=0 if name == NO_EMULATION else emulated(traits, hardware),
            early=96,
            rescale_threshold=0 if name == ALWAYS_RESCALES else 8,
            row_max=RowMax.LOAD if hardware.has(Feature.TMEM_REDUCE) else RowMax.REDUCE,
            staging=1 if one else 2,
            order=TileOrder.QUERY_TILES_FIRST if traits.unmasked else TileOrder.LONGEST_FIRST,
            dispatch=Dispatch.STATIC if traits.unmasked else Dispatch.SINGLE,
        )
    )


def emulated(traits: Traits, hardware: Hardware) -> int:
    """Return the columns of 128 that its tuning table computes in software."""
    if hardware.exp2_rate >= FAST_EXP2:
        return 0
    if traits.head_dim == 128:
        return 24 if traits.unmasked else 16
    if traits.head_dim == 192:
        return 24 if traits.unmasked else 8
    return 16


def dense(head_dim: int, value_dim: int, heads: int, kv_heads: int, *, causal: bool) -> Attention:
    """Return what published kernels compute: bf16, no score, causal or not."""
    return Attention(
        name="published",
        doc="",
        dtype=DType.BF16,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=value_dim,
        scale=head_dim**-0.5,
        score=SCORE,
        mask=Apply(Op.LE, (Variable(Var.K), Variable(Var.Q))) if causal else ALWAYS,
        empty_row=EmptyRow.ZERO,
        lengths=Lengths.ANY,
        passes=(Pass.FORWARD,),
        targets=(),
        pins=(),
        fields=(),
    )
