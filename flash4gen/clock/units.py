"""The units of an SM, as a fluid: those who want the same share it alike.

A job asks for shares of units over a time. Instructions of several warps interleave cycle by
cycle; seen from a distance each job goes on at a rate, and rates change only when a job comes or
ends. That is exact where instructions are small against jobs, and it is fast.

Alike, because a warp that waits for a busy pipe loses its turn: greedy schedulers, too, end up
taking turns on a pipe that limits two warps. The tensor core's operands go first, TMA's bytes last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


class Unit(IntEnum):
    """What can be busy. The first six exist once on each SMSP; one SMSP stands for all."""

    ISSUE = 0
    MUFU = 1
    FMA = 2
    ALU = 3
    CVT = 4
    SHUFFLE = 5
    TENSOR = 6
    TMEM = 7
    SMEM = 8
    TMA = 9

    @property
    def title(self) -> str:
        """The name that people read."""
        return self.name.lower()


class Rank(IntEnum):
    """Who is served first."""

    PRODUCT = 0
    ROLE = 1
    COPY = 2


Demand = tuple[tuple[Unit, float], ...]
"""Cycles of units."""

EPSILON = 1e-7
"""Cycles below which a job has ended."""


@dataclass(slots=True, eq=False)
class Job:
    """Something under way.

    Attributes:
        shares: of each unit while it goes on at full rate, 0 to 1.
        left: cycles to go at full rate.
        rank: who is served first: the smaller. Jobs of one rank share alike.
        lane: jobs of one lane go one after another, in the order in which they came.
        done: called when it has ended.
        rate: of progress at present, 0 to 1.
    """

    shares: Demand
    left: float
    rank: Rank
    lane: Hashable
    done: Callable[[], None]
    rate: float = 0


@dataclass(slots=True)
class Pool:
    """Jobs on units, in continuous time.

    Attributes:
        now: the cycle.
        busy: cycles that each unit has worked.
    """

    now: float = 0
    busy: list[float] = field(default_factory=lambda: [0.0] * len(Unit))
    _jobs: list[Job] = field(default_factory=list)
    _stale: bool = False

    def add(self, job: Job) -> None:
        """Start a job now, or when those before it in its lane have ended."""
        self._jobs.append(job)
        self._stale = True

    def next_end(self) -> float:
        """Return the cycle at which the next job ends if none comes, infinity if there is none."""
        if self._stale:
            self._share()
        soonest = float("inf")
        for job in self._jobs:
            if job.rate > 0:
                soonest = min(soonest, job.left / job.rate)
        return self.now + soonest

    def advance(self, to: float) -> list[Job]:
        """Go on until a cycle, which must not lie behind the next end; return what has ended."""
        passed = to - self.now
        self.now = to
        ended = []
        for job in self._jobs:
            if not job.rate:
                continue
            went = passed * job.rate
            job.left -= went
            for unit, share in job.shares:
                self.busy[unit] += went * share
            if job.left <= EPSILON:
                ended.append(job)
        if ended:
            self._jobs = [job for job in self._jobs if job.left > EPSILON]
            self._stale = True
        return ended

    def _share(self) -> None:
        """Give every job its rate."""
        free = [1.0] * len(Unit)
        lanes: set[Hashable] = set()
        ranks: tuple[list[Job], ...] = ([], [], [])
        for job in self._jobs:
            job.rate = 0.0
            if job.lane not in lanes:
                lanes.add(job.lane)
                ranks[job.rank].append(job)
        for jobs in ranks:
            if len(jobs) == 1:
                _share_alone(jobs[0], free)
            elif jobs:
                _share_alike(jobs, free)
        self._stale = False


def _share_alone(job: Job, free: list[float]) -> None:
    """Give a job all it can use of what is left."""
    rate = min((free[unit] / share for unit, share in job.shares), default=1.0)
    job.rate = rate = min(1.0, rate) if rate > EPSILON else 0.0
    for unit, share in job.shares:
        free[unit] -= rate * share


def _share_alike(jobs: list[Job], free: list[float]) -> None:
    """Raise the rates of jobs together until each is at its limit (max-min fairness)."""
    rate = 0.0
    while jobs:
        asked: dict[Unit, float] = {}
        for job in jobs:
            for unit, share in job.shares:
                asked[unit] = asked.get(unit, 0.0) + share
        more = 1.0 - rate
        for unit, total in asked.items():
            if free[unit] < more * total:
                more = free[unit] / total
        rate += more
        for unit, total in asked.items():
            free[unit] -= more * total
        for job in jobs:
            job.rate = rate
        if rate >= 1.0 - EPSILON:
            return
        jobs = [job for job in jobs if all(free[unit] > EPSILON for unit, _ in job.shares)]


def demand(cycles: Demand) -> tuple[Demand, float]:
    """Return the shares and the duration of a job that has all units to itself."""
    duration = max((amount for _, amount in cycles), default=0.0)
    if duration <= 0:
        return (), 0.0
    return tuple((unit, amount / duration) for unit, amount in cycles if amount > 0), duration


@dataclass(slots=True)
class Bucket:
    """A token bucket: bytes come at a rate, and as many as ``depth`` can be saved.

    Attributes:
        rate: bytes per cycle.
        depth: bytes.
    """

    rate: float
    depth: float
    _bytes: float = field(init=False)
    _at: float = 0

    def __post_init__(self) -> None:
        self._bytes = self.depth

    def take(self, now: float, count: float) -> float:
        """Take bytes, in debt if need be; return how many cycles later they are there."""
        saved = min(self.depth, self._bytes + (now - self._at) * self.rate) - count
        self._at, self._bytes = now, saved
        return max(0.0, -saved / self.rate)
