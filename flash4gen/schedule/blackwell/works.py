"""The work tiles of a launch: how many steps each takes, in the order in which programs come.

In: a schedule, the loops over keys, and a shape. Out: ``WorkTile`` per work tile, and the cycles
that global memory and L2 need at least for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.clock.grid import Placement, WorkTile
from flash4gen.clock.machine import machine_for
from flash4gen.ir.masks import QueryTile, loops
from flash4gen.schedule.blackwell.memory import ELEMENT
from flash4gen.schedule.blackwell.model import Dispatch
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.masks import KeyBounds
    from flash4gen.schedule.blackwell.model import BlackwellSchedule

PLACEMENTS = {
    Dispatch.SINGLE: Placement.SINGLE,
    Dispatch.STATIC: Placement.STATIC,
    Dispatch.CLC: Placement.TAKE_OVER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Lengths and heads of a launch.

    Attributes:
        batch: sequences.
        heads: query heads.
        kv_heads: key/value heads.
        queries: of a sequence.
        keys: of a sequence.
    """

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int


def works(
    schedule: BlackwellSchedule, bounds: KeyBounds, shape: Shape, hardware: Hardware
) -> list[WorkTile]:
    """Return the work tiles of a launch in the kernel's order.

    Args:
        schedule: says which rows a work tile has, and the order.
        bounds: the loops over keys; those of the first head stand for all.
        shape: of the launch.
        hardware: has the L2 that sections of heads are made for.
    """
    tiles = list(_tiles(schedule, bounds, shape))
    packs = shape.batch * shape.heads // schedule.pack
    if schedule.order is not TileOrder.LONGEST_FIRST:
        return tiles * packs
    tiles.reverse()
    width = section(schedule, shape, hardware)
    found: list[WorkTile] = []
    for first in range(0, packs, width):
        found += [tile for tile in tiles for _ in range(min(width, packs - first))]
    return found


def section(schedule: BlackwellSchedule, shape: Shape, hardware: Hardware) -> int:
    """Return the packs of heads whose keys and values share L2: the twin of the launch's line."""
    key_bytes = shape.keys * (schedule.head_pad + schedule.value_pad) * ELEMENT
    group = shape.heads // shape.kv_heads
    packs = shape.batch * shape.heads // schedule.pack
    return min(packs, max(1, max(1, hardware.l2_bytes // 2 // key_bytes) * group // schedule.pack))


def _tiles(schedule: BlackwellSchedule, bounds: KeyBounds, shape: Shape) -> Iterator[WorkTile]:
    """Yield the work tiles of one head, the first queries first. Each has a step at least."""
    rows = schedule.tile_rows
    for first in range(0, shape.queries, rows):
        at = QueryTile(
            first=first,
            last=min(first + rows, shape.queries) - 1,
            seq_q=shape.queries,
            seq_k=shape.keys,
        )
        ranges = loops(bounds, at, schedule.tile_k)
        plain = sum(part.full_last - part.full_first for part in ranges)
        visited = sum(part.last - part.first for part in ranges)
        yield WorkTile(plain, max(visited, 1) - plain)


def memory_cycles(
    schedule: BlackwellSchedule, tiles: list[WorkTile], shape: Shape, hardware: Hardware
) -> float:
    """Return the cycles, at the highest clock, that L2 and memory need at least for a launch.

    Every work tile reads its keys and values from L2; global memory delivers all tensors once.
    """
    widths = schedule.head_pad + schedule.value_pad
    steps = sum(work.plain + work.masked for work in tiles)
    per_step = schedule.tile_k * widths * ELEMENT / schedule.ctas
    rows = schedule.rows * widths * ELEMENT
    from_l2 = (steps * per_step + len(tiles) * rows) * schedule.ctas
    tensors = shape.queries * shape.heads + shape.keys * shape.kv_heads
    from_memory = shape.batch * tensors * widths * ELEMENT
    machine = machine_for(hardware)
    return max(from_l2 / machine.l2_rate, from_memory / machine.hbm_rate) / machine.sms
