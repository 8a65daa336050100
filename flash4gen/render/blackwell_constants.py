"""The constants of a ``blackwell`` module, each with the reason for its value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.render.constants import FAR, decimal, described, integer, weights
from flash4gen.render.context import Constant, Constants, Option
from flash4gen.schedule.blackwell.memory import STAGED_COLUMNS
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.blackwell.registers import DEFAULTS, Split
from flash4gen.schedule.blackwell.space import spread
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.folding import FoldedScore
    from flash4gen.schedule.model import Choice

PTXAS = "--register-usage-level=10"
"""Option of ptxas, of which the default is 5. Roles have registers of their own (setmaxnreg), which
the default does not use: it computes tensor-memory addresses anew in every step, at head_dim 256
from values that it spilled. Measured with Triton 3.9: no spill in a loop, 0.02 fewer instructions a
score, 14 % fewer in the mma warp's loop, a few more spills around the loops."""

FRAGMENT = 32
"""Columns of scores that a thread loads, and weights that it stores, in one instruction."""


def blackwell_constants(
    attention: Attention, hardware: Hardware, choice: Choice, folded: FoldedScore
) -> Constants:
    """Return the constants of a ``blackwell`` module, those of the variant first."""
    schedule = choice.schedule
    assert isinstance(schedule, BlackwellSchedule)
    reasons = {decision.field: decision.reason for decision in choice.decisions}
    return Constants(
        variant=(
            *described(attention, hardware),
            *_factors(folded, normalised=schedule.normalised),
            *weights(attention),
        ),
        schedule=(
            *_tiles(attention, schedule, reasons),
            *_techniques(schedule, reasons),
            *_limits(schedule, hardware),
            *(FAR if attention.packed else ()),
        ),
        options=(
            Option("num_warps", "4"),
            Option("num_ctas", str(schedule.ctas)),
            Option("enable_fp_fusion", "True"),
            Option("ptx_options", f'"{PTXAS}"', "addresses stay in registers over a loop"),
        ),
    )


def _factors(folded: FoldedScore, *, normalised: bool) -> tuple[Constant, ...]:
    to_log2 = folded.factor * math.log2(math.e)
    if folded.identity:
        return (decimal("TO_LOG2", to_log2, "SCALE · log2(e): e^(SCALE · s) = 2^(TO_LOG2 · s)"),)
    share = "" if folded.factor == 1 else f"{folded.factor:g} · "
    weights = "2^(TO_LOG2 · (x − row_max))" if normalised else "1 / (1 + 2^(−TO_LOG2 · x))"
    return (
        decimal("PRESCALE", folded.prescale, "SCALE, and the factor of s in the score"),
        decimal("TO_LOG2", to_log2, f"{share}log2(e): weights are {weights}"),
    )


def _tiles(
    attention: Attention, schedule: BlackwellSchedule, reasons: dict[str, str]
) -> tuple[Constant, ...]:
    packs = attention.heads // schedule.pack
    return (
        integer("QUERY_TILES", schedule.query_tiles, reasons.get("query_tiles", "")),
        *_short(schedule, reasons),
        integer("TILE_Q", schedule.query_rows, _tile_rows(schedule, reasons)),
        integer("TILE_K", schedule.tile_k, reasons.get("tile_k", "")),
        integer("STAGES", schedule.stages, reasons.get("stages", "")),
        integer("STAGING", schedule.staging, reasons.get("staging", "")),
        integer("PACK", schedule.pack, reasons.get("pack", "")),
        integer("PACKS", packs, "packs of PACK query heads"),
        integer("ROWS", schedule.tile_rows, "query positions of a work tile"),
        integer("HEAD_PAD", schedule.head_pad, "HEAD_DIM, up to what a tile of q or k is wide"),
        integer("VALUE_PAD", schedule.value_pad, "VALUE_DIM, likewise"),
        *_chunks(schedule),
    )


def _short(schedule: BlackwellSchedule, reasons: dict[str, str]) -> tuple[Constant, ...]:
    if not schedule.short_queries:
        return ()
    return (
        Constant("SHORT_QUERIES", f"{schedule.short_queries}", reasons.get("short_queries", "")),
    )


def _tile_rows(schedule: BlackwellSchedule, reasons: dict[str, str]) -> str:
    own = reasons.get("tile_q", "")
    return own if schedule.ctas == 1 else f"of both CTAs; {schedule.tile_q} of each: {own}"


def _techniques(schedule: BlackwellSchedule, reasons: dict[str, str]) -> tuple[Constant, ...]:
    found = [
        integer("FRAGMENT", FRAGMENT, "columns that a thread loads or stores at a time"),
        _columns(schedule),
        integer("OUT_COLUMNS", min(STAGED_COLUMNS, schedule.value_pad), "of one staging buffer"),
    ]
    if schedule.normalised:
        found.append(
            decimal(
                "THRESHOLD", float(schedule.rescale_threshold), reasons.get("rescale_threshold", "")
            )
        )
    if schedule.emulated:
        shares = spread(schedule.emulated, schedule.tile_k // FRAGMENT)
        text = f"tl.constexpr(({', '.join(map(str, shares))}))"
        found.append(Constant("EMULATED", text, reasons.get("emulated", "")))
    if schedule.early:
        found.append(integer("EARLY", schedule.early, reasons.get("early", "")))
    return (
        *found,
        integer(
            "SOFTMAX_REGISTERS", schedule.softmax_registers, reasons.get("softmax_registers", "")
        ),
        integer("OTHER_REGISTERS", schedule.other_registers, reasons.get("other_registers", "")),
        *_short_registers(schedule, reasons),
    )


def _columns(schedule: BlackwellSchedule) -> Constant:
    """Return how many columns of an output the correction loads at a time.

    With 72 registers it spills an address at 32 columns and nothing at 16, for a tenth more
    instructions where it rescales (measured with ptxas of Triton 3.9 at head_dim 128).
    """
    if schedule.correction_registers >= Split(*DEFAULTS[2]).correction:
        return integer("COLUMNS", min(32, schedule.value_pad), "likewise, of an output")
    return integer("COLUMNS", 16, "likewise, of an output, for which there are few registers")


def _short_registers(schedule: BlackwellSchedule, reasons: dict[str, str]) -> tuple[Constant, ...]:
    if not schedule.short_queries:
        return ()
    why = reasons.get("short_softmax_registers", "")
    return (
        integer("SHORT_SOFTMAX_REGISTERS", schedule.short_softmax_registers, why),
        integer("SHORT_OTHER_REGISTERS", schedule.short_other_registers),
    )


def chunk(schedule: BlackwellSchedule) -> int | None:
    """Return how many columns of keys, queries and values are copied and multiplied at a time.

    None for all of them. Widths of buffers are powers of two, which 192 is not; and for 16 products
    in a row the mma warp needs more registers than it has, for their descriptors.
    """
    return {192: 64, 256: 128}.get(schedule.head_pad)


def _chunks(schedule: BlackwellSchedule) -> tuple[Constant, ...]:
    width = chunk(schedule)
    if width is None:
        return ()
    heads, values = schedule.head_pad // width, schedule.value_pad // width
    found = (
        integer("CHUNK", width, "columns that are copied and multiplied at a time"),
        integer("HEAD_CHUNKS", heads, "of q and k"),
        integer("VALUE_CHUNKS", values, "of v and out"),
    )
    if schedule.ctas > 1:
        return found  # keys and values have rings of their own
    return (*found, integer("SLOT_CHUNKS", max(heads, values), "of a slot of the ring"))


def _limits(schedule: BlackwellSchedule, hardware: Hardware) -> tuple[Constant, ...]:
    if schedule.order is not TileOrder.LONGEST_FIRST:
        return ()
    share = hardware.l2_bytes // 2
    return (Constant("L2_BYTES", f"{share}", "half of L2, for the keys and values in use"),)
