"""A search for a schedule that ends with modules: what is fastest by sketch is compiled and timed.

In: a plan, seconds. Out: ``Tuned``. The first half of the time belongs to the sketches
(``schedule/blackwell/tune``), the rest to modules, each compiled and simulated in a process of its
own; nothing is written beside a scratch folder.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib import import_module
from math import inf
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.ir.core import core
from flash4gen.ir.nodes import Pass
from flash4gen.schedule.blackwell.model import Dispatch
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.trials import Trial, following, to_compile
from flash4gen.schedule.blackwell.tune import AGAIN, tune
from flash4gen.schedule.model import Family, Schedule
from flash4gen.schedule.pins import read_pins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from flash4gen.driver.build import Built
    from flash4gen.driver.model import Plan
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.tune import Tuned
    from flash4gen.schedule.blackwell.works import Shape

SKETCHES = 0.45
"""Of the time, for the search without modules."""

START = 3.0
"""Seconds that a process takes at least until it can compile: it imports torch and Triton."""

AS_LONG = 3
"""A first module takes so many times as long as that, whatever else the machine has to do."""

AT_ONCE = 2
"""Modules that are compiled side by side."""


class Shown(NamedTuple):
    """Who is told about progress: of the sketches, and of the modules."""

    sketch: Callable[[int, int, float, BlackwellSchedule], None]
    module: Callable[[Trial], None]


def tune_plan(plan: Plan, seconds: float, shown: Shown | None = None) -> Tuned:
    """Search for a faster schedule of a plan of the ``blackwell`` family, for so many seconds.

    Raises:
        NoConstantsError: nothing was published for the target.
    """
    begun = monotonic()
    default = plan.choice.schedule
    assert not isinstance(default, Schedule)
    attention, hardware = core(plan.attention), plan.hardware
    pins = read_pins(attention, Family.BLACKWELL)
    told = shown.sketch if shown else None
    found = tune(attention, hardware, pins, default, SKETCHES * seconds, told)
    faster = (item.schedule for item in found.ranked if item.cycles < found.default.cycles)
    # The clock cannot follow modules whose programs take over work: those stay sketches.
    ahead = [schedule for schedule in faster if schedule.dispatch is not Dispatch.CLC]
    wanted = to_compile(default, ahead or [default], traits(attention), hardware, pins)
    trials: list[Trial] = []
    for trial in _tried(plan, found.shape, wanted, begun + seconds):
        trials.append(trial)
        if shown is not None:
            shown.module(trial)
    return replace(found, trials=tuple(trials), seconds=monotonic() - begun)


def _tried(
    plan: Plan, shape: Shape, schedules: Sequence[BlackwellSchedule], end: float
) -> Iterator[Trial]:
    """Yield the trials of schedules, in their order, as far as time goes."""
    began = monotonic()
    if began + (1 + AS_LONG) * START > end:
        return
    # Not forked: a process that has loaded torch has threads.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=AT_ONCE, mp_context=fresh) as workers:
        try:
            for started in [workers.submit(_start) for _ in range(AT_ONCE)]:
                started.result()
            first = AS_LONG * (monotonic() - began)

            def submit(schedule: BlackwellSchedule) -> Future[Trial]:
                return workers.submit(try_schedule, plan, shape, schedule)

            yield from _in_order(submit, schedules, first, end)
        except BrokenProcessPool:  # one was ended, as for want of memory: no more of them
            return


def _in_order(
    submit: Callable[[BlackwellSchedule], Future[Trial]],
    schedules: Sequence[BlackwellSchedule],
    first: float,
    end: float,
) -> Iterator[Trial]:
    """Yield trials, some of them under way side by side, as far as time goes.

    Args:
        submit: begins a trial.
        schedules: what to try, in the order of hope.
        first: seconds that a trial is expected to take before any has ended.
        end: after which none may end, as far as can be known.
    """
    waiting = list(schedules)
    took: list[float] = []
    trials: list[Trial] = []
    under_way: deque[tuple[float, Future[Trial]]] = deque()
    while True:
        expected = fmean(took) if took else first
        while len(under_way) < AT_ONCE and monotonic() + expected <= end:
            schedule = following(waiting, trials)
            if schedule is None:
                break
            waiting.remove(schedule)
            under_way.append((monotonic(), submit(schedule)))
        if not under_way:
            return
        begun, future = under_way.popleft()
        trials.append(future.result())
        took.append(monotonic() - begun)
        yield trials[-1]


def _start() -> None:
    """Import what a trial needs."""
    import_module("flash4gen.build.compile")
    import_module("flash4gen.simulate.timed")


def try_schedule(plan: Plan, shape: Shape, schedule: BlackwellSchedule) -> Trial:
    """Compile a plan's forward kernel with a schedule, and time its module for a launch.

    The kernel for short queries, and those of gradients, are left out.
    """
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.driver.build import Run, build_once

    alone = replace(
        plan,
        attention=replace(core(plan.attention), passes=(Pass.FORWARD,)),
        choice=replace(plan.choice, schedule=_without_short(schedule), backward=None),
    )
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="flash4gen-") as scratch:
        run = Run(Path(scratch), (), lambda _event: None)
        built = build_once(alone, run, Path(scratch), findings)
        if built is None:
            why = next((it.message for it in findings.in_order()), "it does not compile")
            return Trial(schedule, 0, 0, why, inf, inf, inf)
        return _timed(built, shape, schedule)


def _without_short(schedule: BlackwellSchedule) -> BlackwellSchedule:
    return replace(
        schedule,
        short_queries=0,
        short_softmax_registers=0,
        short_correction_registers=0,
        short_other_registers=0,
    )


def _timed(built: Built, shape: Shape, schedule: BlackwellSchedule) -> Trial:
    """Return the trial of a module that is there."""
    from flash4gen.build.limits import over_limit
    from flash4gen.driver.build import spills_matter, subject_of
    from flash4gen.simulate.model import SimulationError
    from flash4gen.simulate.timed import time_module

    made, facts = built.plan, built.artefact.facts
    spilled = facts.spill_bytes, facts.loop_spills
    if spills_matter(schedule, facts):
        why = f"reloads or saves {facts.loop_spills} registers in its loops"
        return Trial(schedule, *spilled, why, inf, inf, inf)
    if why := over_limit(facts, made.hardware):
        return Trial(schedule, *spilled, why, inf, inf, inf)
    subject = subject_of(built)
    try:
        timed = time_module(subject, shape, jitter=AGAIN.share, seeds=len(AGAIN.seeds))
    except SimulationError as error:
        return Trial(schedule, *spilled, str(error), inf, inf, inf)
    assert timed.spread is not None
    return Trial(schedule, *spilled, "", *timed.spread.cycles)
