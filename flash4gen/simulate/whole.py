"""From a turn to a whole launch: work tiles on the grid of SMs, and TFLOPS at the named clocks.

In: a ``Simulation`` and a shape. Out: ``Whole``. A turn and what a tile takes beyond its turns are
those of the module. What no recording of one tile shows comes from elsewhere: how much longer a
turn with mask code takes, and a further tile of a program, from the sketch of the schedule
(``schedule/blackwell/pace``), or, in the portable family, from the cost formula.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.frequency import clocks
from flash4gen.clock.grid import Launch, Placement, TileCycles, launch
from flash4gen.clock.machine import machine_for
from flash4gen.ir.masks import QueryTile, loops
from flash4gen.schedule.blackwell import pace, works
from flash4gen.schedule.cost import HALF, MAX_RATE
from flash4gen.schedule.model import Schedule, TileOrder
from flash4gen.schedule.workload import workload
from flash4gen.simulate.model import check_floor
from flash4gen.simulate.reads import programs
from flash4gen.simulate.traffic import read_from_memory

if TYPE_CHECKING:
    from flash4gen.clock.grid import WorkTile
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.masks import KeyBounds
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.works import Shape
    from flash4gen.schedule.model import AnySchedule
    from flash4gen.simulate.model import Simulation
    from flash4gen.validate.subject import Subject

ROWS = 512
"""Query rows, evenly spread, whose visible keys are counted."""


class Speed(NamedTuple):
    """A launch at a named clock.

    Attributes:
        clock: its name.
        mhz: of the SMs.
        source: who names it.
        seconds: of the launch.
        tflops: 10¹² operations a second: two for each visible pair and column of k and v.
        share: of the dense peak at this clock.
    """

    clock: str
    mhz: float
    source: str
    seconds: float
    tflops: float
    share: float


class Step(NamedTuple):
    """Cycles of a step over a key tile: of one with mask code, and of a program's next tile.

    Attributes:
        masked: beyond those of a plain step, of an SM.
        further: of each further work tile of a program, besides its steps; 0 if it has only one.
        start: of a program before its first load arrives, beyond what a recording has.
    """

    masked: float
    further: float
    start: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A launch, *modelled*.

    Attributes:
        shape: batch, heads and lengths.
        tile: cycles of a work tile, of one program.
        launch: on the grid.
        operations: of the published convention, visible pairs only.
        l2_cycles: the least in which L2 can deliver what all programs read.
        hbm_cycles: the least in which global memory can deliver all tensors, once.
        speeds: at each clock that has a name.
    """

    shape: Shape
    tile: TileCycles
    launch: Launch
    operations: float
    l2_cycles: float
    hbm_cycles: float
    speeds: tuple[Speed, ...]


def steps_of(subject: Subject) -> Step:
    """Return what a recording of one tile does not show."""
    schedule, work = subject.choice.schedule, workload(subject.core)
    if isinstance(schedule, Schedule):
        return Step(schedule.tile_q * schedule.tile_k * work.mask.plain / MAX_RATE, 0.0, 0.0)
    cycles = pace.pace(pace.kernel(schedule, subject.core, subject.hardware))
    return Step(cycles.masked - cycles.step, cycles.further, pace.SET_UP + pace.COLD)


def whole(subject: Subject, found: Simulation, shape: Shape, step: Step) -> Whole:
    """Return a launch of a module.

    Args:
        subject: the module.
        found: its simulation.
        shape: of the launch.
        step: from ``steps_of``.
    """
    schedule, hardware = subject.choice.schedule, subject.hardware
    bounds = workload(subject.core).key_bounds
    tile = _tile(subject, found, bounds, step)
    if isinstance(schedule, Schedule):
        tiles = _portable_works(schedule, bounds, shape)
        slots, placement = hardware.sms * found.residents, Placement.SINGLE
    else:
        tiles = works.works(schedule, bounds, shape, hardware)
        slots = hardware.sms * found.residents // ctas_of(schedule)
        placement = works.PLACEMENTS[schedule.dispatch]
    l2, hbm = _memory(subject, tiles, shape, slots)
    run = launch(tiles, tile, slots, placement, memory_cycles=max(l2, hbm))
    operations = operations_of(subject.attention, bounds, shape)
    peak = hardware.sms * dense_rate(subject.attention, hardware)
    check_floor("the launch", run.cycles, operations / peak)
    return Whole(
        shape=shape,
        tile=tile,
        launch=run,
        operations=operations,
        l2_cycles=l2,
        hbm_cycles=hbm,
        speeds=speeds(hardware, operations, run.cycles, peak),
    )


def rows_of(schedule: AnySchedule) -> int:
    """Return the rows of scores that one program computes, or a pair of CTAs together."""
    if isinstance(schedule, Schedule):
        return schedule.tile_q
    return schedule.rows * schedule.ctas


def ctas_of(schedule: AnySchedule) -> int:
    """Return the CTAs of a cluster."""
    return 1 if isinstance(schedule, Schedule) else schedule.ctas


def dense_rate(attention: Attention, hardware: Hardware) -> float:
    """Return the operations that an SM's tensor cores do in a cycle, with elements of this size."""
    return hardware.mma_flops * HALF / attention.dtype.bytes


def speeds(
    hardware: Hardware, operations: float, cycles: float, peak_rate: float
) -> tuple[Speed, ...]:
    """Return the speed of a launch at each named clock.

    Args:
        hardware: has the clocks.
        operations: of the launch.
        cycles: of the launch.
        peak_rate: operations that the tensor cores of all SMs do in a cycle.
    """
    found = []
    for clock in clocks(hardware):
        seconds = cycles / (clock.mhz * 1e6)
        peak = peak_rate * clock.mhz * 1e6
        rate = operations / seconds
        found.append(Speed(clock.name, clock.mhz, clock.source, seconds, rate / 1e12, rate / peak))
    return tuple(found)


def operations_of(attention: Attention, bounds: KeyBounds, shape: Shape) -> float:
    """Return the operations of a launch: both products, for the keys that each query sees.

    Those of a row are what its loop bounds hold; rows are sampled.
    """
    alike = Counter(shape.sequences)
    pairs = shape.heads * sum(count * _seen(bounds, *one) for one, count in alike.items())
    return 2 * pairs * (attention.head_dim + attention.value_dim)


def _seen(bounds: KeyBounds, queries: int, keys: int) -> float:
    """Return the visible pairs of one head of a sequence."""
    if not queries:
        return 0.0
    step = max(1, queries // ROWS)
    rows = range(step // 2, queries, step)
    parts = (loops(bounds, _rows(row, row, queries, keys), 1) for row in rows)
    seen = sum(part.last - part.first for ranges in parts for part in ranges)
    return seen * queries / len(rows)


def _tile(subject: Subject, found: Simulation, bounds: KeyBounds, step: Step) -> TileCycles:
    """Return the cycles of a work tile; CTAs that share an SM take so many times as long a step.

    The recorded tile had steps with mask code, whose cost stands in what it took beyond its steps.
    """
    at = _rows(0, min(found.tile_q, found.seq_q) - 1, found.seq_q, found.seq_k)
    parts = loops(bounds, at, subject.choice.schedule.tile_k)
    masked = sum((p.last - p.first) - (p.full_last - p.full_first) for p in parts)
    return TileCycles(
        step=found.cycles_per_turn * found.residents,
        masked=(found.cycles_per_turn + step.masked) * found.residents,
        alone=step.start + max(0.0, found.fill_drain - masked * step.masked),
        further=step.further,
    )


def _portable_works(schedule: Schedule, bounds: KeyBounds, shape: Shape) -> list[WorkTile]:
    """Return the work tiles in the order of the programs' numbers."""
    sizes = schedule.tile_rows, schedule.tile_k
    if shape.lengths:
        tiles = works.packed_tiles(bounds, shape, *sizes, ceil=False, least=0)
    else:
        tiles = works.tiles_of(bounds, (shape.queries, shape.keys), *sizes)
    entries, heads = (1, shape.heads) if shape.lengths else (shape.batch, shape.heads)
    if schedule.order is TileOrder.LONGEST_FIRST:
        return [tile for tile in reversed(tiles) for _ in range(heads)] * entries
    return tiles * (heads * entries)


def _memory(
    subject: Subject, tiles: list[WorkTile], shape: Shape, slots: int
) -> tuple[float, float]:
    """Return the cycles, at the highest clock, that L2 and memory need at least for a launch.

    Every work tile reads its queries, keys and values from L2 and writes its output there; global
    memory delivers queries and takes outputs once, and keys and values as often as L2 has lost
    them: a kernel that walks all heads before it comes to one again loses those that do not fit.
    """
    schedule, machine = subject.choice.schedule, machine_for(subject.hardware)
    element, out = subject.attention.dtype.bytes, subject.attention.output.bytes
    keys = (schedule.head_pad + schedule.value_pad) * element
    queries = schedule.head_pad * element + schedule.value_pad * out
    steps = sum(work.plain + work.masked for work in tiles)
    from_l2 = steps * schedule.tile_k * keys + len(tiles) * rows_of(schedule) * queries
    from_memory = shape.total_queries * shape.heads * queries
    per_tile = schedule.tile_k * (subject.attention.head_dim + subject.attention.value_dim)
    read = programs(schedule, tiles, shape, subject.hardware)
    again = read_from_memory(read, slots, per_tile * element, subject.hardware.l2_bytes)
    from_memory += max(again, shape.total_keys * shape.kv_heads * keys)
    return (
        from_l2 / machine.l2_rate / machine.sms,
        from_memory / machine.hbm_rate / machine.sms,
    )


def _rows(first: int, last: int, queries: int, keys: int) -> QueryTile:
    return QueryTile(first=first, last=last, seq_q=queries, seq_k=keys)
