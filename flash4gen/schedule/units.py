"""Which matrix instructions Triton picks for a tile, and how warps share the tile: facts of 3.9.

In: hardware and a tile's shape. Out: the unit and the grid of warps. Everything that estimates
(registers, memory, cycles) starts from these two.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from flash4gen.ir.hardware import Feature, Hardware
from flash4gen.schedule.model import Load


class Unit(StrEnum):
    """A generation of matrix instructions.

    MMA_SYNC is issued by one warp and works from registers. WGMMA is issued by four warps and reads
    keys and values from shared memory. TCGEN05 is issued by one thread and keeps scores, weights
    and the accumulator in tensor memory. MFMA is AMD's: issued by one wave of 64 lanes, from
    registers.
    """

    MMA_SYNC = "mma.sync"
    WGMMA = "wgmma"
    TCGEN05 = "tcgen05"
    MFMA = "mfma"


class Grid(NamedTuple):
    """How the warps of a block divide a tile: along the query rows and along the columns."""

    rows: int
    columns: int


WARPGROUP = 4
"""Warps that issue one wgmma together, or that reach all lanes of tensor memory together."""

GROUP_ROWS = 64
"""Query rows below which Triton falls back to mma.sync where it has wgmma or tcgen05."""

MOST_TCGEN05_WARPS = 8
"""Warps beyond which Triton falls back from tcgen05 to mma.sync."""


MFMA_ROWS = 16
"""Rows of an MFMA instruction: of 16 and 32, which Triton's `matrix_instr_nonkdim` chooses from.

Both compute as much per clock (CDNA 3 and CDNA 4 ISA, passes of v_mfma). All waves share the rows:
with 32, a tile of 64 rows would be computed twice by four waves. Compiles for gfx950 need fewer
registers with 16, 248 for 296 with 128 x 64 tiles at head_dim 128, so that two waves share a SIMD.
"""


def best_unit(hardware: Hardware) -> Unit:
    """Return the newest matrix instructions that the target has."""
    if hardware.has(Feature.MFMA):
        return Unit.MFMA
    if hardware.has(Feature.TCGEN05):
        return Unit.TCGEN05
    return Unit.WGMMA if hardware.has(Feature.WGMMA) else Unit.MMA_SYNC


def matrix_unit(hardware: Hardware, tile_q: int, warps: int) -> Unit:
    """Return the matrix instructions that a tile compiles to."""
    best = best_unit(hardware)
    if best is Unit.MFMA:
        return best
    if tile_q < GROUP_ROWS or warps < WARPGROUP:
        return Unit.MMA_SYNC
    if best is Unit.TCGEN05 and warps > MOST_TCGEN05_WARPS:
        return Unit.MMA_SYNC
    return best


def promotes(unit: Unit, element: int) -> bool:
    """Whether a tile's 8-bit products are summed on their own before they join the output.

    Until tensor memory, tensor cores sum 8-bit products in registers of 22 bits, of which 13 are
    mantissa (SageAttention2, arXiv:2411.10958, section 3.2; DeepSeek-V3, arXiv:2412.19437, section
    3.3.2, counts 14 on an H800), and cut off the rest: over thousands of keys a bias. The output
    has its rescaling anyway, so that to add a tile's sum costs no instruction, only registers.
    """
    return element == 1 and unit is not Unit.TCGEN05


WIDEST_SUMS = 128
"""Columns of two sums, of 64 rows for four warps, that wgmma's registers have room for."""


def whole_tiles(hardware: Hardware, width: int) -> bool:
    """Whether gradients of heads so wide read a factor of products from shared memory.

    There TMA leaves it. Where both sums of a key tile have no room as wgmma has them in registers,
    tiles of fewer rows are multiplied by mma.sync, from registers.
    """
    unit = best_unit(hardware)
    return unit is Unit.TCGEN05 or (unit is Unit.WGMMA and width <= WIDEST_SUMS)


BYTES_OF_16_BITS = 2

SUM_PARTS = 8
"""Columns after which the columns of a thread come again in a tile of wgmma's results (PTX ISA,
wgmma.mma_async, fragment layout of D)."""


def sum_parts(unit: Unit, load: Load, element: int) -> int:
    """Return in how many parts the sum of a row is kept while its keys are visited.

    With wgmma four threads share a row, eight columns long and over again. Sums of every eighth
    column need no exchange between them until the last key (FlashAttention-3 keeps its sums per
    thread too): eight instructions less in each step. So are those of 16-bit tiles that come by
    TMA, whose loop is the shortest; for other loads and for 8-bit products nobody counted yet.
    """
    counted = unit is Unit.WGMMA and load is Load.TMA and element == BYTES_OF_16_BITS
    return SUM_PARTS if counted else 1


ONES = 8
"""Columns of ones that weights are multiplied with to be summed: the fewest of a product with wgmma
or tcgen05 (PTX ISA, shapes of wgmma.mma_async and tcgen05.mma)."""

SHARED_FACTORS = (Unit.WGMMA, Unit.TCGEN05)
"""Units that take the second factor of a product from shared memory: ones lie there for all steps,
and a product with them costs a few instructions."""


def warp_grid(unit: Unit, tile_q: int, value_pad: int, warps: int) -> Grid:
    """Return how warps divide the tile.

    With mma.sync, Triton gives all warps to the rows if the accumulator is at least as high as it
    is wide, and all to the columns otherwise: then every warp holds part of every row, the row
    maximum crosses warps, and the weights pass through shared memory. With the newer units a
    group of four warps owns 64 rows, and groups without rows of their own divide the columns.
    With MFMA all warps share the rows, for as long as one product feeds another.
    """
    if unit is Unit.MFMA:
        return Grid(warps, 1)
    if unit is Unit.MMA_SYNC:
        return Grid(warps, 1) if tile_q >= value_pad else Grid(1, warps)
    rows = min(warps, tile_q // 16)
    return Grid(rows, warps // rows)
