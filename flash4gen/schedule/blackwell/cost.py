"""Cycles of a step by formula: a first rank among many schedules, before the clock has a word.

In: a ``Kernel``. Out: cycles for 256 queries and 128 keys. A step takes its busiest unit's time, or
that of the longest loop of one tile that waits for itself: through the products of both kinds where
scores hold the weights, through the softmax warps alone where scores are free, through the one slot
of scores where both tiles use it in turn. The clock knows contention, the ring and ends; this does
not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.clock.machine import machine_for
from flash4gen.clock.program import Mma, Operand
from flash4gen.clock.steps import cycles_of
from flash4gen.schedule.blackwell.memory import TILE
from flash4gen.schedule.blackwell.model import TensorPlan
from flash4gen.schedule.blackwell.sketch.effort import NEW_MAX, OVERHEAD
from flash4gen.schedule.blackwell.sketch.single import DEPTH_BYTES, WIDEST
from flash4gen.schedule.blackwell.sketch.softmax import NEW_MAX_CHAIN
from flash4gen.schedule.blackwell.space import FRAGMENT

if TYPE_CHECKING:
    from flash4gen.clock.machine import ClockMachine
    from flash4gen.clock.program import Work
    from flash4gen.schedule.blackwell.pace import Kernel

LEAK = 0.05
"""Share of the lesser bounds that still shows."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Cycles of what a step of one tile is made of.

    Attributes:
        scores: the first product.
        weighted: the second product.
        told: from a product's end until softmax goes on.
        head: from there to the first exponential.
        loaded: of it, until scores are in registers.
        early, late: exponentials until weights are released, and the others.
        released: from the last exponential until the tensor core knows.
        handed: from the scores' last load until the tensor core knows.
        sums: row sums.
    """

    scores: float
    weighted: float
    told: float
    head: float
    loaded: float
    early: float
    late: float
    released: float
    handed: float
    sums: float


def estimate(what: Kernel) -> float:
    """Return the estimated cycles of 256 queries and 128 keys.

    Raises:
        NoConstantsError: nothing was published for the target.
    """
    machine = machine_for(what.hardware)
    parts = _parts(what, machine)
    tensor = 2 * (parts.scores + parts.weighted)
    bounds = [tensor, *(2 * cycles for cycles in _pipes(what, machine)), _loop(what, parts)]
    most = max(bounds)
    return most + LEAK * (sum(sorted(bounds)[-3:]) - most)


def _loop(what: Kernel, parts: _Parts) -> float:
    """Return the longest way around that waits for itself, for two tiles."""
    warps = parts.head + parts.early + parts.late + 2 * parts.released + parts.sums
    plan = what.schedule.plan
    if plan is TensorPlan.SHARED_S:
        slot = parts.scores + parts.told + parts.loaded + parts.handed
        return max(warps, 2 * slot)
    if plan is TensorPlan.P_IN_S:
        through = parts.scores + parts.told + parts.head + parts.early + parts.released
        through += max(parts.weighted, parts.late + parts.released)
        return through * (2 if what.schedule.query_tiles == 1 else 1)
    return warps * (2 if what.schedule.query_tiles == 1 else 1)


def _parts(what: Kernel, machine: ClockMachine) -> _Parts:
    schedule, effort, get = what.schedule, what.effort, machine.get
    rows = TILE * schedule.ctas
    wide = min(schedule.value_pad, WIDEST)
    first = Mma(
        m=rows,
        n=schedule.tile_k,
        count=schedule.head_pad * schedule.element // DEPTH_BYTES,
        ctas=schedule.ctas,
    )
    second = Mma(
        m=rows,
        n=wide,
        count=schedule.tile_k * schedule.element // DEPTH_BYTES * (schedule.value_pad // wide),
        a_from=Operand.TMEM,
        ctas=schedule.ctas,
    )
    fragments = schedule.tile_k // FRAGMENT
    column = FRAGMENT * 4 * 32 / get("tmem_load_rate")
    loaded = fragments * column + get("tmem_load_latency") + _alone(effort.maxima, machine)
    statistics = get("sync_latency") + 2 * get("arrive_issue") + 2 * get("mbarrier_test")
    head = loaded + _alone(NEW_MAX + OVERHEAD, machine) + NEW_MAX_CHAIN + statistics
    cut = schedule.early // FRAGMENT or fragments
    times = [_alone(work, machine) for work in effort.exponents]
    remote = get("cluster_latency") if schedule.ctas > 1 else 0.0
    store = get("tmem_store_latency") + get("fence_latency")
    handed = get("sync_latency") + get("mbarrier_latency") + get("mma_issue") + remote
    return _Parts(
        scores=first.count * machine.interval(first) + get("mma_group_gap"),
        weighted=second.count * machine.interval(second) + 2 * get("mma_group_gap"),
        told=machine.completion(first),
        head=head,
        loaded=loaded,
        early=sum(times[:cut]),
        late=sum(times[cut:]),
        released=store + handed,
        handed=handed,
        sums=_alone(effort.sums, machine),
    )


def _alone(work: Work, machine: ClockMachine) -> float:
    """Return the cycles of work that has all pipes to itself."""
    return max(cycles for _, cycles in cycles_of(work, machine))


def _pipes(what: Kernel, machine: ClockMachine) -> list[float]:
    """Return the cycles of each pipe in the softmax of one tile."""
    effort = what.effort
    total = effort.maxima * len(effort.exponents) + NEW_MAX + OVERHEAD + effort.sums
    for work in effort.exponents:
        total += work
    return [cycles for _, cycles in cycles_of(total, machine)]
