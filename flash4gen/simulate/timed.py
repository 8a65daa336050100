"""Everything that is told about a module's time: a turn, its units, a launch, and the spread.

In: a compiled module, a shape, jitter. Out: ``Timed``, which the command line, the page and the
trace show. Every number is *modelled*.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.frequency import nominal
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.schedule.blackwell.works import Shape
from flash4gen.schedule.model import Schedule
from flash4gen.simulate.chain import stages
from flash4gen.simulate.run import record_module
from flash4gen.simulate.whole import ctas_of, dense_rate, rows_of, speeds, steps_of, whole

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.simulate.model import Simulation, Stage
    from flash4gen.simulate.whole import Whole
    from flash4gen.validate.subject import Subject

HEADS = 64
"""Query heads of a launch, over all sequences, if nothing is said about the batch."""


class Range(NamedTuple):
    """A number over several runs: mean, least, most."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What comes out with every latency off by a random share.

    Attributes:
        jitter: the most by which one is off.
        seeds: runs.
        turn: cycles of a turn.
        cycles: of the launch.
        tflops: at each named clock, in the order of ``Whole.speeds``.
    """

    jitter: float
    seeds: int
    turn: Range
    cycles: Range
    tflops: tuple[Range, ...]


class Limit(NamedTuple):
    """What a launch would reach if it waited for one unit alone.

    Attributes:
        unit: ``tensor``, ``mufu``, …, ``l2``, ``hbm``.
        cycles: of a turn; of the launch for ``l2`` and ``hbm``.
        tflops: at the nominal clock.
    """

    unit: str
    cycles: float
    tflops: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A module's time.

    Attributes:
        subject: the module, with the kernel that is launched for these lengths.
        simulation: latencies as they are.
        stages: what one of its turns hangs on, by role and line.
        whole: the launch, likewise.
        spread: over runs with jitter; None where none was asked for.
        limits: the lowest first.
        turn_tflops: of turns alone, at the nominal clock.
    """

    subject: Subject
    simulation: Simulation
    stages: tuple[Stage, ...]
    whole: Whole
    spread: Spread | None
    limits: tuple[Limit, ...]
    turn_tflops: float


def shape_of(
    attention: Attention,
    length: int,
    batch: int | None = None,
    lengths: tuple[tuple[int, int], ...] = (),
) -> Shape:
    """Return a launch.

    Args:
        attention: has the heads.
        length: queries and keys of each sequence.
        batch: sequences; as many as have 64 heads together if left out.
        lengths: queries and keys of each sequence, in place of both, where they are packed.
    """
    count = batch if batch is not None else max(1, HEADS // attention.heads)
    if attention.packed and not lengths:
        lengths = ((length, length),) * count
    return Shape(
        batch=len(lengths) or count,
        heads=attention.heads,
        kv_heads=attention.kv_heads,
        queries=max((queries for queries, _ in lengths), default=length),
        keys=max((keys for _, keys in lengths), default=length),
        lengths=lengths,
    )


def time_module(subject: Subject, shape: Shape, *, jitter: float = 0.0, seeds: int = 0) -> Timed:
    """Return a module's time.

    Args:
        subject: the module, compiled.
        shape: of the launch.
        jitter: latencies are off by as much as this share, at random, in runs beside the first.
        seeds: such runs; 0 for none.

    Raises:
        SimulationError: the clock has no constants for the target, or the kernel has something that
            cannot be recorded; the message says what.
        BelowFloorError: a fault of the model.
    """
    subject = _launched(subject, shape)
    recorded = record_module(subject)
    step = steps_of(subject)
    still = recorded.run()
    launch = whole(subject, still, shape, step)
    spread = None
    if jitter > 0 and seeds > 0:
        runs = [recorded.run(jitter=jitter, seed=seed) for seed in range(seeds)]
        spread = _spread(runs, [whole(subject, run, shape, step) for run in runs], jitter)
    return Timed(
        subject=subject,
        simulation=still,
        stages=stages(still.path),
        whole=launch,
        spread=spread,
        limits=_limits(subject, still, launch),
        turn_tflops=_turn_tflops(subject, still, still.cycles_per_turn),
    )


def _launched(subject: Subject, shape: Shape) -> Subject:
    """Return the module with the kernel that it launches: that of short queries has one tile."""
    schedule, kernel = subject.choice.schedule, subject.kernel(shape.mean_queries)
    if kernel is subject.artefact or isinstance(schedule, Schedule):
        return subject
    one = one_tile(schedule)
    assert one is not None
    return replace(subject, artefact=kernel, choice=replace(subject.choice, schedule=one))


def _spread(runs: list[Simulation], launches: list[Whole], jitter: float) -> Spread:
    rates = zip(*([speed.tflops for speed in one.speeds] for one in launches), strict=True)
    return Spread(
        jitter=jitter,
        seeds=len(runs),
        turn=_range([run.cycles_per_turn for run in runs]),
        cycles=_range([one.launch.cycles for one in launches]),
        tflops=tuple(_range(list(rate)) for rate in rates),
    )


def _range(values: list[float]) -> Range:
    return Range(fmean(values), min(values), max(values))


def _limits(subject: Subject, found: Simulation, launch: Whole) -> tuple[Limit, ...]:
    """Return the bounds of all units that are used."""
    limits = []
    for unit, share in found.utilisation:
        cycles = share * found.cycles_per_turn
        if cycles > 0:
            limits.append(Limit(unit, cycles, _turn_tflops(subject, found, cycles)))
    at = [speed.clock for speed in launch.speeds].index(nominal(subject.hardware).name)
    for unit, cycles in (("l2", launch.l2_cycles), ("hbm", launch.hbm_cycles)):
        peak = subject.hardware.sms * dense_rate(subject.attention, subject.hardware)
        rate = speeds(subject.hardware, launch.operations, cycles, peak)[at].tflops
        limits.append(Limit(unit, cycles, rate))
    return tuple(sorted(limits, key=lambda limit: limit.tflops))


def _turn_tflops(subject: Subject, found: Simulation, cycles: float) -> float:
    """Return the TFLOPS of all SMs whose turns take so many cycles, at the nominal clock."""
    attention, hardware = subject.attention, subject.hardware
    widths = attention.head_dim + attention.value_dim
    schedule = subject.choice.schedule
    operations = 2.0 * rows_of(schedule) * found.tile_k * widths
    groups = hardware.sms // ctas_of(schedule)
    return operations * groups * nominal(hardware).mhz * 1e6 / cycles / 1e12
