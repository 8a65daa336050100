"""Fills in a ``blackwell`` schedule: pinned fields as pinned, the others by rules.

In: the traits of an attention, the target, the pins. Out: one schedule, complete with its memory.
It may break a rule where pins do; ``rules`` says which.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flash4gen.ir.hardware import Feature
from flash4gen.schedule.blackwell.memory import TILE, memory_plan
from flash4gen.schedule.blackwell.model import (
    BlackwellSchedule,
    Dispatch,
    RowMax,
    Tanh,
    TensorPlan,
)
from flash4gen.schedule.blackwell.registers import DEFAULTS, Split, completed
from flash4gen.schedule.blackwell.short import able
from flash4gen.schedule.blackwell.space import (
    EARLY,
    EMULATED_STEP,
    LEAST_STAGES,
    MOST_EMULATED,
    MOST_STAGES,
)
from flash4gen.schedule.blackwell.traits import WIDE
from flash4gen.schedule.blackwell.winners import winner
from flash4gen.schedule.model import Family, TileOrder

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.traits import Traits
    from flash4gen.schedule.pins import Pins

THRESHOLD = 8
"""Growth of the row maximum, as a power of two, that needs no rescaling (FlashAttention-4)."""

FAST_EXP2 = 32
"""Exponentials per clock and SM from which on a polynomial costs more than it relieves."""

NARROW = 64
"""Padded width at which a search found that weights are better released at once."""

WISHED_STAGES = 3
"""Slots that a second staging buffer may not cost: a key and a value in use, and one on its way."""


def resolve(traits: Traits, hardware: Hardware, pins: Pins) -> BlackwellSchedule:
    """Return the schedule that pins and rules make together."""
    plan = pins.get("plan")
    query_tiles = pins.get("query_tiles") or _query_tiles(traits, plan)
    ctas = pins.get("ctas", 1)
    plan = plan or _plan(traits, hardware, query_tiles, ctas)
    early = pins.get("early", _early(traits, plan))
    split = completed(pins, query_tiles, hardware, reading=traits.reads_keys)
    # As few keys as queries have one tile: a loop over them would have no second turn.
    few = TILE if able(query_tiles, ctas, plan) and not traits.equal else 0
    short_queries = pins.get("short_queries", few)
    short = Split(*DEFAULTS[1]) if short_queries else Split(0, 0, 0)
    draft = BlackwellSchedule(
        family=Family.BLACKWELL,
        hardware=hardware.name,
        query_tiles=query_tiles,
        short_queries=short_queries,
        ctas=ctas,
        tile_q=TILE,
        tile_k=TILE,
        stages=pins.get("stages", LEAST_STAGES),
        plan=plan,
        pack=pins.get("pack", 1),
        order=pins.get("order") or _order(traits),
        dispatch=pins.get("dispatch") or _dispatch(traits),
        softmax_registers=split.softmax,
        correction_registers=split.correction,
        other_registers=split.other,
        short_softmax_registers=short.softmax,
        short_correction_registers=short.correction,
        short_other_registers=short.other,
        emulated=_emulated(traits, hardware, early, pins),
        early=early,
        rescale_threshold=pins.get("rescale_threshold", _threshold(traits)),
        row_max=pins.get("row_max") or _row_max(traits, hardware),
        tanh=pins.get("tanh", Tanh.EXACT),
        staging=pins.get("staging", 1),
        head_pad=traits.head_pad,
        value_pad=traits.value_pad,
        smem_bytes=0,
        tmem_columns=0,
        normalised=traits.normalised,
        key_loops=traits.key_loops,
        element=traits.element,
    )
    return planned(_with_ring(draft, hardware, pins))


def planned(draft: BlackwellSchedule) -> BlackwellSchedule:
    """Return a schedule with the sums of its memory plan."""
    plan = memory_plan(draft)
    return replace(draft, smem_bytes=plan.smem_bytes, tmem_columns=plan.tmem_columns)


def most_stages(draft: BlackwellSchedule, hardware: Hardware) -> int:
    """Return how many ring slots fit with the rest of a schedule as it is; 0 if not even one."""
    least = draft.ctas  # a pair has slots in pairs, for keys and for values
    one, two = (memory_plan(replace(draft, stages=n * least)).smem_bytes for n in (1, 2))
    beyond_one = (hardware.smem_per_block - one) // (two - one)
    return min(max(0, 1 + beyond_one) * least, MOST_STAGES)


def share_columns(share: float) -> int:
    """Return the columns of a share of a key tile, to the nearest four."""
    columns = round(share * TILE / EMULATED_STEP) * EMULATED_STEP
    return min(columns, MOST_EMULATED)


def _with_ring(draft: BlackwellSchedule, hardware: Hardware, pins: Pins) -> BlackwellSchedule:
    """Return the draft with as many slots as fit, and two staging buffers if those cost little."""
    one, two = (replace(draft, staging=pins.get("staging", count)) for count in (1, 2))
    if "stages" in pins:
        fits = memory_plan(two).smem_bytes <= hardware.smem_per_block
        return two if fits else one
    slots = most_stages(two, hardware)
    best = two
    if slots < WISHED_STAGES and most_stages(one, hardware) > slots:
        best, slots = one, most_stages(one, hardware)
    return replace(best, stages=max(slots, LEAST_STAGES))


def _query_tiles(traits: Traits, plan: Any) -> int:
    return 1 if traits.widest or plan is TensorPlan.DOUBLE_S else 2


def _plan(traits: Traits, hardware: Hardware, query_tiles: int, ctas: int) -> TensorPlan:
    """Return the plan that a search found fastest; a pair of CTAs has FlashAttention-4's only."""
    if query_tiles == 1:
        return TensorPlan.DOUBLE_S
    found = winner(traits, hardware) if ctas == 1 else None
    return found.plan if found else TensorPlan.P_IN_S


def _threshold(traits: Traits) -> int:
    """Return 0 where no growth is left out: of 8-bit weights too, which fill their range."""
    return THRESHOLD if traits.normalised and traits.element > 1 else 0


def _order(traits: Traits) -> TileOrder:
    return TileOrder.LONGEST_FIRST if traits.grows else TileOrder.QUERY_TILES_FIRST


def _dispatch(traits: Traits) -> Dispatch:
    return Dispatch.SINGLE if traits.grows or traits.packed else Dispatch.STATIC


def _row_max(traits: Traits, hardware: Hardware) -> RowMax:
    able = hardware.has(Feature.TMEM_REDUCE) and traits.monotone and traits.normalised
    return RowMax.LOAD if able else RowMax.REDUCE


def _early(traits: Traits, plan: TensorPlan) -> int:
    """Return 0 where nothing waits for the first weights, and the rows for their release.

    At head_dim 64 scores have columns of their own and the tensor core is half idle on B200.
    Compiled modules are modelled 1.11 times as fast, at least (docs/time_accuracy.md).
    """
    idle = plan is TensorPlan.DISJOINT and traits.head_pad == NARROW
    return 0 if idle and traits.normalised and not traits.tanh else EARLY


def _emulated(traits: Traits, hardware: Hardware, early: int, pins: Pins) -> int:
    """Return the emulated columns: FlashAttention-4's tuning table, where nothing is pinned."""
    if "emulated" in pins:
        return int(pins["emulated"])
    if "emulation_share" in pins:
        return share_columns(pins["emulation_share"])
    if hardware.exp2_rate >= FAST_EXP2:
        return 0
    if not traits.normalised:
        return MOST_EMULATED
    if traits.widest:
        return 36
    if traits.head_dim == WIDE[0]:
        return 8 if traits.grows else 24
    at_once = traits.head_pad == NARROW and not early  # 24 would spill
    return 16 if traits.grows or at_once else 24
