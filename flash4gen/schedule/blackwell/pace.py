"""How fast a ``blackwell`` kernel is, modelled: cycles of a step, of a work tile, of a launch.

In: a ``Kernel``, that is a schedule with what it computes and where. Out: cycles from the clock,
``Launch`` on the grid. Every number is modelled; cycles come first, a time only at a named clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.engine import simulate
from flash4gen.clock.grid import TileCycles, launch
from flash4gen.clock.machine import machine_for
from flash4gen.schedule.blackwell.sketch.effort import effort
from flash4gen.schedule.blackwell.sketch.idioms import OURS
from flash4gen.schedule.blackwell.sketch.program import MMA, sketch
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.works import PLACEMENTS, memory_cycles, works
from flash4gen.schedule.workload import workload

if TYPE_CHECKING:
    from flash4gen.clock.grid import Launch
    from flash4gen.clock.timeline import Timeline
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.masks import KeyBounds
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.sketch.effort import Effort
    from flash4gen.schedule.blackwell.sketch.idioms import Idioms
    from flash4gen.schedule.blackwell.traits import Traits
    from flash4gen.schedule.blackwell.works import Shape
    from flash4gen.schedule.workload import Workload

STEPS = 14
"""Steps of a work tile from which the steady state is read."""

SETTLING = 4
"""Steps before it."""

SHORT = 5
"""Steps of the tiles from which ends and starts are read."""

SET_UP = 600
"""Cycles of a program before its roles start: tensor memory is allocated in 253
(StuartSul/gpu-experiments@4cb7ade); barriers and registers are set up in no fewer."""

COLD = 1000
"""Cycles by which the first loads of a program take longer: they come from memory, in 1400 to 2000
(SemiAnalysisAI/microbench-blackwell@9a068d8), where later ones find their keys in L2."""


class Jitter(NamedTuple):
    """Runs with every latency off by a random share.

    Attributes:
        share: the most by which one is off.
        seeds: of one run each.
    """

    share: float
    seeds: tuple[int, ...]


STILL = Jitter(0.0, (0,))
"""One run, latencies as they are."""

SHAKEN = Jitter(0.2, tuple(range(5)))
"""Latencies off by as much as their sources disagree, more or less. Means of such runs rank
schedules: a single one may lock into a rhythm that no GPU would keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What is timed.

    Attributes:
        schedule: any schedule of the family, also one that breaks a rule of shared memory.
        hardware: the target.
        effort: of its softmax.
        bounds: its loops over keys.
        unmasked: whether no step runs mask code.
        idioms: whose kernel it is.
    """

    schedule: BlackwellSchedule
    hardware: Hardware
    effort: Effort
    bounds: KeyBounds
    unmasked: bool
    idioms: Idioms


def kernel(
    schedule: BlackwellSchedule, attention: Attention, hardware: Hardware, idioms: Idioms = OURS
) -> Kernel:
    """Return what is timed of a schedule for an attention."""
    known, work = _computed(attention)
    return Kernel(
        schedule=schedule,
        hardware=hardware,
        effort=effort(schedule, known, work),
        bounds=work.key_bounds,
        unmasked=known.unmasked,
        idioms=idioms,
    )


@lru_cache(maxsize=8)
def _computed(attention: Attention) -> tuple[Traits, Workload]:
    """Return what is known of an attention: a search asks for each of hundreds of schedules."""
    return traits(attention), workload(attention)


def steady(what: Kernel, jitter: Jitter = STILL) -> tuple[float, ...]:
    """Return the modelled cycles of a step without mask code, of each run.

    Raises:
        NoConstantsError: nothing was published for the target.
    """
    tile = (False,) * STEPS
    return tuple(_period(_run(what, (tile,), jitter.share, seed)) for seed in jitter.seeds)


def pace(what: Kernel, jitter: Jitter = STILL) -> TileCycles:
    """Return the modelled cycles of a work tile, the mean over all runs.

    Raises:
        NoConstantsError: nothing was published for the target.
    """
    runs = [_pace(what, jitter.share, seed) for seed in jitter.seeds]
    return TileCycles(
        step=fmean(run.step for run in runs),
        masked=fmean(run.masked for run in runs),
        alone=fmean(run.alone for run in runs),
        further=fmean(run.further for run in runs),
    )


def launched(what: Kernel, shape: Shape, cycles: TileCycles) -> Launch:
    """Return a launch of a shape, from the modelled cycles of a work tile."""
    tiles = works(what.schedule, what.bounds, shape, what.hardware)
    return launch(
        tiles,
        cycles,
        what.hardware.sms // what.schedule.ctas,
        PLACEMENTS[what.schedule.dispatch],
        memory_cycles=memory_cycles(what.schedule, tiles, shape, what.hardware),
    )


def _pace(what: Kernel, share: float, seed: int) -> TileCycles:
    """Return the cycles of one run: steady state, ends and starts, each from a program of its own.

    A tile alone takes its steps and some cycles more; of two in a row the second takes less.
    """
    long = _run(what, ((False,) * STEPS,), share, seed)
    step = masked = _period(long)
    if not what.unmasked:
        masked = max(step, _period(_run(what, ((True,) * STEPS,), share, seed)))
    one, two = (_run(what, ((False,) * SHORT,) * count, share, seed).end for count in (1, 2))
    return TileCycles(
        step=step,
        masked=masked,
        alone=SET_UP + COLD + long.end - STEPS * step,
        further=max(0.0, two - one - SHORT * step),
    )


def _run(what: Kernel, tiles: tuple[tuple[bool, ...], ...], share: float, seed: int) -> Timeline:
    program = sketch(what.schedule, what.effort, tiles, what.idioms)
    return simulate(program, machine_for(what.hardware), jitter=share, seed=seed)


def _period(timeline: Timeline) -> float:
    return timeline.period(MMA, skip=SETTLING)
