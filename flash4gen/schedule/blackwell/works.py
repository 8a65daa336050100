"""The work tiles of a launch: how many steps each takes, in the order in which programs come.

In: a schedule, the loops over keys, and a shape. Out: ``WorkTile`` per work tile, and the cycles
that global memory and L2 need at least for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from flash4gen.clock.grid import Placement, WorkTile
from flash4gen.clock.machine import machine_for
from flash4gen.ir.masks import QueryTile, loops
from flash4gen.schedule.blackwell.memory import ELEMENT
from flash4gen.schedule.blackwell.model import Dispatch
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
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
        queries: of a sequence; of the longest where they are packed.
        keys: of a sequence; of the longest where they are packed.
        lengths: queries and keys of each sequence where they are packed, else empty.
    """

    batch: int
    heads: int
    kv_heads: int
    queries: int
    keys: int
    lengths: tuple[tuple[int, int], ...] = ()

    @property
    def sequences(self) -> tuple[tuple[int, int], ...]:
        """Queries and keys of each sequence."""
        return self.lengths or ((self.queries, self.keys),) * self.batch

    @property
    def total_queries(self) -> int:
        """Queries of all sequences, of one head."""
        return sum(queries for queries, _ in self.sequences)

    @property
    def total_keys(self) -> int:
        """Keys of all sequences, of one head."""
        return sum(keys for _, keys in self.sequences)

    @property
    def mean_queries(self) -> int:
        """Queries of a sequence on average, rounded up: by them a launcher takes its kernel."""
        return -(-self.total_queries // max(1, self.batch))


def launch_text(shape: Shape) -> str:
    """Return a shape in words."""
    heads = f"{shape.heads} heads, {shape.kv_heads} of keys"
    if not shape.lengths:
        return f"batch {shape.batch}, {heads}, {shape.queries:,} queries and keys"
    sums = f"{shape.total_queries:,} queries and {shape.total_keys:,} keys in all"
    longest = f"at most {shape.queries:,} and {shape.keys:,}"
    return f"{shape.batch:,} sequences, packed, {heads}, {sums}, {longest}"


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
    rows = schedule.tile_rows
    if shape.lengths:
        tiles = packed_tiles(bounds, shape, rows, schedule.tile_k, ceil=True, least=1)
    else:
        tiles = tiles_of(bounds, (shape.queries, shape.keys), rows, schedule.tile_k)
        tiles = [_visited(tile, 1) for tile in tiles]
    packs = _packs(schedule, shape)
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
    keys = shape.total_keys // shape.batch
    key_bytes = max(1, keys) * (schedule.head_pad + schedule.value_pad) * schedule.element
    group = shape.heads // shape.kv_heads
    packs = _packs(schedule, shape)
    return min(packs, max(1, max(1, hardware.l2_bytes // 2 // key_bytes) * group // schedule.pack))


def _packs(schedule: BlackwellSchedule, shape: Shape) -> int:
    """Return the packs of heads that a launch numbers: packed sequences are one to it."""
    return (1 if shape.lengths else shape.batch) * shape.heads // schedule.pack


def packed_tiles(
    bounds: KeyBounds, shape: Shape, rows: int, tile_k: int, *, ceil: bool, least: int
) -> list[WorkTile]:
    """Return the work tiles of one head of packed sequences, a slot each, in the order of slots.

    The slots of sequence b start at the queries before it // rows + b, and some behind its tiles
    may be empty. The twin of ``_locate`` and ``_sequence`` in modules.

    Args:
        bounds: the loops over keys.
        shape: has lengths.
        rows: of a slot.
        tile_k: keys of a step.
        ceil: whether there are as many slots as all queries need, rounded up, and one less than
            there are sequences; else rounded down, and as many as there are sequences.
        least: steps of any work tile, an empty one too.
    """
    found: list[WorkTile] = []
    slots = _slots(shape, rows, ceil=ceil)
    for lengths, count in zip(shape.lengths, slots, strict=True):
        tiles = tiles_of(bounds, lengths, rows, tile_k)
        empty = [WorkTile(0, 0)] * (count - len(tiles))
        found += [_visited(tile, least) for tile in (*tiles, *empty)]
    return found


def slot_sequences(shape: Shape, rows: int, *, ceil: bool) -> list[int]:
    """Return the number of the sequence that each slot of one head of packed sequences belongs to.

    Args:
        shape: has lengths.
        rows: of a slot.
        ceil: as ``packed_tiles``.
    """
    slots = _slots(shape, rows, ceil=ceil)
    return [number for number, count in enumerate(slots) for _ in range(count)]


def _slots(shape: Shape, rows: int, *, ceil: bool) -> list[int]:
    """Return how many slots each sequence has."""
    total, batch = shape.total_queries, len(shape.lengths)
    slots = -(-total // rows) + batch - 1 if ceil else total // rows + batch
    starts = [before // rows + b for b, before in enumerate(_before(shape))]
    return [end - first for first, end in pairwise([*starts, slots])]


def _before(shape: Shape) -> list[int]:
    """Return the queries before each sequence."""
    return [*accumulate((queries for queries, _ in shape.lengths), initial=0)][:-1]


def _visited(tile: WorkTile, least: int) -> WorkTile:
    """Return a work tile with so many steps at least."""
    return WorkTile(tile.plain, max(tile.masked, least - tile.plain))


def tiles_of(bounds: KeyBounds, lengths: tuple[int, int], rows: int, tile_k: int) -> list[WorkTile]:
    """Return the work tiles of one head of a sequence, the first queries first."""
    seq_q, seq_k = lengths
    found = []
    for first in range(0, seq_q, rows):
        last = min(first + rows, seq_q) - 1
        ranges = loops(bounds, QueryTile(first=first, last=last, seq_q=seq_q, seq_k=seq_k), tile_k)
        plain = sum(part.full_last - part.full_first for part in ranges)
        visited = sum(part.last - part.first for part in ranges)
        found.append(WorkTile(plain, visited - plain))
    return found


def memory_cycles(
    schedule: BlackwellSchedule, tiles: list[WorkTile], shape: Shape, hardware: Hardware
) -> float:
    """Return the cycles, at the highest clock, that L2 and memory need at least for a launch.

    Every work tile reads its keys and values from L2; global memory delivers all tensors once.
    """
    widths = schedule.head_pad + schedule.value_pad
    steps = sum(work.plain + work.masked for work in tiles)
    per_step = schedule.tile_k * widths * schedule.element / schedule.ctas
    query = schedule.head_pad * schedule.element + schedule.value_pad * ELEMENT
    rows = schedule.rows * query
    from_l2 = (steps * per_step + len(tiles) * rows) * schedule.ctas
    keys = shape.total_keys * shape.kv_heads * widths * schedule.element
    from_memory = shape.total_queries * shape.heads * query + keys
    machine = machine_for(hardware)
    return max(from_l2 / machine.l2_rate, from_memory / machine.hbm_rate) / machine.sms
