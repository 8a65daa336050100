"""The search space: every schedule of the portable family that is worth a thought.

In: padded head dimensions and the target. Out: the choices that ``pins`` may fix, and all their
combinations in a fixed order. Nothing is judged here.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.model import Load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.schedule.model import Schedule

TILES = (16, 32, 64, 128, 256)
"""Query rows and keys per step: powers of two, as Triton's blocks must be."""

WARPS = (4, 8)
"""Warps per block: one or two for each scheduler of an SM. With two warps half of them idle; with
sixteen ptxas gives a thread 64 to 128 registers, and every tile that was measured spills."""

STAGES = (1, 2, 3, 4)
"""Depth of the software pipeline over keys."""

LEAST_PAD = 16
"""The shortest side that a matrix instruction takes."""

LEAST_PAD_8_BIT = 32
"""The same for elements of 8 bits."""


class Shape(NamedTuple):
    """The free choices of a schedule."""

    tile_q: int
    tile_k: int
    warps: int
    stages: int
    load: Load


CHOICES: dict[str, tuple[int, ...] | tuple[Load, ...]] = {
    "tile_q": TILES,
    "tile_k": TILES,
    "warps": WARPS,
    "stages": STAGES,
    "load": tuple(Load),
}
"""Every free field of a schedule with the values that are tried."""


def pad(dim: int, element: int = 2) -> int:
    """Return the power of two that a head dimension is padded to, for elements of so many bytes."""
    return max(LEAST_PAD_8_BIT if element == 1 else LEAST_PAD, 1 << (dim - 1).bit_length())


def shapes() -> Iterator[Shape]:
    """Yield all combinations, in a fixed order."""
    for tile_q, tile_k, warps, stages, load in product(TILES, TILES, WARPS, STAGES, Load):
        yield Shape(tile_q, tile_k, warps, stages, load)


def shape_of(schedule: Schedule) -> Shape:
    """Return the free choices of a schedule."""
    return Shape(schedule.tile_q, schedule.tile_k, schedule.warps, schedule.stages, schedule.load)
