"""A schedule of the ``blackwell`` family as data: roles of warps, a memory plan, and techniques.

Programs hold one or two query tiles of 128 rows. Warps have roles: load, products, softmax (four
warps a tile), correction, store. ``memory`` says where everything lies, ``rules`` what may be said
together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from flash4gen.digest import WHERE_SET

if TYPE_CHECKING:
    from flash4gen.schedule.model import Family, TileOrder


class TensorPlan(StrEnum):
    """What the columns of tensor memory are spent on, beside the accumulators.

    P_IN_S: a score slot per query tile, the weights in its upper half (FlashAttention-4).
    SHARED_S: one score slot that both tiles use in turn, and a weight slot per tile.
    DISJOINT: a score slot and a weight slot per tile, where the columns suffice.
    DOUBLE_S: one query tile with two score slots used in turn, weights inside them.
    """

    P_IN_S = "p_in_s"
    SHARED_S = "shared_s"
    DISJOINT = "disjoint"
    DOUBLE_S = "double_s"


class Dispatch(StrEnum):
    """How programs come to their work.

    SINGLE: one program per work tile. STATIC: as many programs as SMs, each walks its share.
    CLC: cluster launch control, programs take over the work of those that were not launched yet.
    """

    SINGLE = "single"
    STATIC = "static"
    CLC = "clc"


class RowMax(StrEnum):
    """Where the maximum of a row comes from.

    REDUCE: three-input maxima in registers. LOAD: the load from tensor memory reduces on its way.
    """

    REDUCE = "reduce"
    LOAD = "load"


class Tanh(StrEnum):
    """How a hyperbolic tangent in the score is computed.

    EXACT: from exp2 and a reciprocal, to float32's precision. APPROX: by one instruction, to 11
    bits (PTX ISA, tanh); a softcap of 50 makes 0.02 of that in a score.
    """

    EXACT = "exact"
    APPROX = "approx"


class KeyLoops(StrEnum):
    """The loops of the softmax over a range of key tiles, in the order in which they are walked.

    MASKED: all tiles with mask code. MASKED_FULL: those that the range's end cuts with it, the
    others without. MASKED_FULL_MASKED: likewise, and those that its start cuts with it again.
    """

    MASKED = "masked"
    MASKED_FULL = "masked, full"
    MASKED_FULL_MASKED = "masked, full, masked"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlackwellSchedule:
    """One warp-specialised kernel's choices.

    Attributes:
        family: ``Family.BLACKWELL``.
        hardware: name of the hardware item it was chosen for.
        query_tiles: 1 or 2 tiles of ``tile_q`` rows per CTA; two take turns (ping-pong).
        short_queries: most rows of a head, or of packed heads, for which a kernel with one query
            tile is launched instead; 0 if there is none. ``short.one_tile`` is its schedule.
        ctas: 1 or 2 CTAs of a cluster that share every product (M = 256).
        tile_q: rows of a query tile: 128, the lanes of tensor memory.
        tile_k: keys per step.
        stages: slots of the ring that key and value tiles come through.
        plan: what tensor memory is spent on.
        pack: query heads of one group whose rows share a query tile; 1 for none.
        order: in which order work tiles are walked.
        dispatch: how programs come to work tiles.
        softmax_registers: per thread of a softmax warp.
        correction_registers: per thread of a correction warp.
        other_registers: per thread of the load, product and store warps.
        short_softmax_registers, short_correction_registers, short_other_registers: the same of the
            kernel for short queries.
        emulated: columns of each key tile whose exp2 is a polynomial instead of a MUFU instruction,
            spread over all fragments of 32 columns but the last.
        early: columns of weights that are released before the rest; 0 releases all at once.
        rescale_threshold: growth of the row maximum, as a power of two, up to which the accumulator
            keeps its scale; 0 rescales whenever the maximum grows.
        row_max: where the row maximum comes from.
        tanh: how tanh in a score is computed.
        staging: output tiles in shared memory on their way out.
        head_pad: padded width of q and k: a power of two of at least 16, or 192.
        value_pad: padded width of v and out, a power of two of at least 16.
        smem_bytes: planned shared memory of one CTA (the build checks the fact).
        tmem_columns: planned columns of tensor memory of one CTA, as allocated.
        normalised: whether weights are those of a softmax. Those of a sigmoid have no maximum, so
            that no output is rescaled, and the correction only hands outputs on.
        key_loops: the softmax's loops over key tiles; none that is proven never to run.
        element: bytes of an element of q, k and v, and of a weight.
    """

    family: Family
    hardware: str
    query_tiles: int
    short_queries: int
    ctas: int
    tile_q: int
    tile_k: int
    stages: int
    plan: TensorPlan
    pack: int
    order: TileOrder
    dispatch: Dispatch
    softmax_registers: int
    correction_registers: int
    other_registers: int
    short_softmax_registers: int
    short_correction_registers: int
    short_other_registers: int
    emulated: int
    early: int
    rescale_threshold: int
    row_max: RowMax
    tanh: Tanh
    staging: int
    head_pad: int
    value_pad: int
    smem_bytes: int
    tmem_columns: int
    normalised: bool = field(default=True, metadata=WHERE_SET)
    key_loops: KeyLoops = field(default=KeyLoops.MASKED_FULL, metadata=WHERE_SET)
    element: int = field(default=2, metadata=WHERE_SET)

    @property
    def rows(self) -> int:
        """Rows of all query tiles of one CTA."""
        return self.tile_q * self.query_tiles

    @property
    def query_rows(self) -> int:
        """Rows of one query tile, on all CTAs that share its products."""
        return self.tile_q * self.ctas

    @property
    def tile_rows(self) -> int:
        """Query positions of one work tile: what one program, or a pair of CTAs, walks."""
        return self.rows * self.ctas // self.pack

    @property
    def depth(self) -> int:
        """Key tiles that are in use or on their way at a time: values take every second slot."""
        return -(-self.stages // 2)
