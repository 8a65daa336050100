"""A deeper search for a ``blackwell`` schedule than a compile makes: as long as one cares to wait.

In: an attention, a target, and seconds. Out: ``Tuned``: the schedule that is fastest on the clock
for a launch of a nominal shape, beside the default. Candidates are ranked by formula (``cost``),
run on the clock in that order, and the best of these run again with shaken latencies, each in every
order of work tiles. Pinned fields stay as they are. Whoever may compile goes on from there
(``trials``, ``driver.tune``).
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.blackwell.cost import estimate
from flash4gen.schedule.blackwell.model import Dispatch, RowMax, TensorPlan
from flash4gen.schedule.blackwell.pace import SHAKEN, STILL, Jitter, kernel, launched, pace
from flash4gen.schedule.blackwell.remembered import modelled
from flash4gen.schedule.blackwell.resolve import planned, resolve
from flash4gen.schedule.blackwell.rules import broken
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.trials import pressed, winner
from flash4gen.schedule.blackwell.works import Shape
from flash4gen.schedule.model import TileOrder
from flash4gen.schedule.workload import NOMINAL_LENGTH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.clock.grid import TileCycles
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.pace import Kernel
    from flash4gen.schedule.blackwell.trials import Trial
    from flash4gen.schedule.pins import Pins

FREE: dict[str, tuple[int | str, ...]] = {
    "plan": tuple(TensorPlan),
    "ctas": (1, 2),
    "staging": (1, 2),
    "early": (96, 0),
    "emulated": (0, 8, 16, 24, 32, 40, 48, 64, 96),
    "row_max": tuple(RowMax),
}
"""What a step depends on, and values that are tried beside the rules'. The number of query tiles
and the order of products follow from the plan. The rescaling threshold and tanh are left out: they
change what is computed. Register splits are tried by compiling (``trials``)."""

FEWER_STAGES = 2
"""Slots that are tried beside as many as fit: one and two less."""

FINALISTS = 12
"""Schedules that run again with shaken latencies, as far as there is time."""

MANY = 100
"""First runs that may take all of the time, where a machine is slow or busy."""

FEWEST = 2
"""So many of them do in any case."""

ALIKE = 2
"""Of them, those that differ in the ring alone, at most: if one spills, all do."""

AGAIN = Jitter(SHAKEN.share, SHAKEN.seeds[:3])
"""How they do."""

SHARE = 0.6
"""Of the time, for the first runs; the finalists get the rest."""

HEADS = 64
"""Heads of the nominal launch, over all sequences, at least: enough for every SM."""


class Timed(NamedTuple):
    """A schedule with its modelled cycles for a launch: the mean of all runs, least and most."""

    schedule: BlackwellSchedule
    cycles: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """The result of a search.

    Attributes:
        best: the fastest.
        default: what a compile would choose.
        ranked: finalists in all orders of work tiles, the fastest first.
        candidates: schedules that keep all rules.
        evaluated: of them, those that ran on the clock.
        shape: of the launch that all are compared at.
        seconds: that the search took.
        trials: what was compiled, the default first; nothing where time was short. Cycles of
            modules and of sketches do not compare.
    """

    best: Timed
    default: Timed
    ranked: tuple[Timed, ...]
    candidates: int
    evaluated: int
    shape: Shape
    seconds: float
    trials: tuple[Trial, ...] = ()

    @property
    def schedule(self) -> BlackwellSchedule:
        """The winner: of what was compiled, where anything was."""
        return winner(self.trials).schedule if self.trials else self.best.schedule


def tune(
    attention: Attention,
    hardware: Hardware,
    pins: Pins,
    default: BlackwellSchedule,
    seconds: float,
    report: Callable[[int, int, float, BlackwellSchedule], None] | None = None,
) -> Tuned:
    """Search for so many seconds, a little more at most.

    Args:
        attention: what to compute; of the family.
        hardware: the target; of the family.
        pins: the fields that the spec fixes.
        default: what a compile would choose.
        seconds: to search for.
        report: told about progress.

    Raises:
        NoConstantsError: nothing was published for the target.
    """
    begun = monotonic()
    found = candidates(attention, hardware, pins)
    kernels = sorted((kernel(it, attention, hardware) for it in found), key=estimate)
    shape = nominal_shape(attention)
    standing = kernel(default, attention, hardware)
    # Not forked: a process that has loaded torch has threads.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=os.cpu_count(), mp_context=fresh) as workers:
        steps: list[tuple[float, Kernel]] = []
        for what, cycles in zip(kernels, _ahead(workers, kernels), strict=False):
            steps.append((cycles, what))
            if report is not None:
                best = min(steps, key=_first)
                report(len(steps), len(kernels), best[0], best[1].schedule)
            share = SHARE if len(steps) >= MANY else 1.0
            if len(steps) >= FINALISTS and monotonic() - begun > share * seconds:
                break
        finalists = list(islice(_different(sorted(steps, key=_first)), FINALISTS))
        paces = _in_time(workers, [standing, *finalists], begun + seconds)
    ranked = sorted(
        (
            _timed(replace(what, schedule=other), shape, cycles)
            for what, cycles in zip(finalists, paces[1:], strict=False)
            for other in orders(what.schedule, attention, hardware, pins)
        ),
        key=lambda item: (round(item.cycles), item.schedule.smem_bytes, _changes(item, default)),
    )
    at_rest = _timed(standing, shape, paces[0])
    return Tuned(
        best=min((at_rest, *ranked[:1]), key=lambda item: item.cycles),
        default=at_rest,
        ranked=tuple(ranked),
        candidates=len(kernels),
        evaluated=len(steps),
        shape=shape,
        seconds=monotonic() - begun,
    )


def nominal_shape(attention: Attention) -> Shape:
    """Return the launch at which schedules are compared."""
    return Shape(
        batch=max(1, HEADS // attention.heads),
        heads=attention.heads,
        kv_heads=attention.kv_heads,
        queries=NOMINAL_LENGTH,
        keys=NOMINAL_LENGTH,
    )


def candidates(
    attention: Attention, hardware: Hardware, pins: Pins
) -> tuple[BlackwellSchedule, ...]:
    """Return all schedules of the search space that keep the rules and the pins."""
    known = traits(attention)
    rules = resolve(known, hardware, pins)
    free = {
        name: tuple(dict.fromkeys((*values, getattr(rules, name))))
        for name, values in FREE.items()
        if not _pinned(name, pins)
    }
    found: dict[BlackwellSchedule, None] = {}
    for values in itertools.product(*free.values()):
        chosen = {**pins, **dict(zip(free, values, strict=True))}
        for schedule in _rings(resolve(known, hardware, chosen), pins):
            if not broken(schedule, hardware, known):
                found.setdefault(schedule)
    return tuple(found)


def orders(
    schedule: BlackwellSchedule, attention: Attention, hardware: Hardware, pins: Pins
) -> Iterator[BlackwellSchedule]:
    """Yield a schedule with its work tiles in every order that the rules and the pins allow."""
    dispatches = [pins["dispatch"]] if "dispatch" in pins else list(Dispatch)
    tile_orders = [pins["order"]] if "order" in pins else list(TileOrder)
    for dispatch, order in itertools.product(dispatches, tile_orders):
        other = planned(replace(schedule, dispatch=dispatch, order=order))
        if not broken(other, hardware, traits(attention)):
            yield other


def _pinned(name: str, pins: Pins) -> bool:
    return name in pins or (name == "emulated" and "emulation_share" in pins)


def _rings(schedule: BlackwellSchedule, pins: Pins) -> Iterator[BlackwellSchedule]:
    """Yield a schedule with as many slots as it has, and with fewer."""
    yield schedule
    if "stages" not in pins:
        for fewer in range(1, FEWER_STAGES + 1):
            yield planned(replace(schedule, stages=schedule.stages - fewer * schedule.ctas))


def _different(steps: list[tuple[float, Kernel]]) -> Iterator[Kernel]:
    """Yield kernels in their order, few that need registers for the same."""
    seen: Counter[tuple[object, ...]] = Counter()
    for _, what in steps:
        alike = pressed(what.schedule)
        seen[alike] += 1
        if seen[alike] <= ALIKE:
            yield what


def _ahead(workers: ProcessPoolExecutor, kernels: list[Kernel]) -> Iterator[float]:
    """Yield the cycles of kernels in order, so many on their way that no worker waits."""
    count = 4 * (os.cpu_count() or 1)
    waiting = iter(kernels)
    under_way = [workers.submit(_still, what) for what in islice(waiting, count)]
    try:
        while under_way:
            yield under_way.pop(0).result()
            under_way += [workers.submit(_still, what) for what in islice(waiting, 1)]
    finally:
        for future in under_way:
            future.cancel()


def _still(what: Kernel) -> float:
    """Return the cycles of 256 queries and 128 keys, latencies as they are."""
    return modelled(what, STILL).cycles * 2 / what.schedule.query_tiles


def _paces(what: Kernel) -> list[TileCycles]:
    """Return the cycles of a work tile, once for each seed."""
    return [pace(what, Jitter(AGAIN.share, (seed,))) for seed in AGAIN.seeds]


def _in_time(
    workers: ProcessPoolExecutor, kernels: list[Kernel], end: float
) -> list[list[TileCycles]]:
    """Return the cycles of work tiles, in order, as far as time goes; of the first few always."""
    under_way = [workers.submit(_paces, what) for what in kernels]
    found: list[list[TileCycles]] = []
    for future in under_way:
        if len(found) > FEWEST and monotonic() > end:
            future.cancel()
        else:
            found.append(future.result())
    return found


def _timed(what: Kernel, shape: Shape, paces: list[TileCycles]) -> Timed:
    runs = [launched(what, shape, cycles).cycles for cycles in paces]
    return Timed(what.schedule, fmean(runs), min(runs), max(runs))


def _first(item: tuple[float, Kernel]) -> float:
    return item[0]


def _changes(item: Timed, default: BlackwellSchedule) -> int:
    """Return in how many fields a schedule differs from the default: fewer is better."""
    names = default.__dataclass_fields__
    return sum(getattr(item.schedule, name) != getattr(default, name) for name in names)
