"""How fast a ``blackwell`` schedule is, modelled: cycles of a work tile, of a launch, and TFLOPS.

In: a schedule, what it computes, a target. Out: ``TileCycles`` from the clock, ``Launch`` on the
grid. Every number is modelled; cycles first, a time only at a named clock.
"""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.engine import simulate
from flash4gen.clock.grid import TileCycles, launch
from flash4gen.clock.machine import machine_for
from flash4gen.schedule.blackwell.sketch.effort import effort
from flash4gen.schedule.blackwell.sketch.program import MMA, sketch
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.works import PLACEMENTS, memory_cycles, works
from flash4gen.schedule.workload import workload

if TYPE_CHECKING:
    from flash4gen.clock.grid import Launch
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.works import Shape

STEPS = 14
"""Steps of a work tile from which the steady state is read."""

SETTLING = 4
"""Steps before it."""

SHORT = 5
"""Steps of the tiles from which ends and starts are read."""

SET_UP = 600
"""Cycles of a program before its roles start: tensor memory is allocated in 253 (StuartSul's
measurements); barriers, descriptors and registers are set up in no fewer."""


class Jitter(NamedTuple):
    """Runs with every latency off by a random share.

    Attributes:
        share: the most by which one is off.
        seeds: one run each.
    """

    share: float
    seeds: tuple[int, ...]


STILL = Jitter(0.0, (0,))
"""One run, latencies as they are."""

SHAKEN = Jitter(0.2, tuple(range(5)))
"""What the sources disagree by, more or less."""


def pace(
    schedule: BlackwellSchedule, attention: Attention, hardware: Hardware, jitter: Jitter = STILL
) -> TileCycles:
    """Return the modelled cycles of a work tile, the mean over all runs.

    Raises:
        NoConstantsError: nothing was published for the target.
    """
    runs = [_pace(schedule, attention, hardware, jitter.share, seed) for seed in jitter.seeds]
    return TileCycles(
        step=fmean(run.step for run in runs),
        masked=fmean(run.masked for run in runs),
        alone=fmean(run.alone for run in runs),
        further=fmean(run.further for run in runs),
    )


def steady(
    schedule: BlackwellSchedule, attention: Attention, hardware: Hardware, jitter: Jitter = STILL
) -> tuple[float, ...]:
    """Return the modelled cycles of a step without mask code, of each run."""
    return tuple(
        _run(schedule, attention, hardware, ((False,) * STEPS,), (jitter.share, seed))[0]
        for seed in jitter.seeds
    )


def _pace(
    schedule: BlackwellSchedule,
    attention: Attention,
    hardware: Hardware,
    share: float,
    seed: int,
) -> TileCycles:
    run = share, seed
    step, end = _run(schedule, attention, hardware, ((False,) * STEPS,), run)
    masked = step
    if not traits(attention).unmasked:
        masked = max(step, _run(schedule, attention, hardware, ((True,) * STEPS,), run)[0])
    one, two = (
        _run(schedule, attention, hardware, ((False,) * SHORT,) * count, run)[1] for count in (1, 2)
    )
    return TileCycles(
        step=step,
        masked=masked,
        alone=SET_UP + end - STEPS * step,
        further=max(0.0, two - one - SHORT * step),
    )


def _run(
    schedule: BlackwellSchedule,
    attention: Attention,
    hardware: Hardware,
    tiles: tuple[tuple[bool, ...], ...],
    run: tuple[float, int],
) -> tuple[float, float]:
    """Return the period of a step, and the end of the program."""
    what = effort(schedule, traits(attention), workload(attention))
    program = sketch(schedule, what, tiles)
    timeline = simulate(program, machine_for(hardware), jitter=run[0], seed=run[1])
    steady = len(tiles) == 1 and len(tiles[0]) == STEPS
    return timeline.period(MMA, skip=SETTLING) if steady else 0.0, timeline.end


def launched(
    schedule: BlackwellSchedule,
    attention: Attention,
    hardware: Hardware,
    shape: Shape,
    cycles: TileCycles,
) -> Launch:
    """Return a launch of a shape, from the cycles of a work tile."""
    tiles = works(schedule, workload(attention).key_bounds, shape, hardware)
    return launch(
        tiles,
        cycles,
        hardware.sms // schedule.ctas,
        PLACEMENTS[schedule.dispatch],
        memory_cycles=memory_cycles(schedule, tiles, shape, hardware, hardware.clock_mhz),
    )
