"""Which key/value head each work tile of a launch reads, in the order in which they come.

In: a schedule and its work tiles (``schedule/blackwell/works``). Out: ``Program`` per work tile,
from which ``traffic`` counts what global memory delivers. The twin of how kernels number heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.schedule.blackwell.works import section, slot_sequences
from flash4gen.schedule.model import Schedule, TileOrder
from flash4gen.simulate.traffic import Program

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flash4gen.clock.grid import WorkTile
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.works import Shape
    from flash4gen.schedule.model import AnySchedule


def programs(
    schedule: AnySchedule, tiles: Sequence[WorkTile], shape: Shape, hardware: Hardware
) -> Iterator[Program]:
    """Yield work tiles with the number of their key/value head, over all sequences.

    Args:
        schedule: says in which order they are walked.
        tiles: of the launch, in that order.
        shape: of the launch.
        hardware: has the L2 that sections of heads are made for.
    """
    if isinstance(schedule, Schedule):
        places, pack = _portable(schedule, len(tiles), shape), 1
    else:
        places, pack = _blackwell(schedule, len(tiles), shape, hardware), schedule.pack
    group = shape.heads // shape.kv_heads
    ceil = not isinstance(schedule, Schedule)
    sequences = slot_sequences(shape, schedule.tile_rows, ceil=ceil) if shape.lengths else ()
    for tile, (number, slot) in zip(tiles, places, strict=True):
        head = number * pack // group
        entry = sequences[slot] if sequences else 0
        yield Program(entry * shape.kv_heads + head, tile.plain + tile.masked)


def _portable(schedule: Schedule, count: int, shape: Shape) -> Iterator[tuple[int, int]]:
    """Yield head, over all sequences where they are not packed, and query tile."""
    entries = 1 if shape.lengths else shape.batch
    rows = count // (entries * shape.heads)
    for number in range(count):
        if schedule.order is TileOrder.LONGEST_FIRST:
            entry, rest = divmod(number, rows * shape.heads)
            row, head = divmod(rest, shape.heads)
            yield entry * shape.heads + head, rows - 1 - row
        else:
            yield divmod(number, rows)


def _blackwell(
    schedule: BlackwellSchedule, count: int, shape: Shape, hardware: Hardware
) -> Iterator[tuple[int, int]]:
    """Yield pack of heads, over all sequences where they are not packed, and query tile."""
    packs = (1 if shape.lengths else shape.batch) * shape.heads // schedule.pack
    rows = count // packs
    if schedule.order is not TileOrder.LONGEST_FIRST:
        yield from (divmod(number, rows) for number in range(count))
        return
    width = section(schedule, shape, hardware)
    for first in range(0, packs, width):
        together = min(width, packs - first)
        for number in range(rows * together):
            row, pack = divmod(number, together)
            yield first + pack, rows - 1 - row
