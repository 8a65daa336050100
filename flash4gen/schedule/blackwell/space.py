"""What a spec may pin of a ``blackwell`` schedule: every free field with the values it may have.

In: nothing. Out: ``DOMAINS``. Whether values go together, ``rules`` knows.
"""

from __future__ import annotations

import itertools

from flash4gen.schedule.blackwell.memory import TILE
from flash4gen.schedule.blackwell.model import Dispatch, RowMax, Tanh, TensorPlan
from flash4gen.schedule.domain import Domain, Span
from flash4gen.schedule.model import TileOrder

FRAGMENT = 32
"""Columns of a score that are computed together; a weight fragment is stored when it is done."""

EMULATED_STEP = 4
"""Emulated columns come in fours: in each fragment they are pairs, spread evenly."""

MOST_EMULATED = TILE - FRAGMENT
"""The last fragment is left to the hardware: nothing comes after it that could hide a polynomial
(as in FlashAttention-4)."""

EARLY = 96
"""Columns of weights after which the product with the values may start (as in FlashAttention-4)."""

REGISTER_STEP = 8
LEAST_REGISTERS = 24
MOST_REGISTERS = 256
"""What ``setmaxnreg`` takes (PTX ISA): multiples of 8 from 24 to 256."""

LEAST_STAGES = 2
"""A key tile is waited for while a value tile is in use: with one slot neither would ever end."""

MOST_STAGES = 16
"""More slots than this hold a whole wave of loads; FlashAttention-4's narrow heads ran out of
shared memory at its cap of 32 (its issue 2591)."""

MOST_THRESHOLD = 15
"""Weights grow to 2 to the power of the threshold, and fp16 ends just below 2¹⁶."""

_REGISTERS = Domain(
    Span(LEAST_REGISTERS, MOST_REGISTERS, REGISTER_STEP),
    "registers are handed to warps in eights, 24 to 256 a thread",
)

DOMAINS: dict[str, Domain] = {
    "tile_q": Domain((TILE,), "a query tile has as many rows as tensor memory has lanes"),
    "tile_k": Domain((TILE,), "a step has 128 keys"),
    "query_tiles": Domain((1, 2), "a program holds one query tile, or two that take turns"),
    "short_queries": Domain(
        (0, TILE), "a kernel with one query tile is launched for up to its 128 rows, or never (0)"
    ),
    "ctas": Domain((1, 2), "a product is computed by one CTA or by a pair"),
    "stages": Domain(
        Span(LEAST_STAGES, MOST_STAGES),
        "keys and values pass through a ring of at least two slots: a key tile is waited for while "
        "a value tile is in use",
    ),
    "plan": Domain(tuple(TensorPlan), "a plan says what tensor memory is spent on"),
    "pack": Domain(
        (1, 2, 4, 8, 16, 32, 64, TILE),
        "packed heads divide the 128 rows of a query tile",
    ),
    "order": Domain(tuple(TileOrder), "work tiles are walked in one of these orders"),
    "dispatch": Domain(tuple(Dispatch), "programs come to their work in one of these ways"),
    "softmax_registers": _REGISTERS,
    "correction_registers": _REGISTERS,
    "other_registers": _REGISTERS,
    "emulated": Domain(
        Span(0, MOST_EMULATED, EMULATED_STEP),
        f"emulated columns come in fours, and the last {FRAGMENT} of {TILE} are left to the MUFU",
    ),
    "emulation_share": Domain(
        Span(0, MOST_EMULATED / TILE, 0),
        f"a share lies between 0 and 1, and the last {FRAGMENT} of {TILE} columns are left to the "
        "MUFU",
    ),
    "early": Domain(
        (0, EARLY), "weights are released at once (0), or their first 96 columns early"
    ),
    "rescale_threshold": Domain(
        Span(0, MOST_THRESHOLD),
        "weights grow to 2 to the power of the threshold, and fp16 ends below 2¹⁶",
    ),
    "row_max": Domain(tuple(RowMax), "the row maximum is reduced in registers or by the load"),
    "tanh": Domain(tuple(Tanh), "tanh is computed to float32's precision, or to 11 bits"),
    "staging": Domain((1, 2), "one output tile lies in shared memory, or two"),
}
"""Every field that a spec may pin, with its values and the rule behind them."""


def spread(columns: int, fragments: int) -> tuple[int, ...]:
    """Spread emulated columns over all fragments but the last, in pairs, as evenly as they go."""
    pairs, parts = columns // 2, fragments - 1
    ends = [pairs * part // parts for part in range(parts + 1)]
    return (*(2 * (b - a) for a, b in itertools.pairwise(ends)), 0)
