"""The clock: walks all roles of a program through the units of an SM, event by event.

Each agent (four warps, one to an SMSP) walks its steps in order, as far as waits and results allow.
Work that occupies units is a job in a fluid (``units.Pool``); latencies are events of a queue. The
tensor core takes products strictly in the order of their issue. Nothing is random unless ``jitter``
is asked for, and then the seed decides.
"""

from __future__ import annotations

import random
from functools import partial
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from flash4gen.clock import steps
from flash4gen.clock.state import Agent, Barrier, DeadlockError, Queued, Record
from flash4gen.clock.timeline import Timeline
from flash4gen.clock.units import Bucket, Demand, Job, Pool, Rank, Unit, demand

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from flash4gen.clock.machine import ClockMachine
    from flash4gen.clock.program import Program, Role

GROUP = 4
"""Warps of an agent: one for each SMSP."""

IN_FLIGHT = 65536
"""Bytes that one SM can have on their way.

64 KB saturate memory: SemiAnalysisAI/microbench-blackwell@9a068d8.
"""


def simulate(
    program: Program, machine: ClockMachine, *, jitter: float = 0.0, seed: int = 0
) -> Timeline:
    """Run a program on one SM of a machine.

    Args:
        program: what each role does.
        machine: the constants of the target.
        jitter: each latency is multiplied by a random number between 1 - jitter and 1 + jitter.
        seed: of the jitter. Same seed, same answer.

    Raises:
        DeadlockError: all roles wait and nothing is under way.
    """
    clock = Clock(program, machine, jitter, seed)
    clock.run()
    return clock.timeline()


class Clock:
    """A run. ``steps`` holds what each kind of step does to it."""

    def __init__(self, program: Program, machine: ClockMachine, jitter: float, seed: int) -> None:
        self.machine = machine
        self.pool = Pool()
        self.record = Record()
        self.l2 = Bucket(machine.l2_rate, IN_FLIGHT)
        self.hbm = Bucket(machine.hbm_rate, IN_FLIGHT)
        self.queue: list[Queued] = []
        self.product: int | None = None
        self.tensor_busy = False
        self.samples: list[tuple[float, tuple[float, ...]]] = []
        self.gates: dict[tuple[str, int], list[Callable[[int | None], None]]] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._stagger = program.stagger
        self._jitter = jitter
        self._random = random.Random(seed)
        self.barriers = {
            (resident, name): Barrier(count)
            for resident in range(program.residents)
            for name, count in program.barriers
        }
        self.agents = list(_agents(program))

    @property
    def now(self) -> float:
        """The cycle."""
        return self.pool.now

    def run(self) -> None:
        """Run to the end."""
        for agent in self.agents:
            if agent.resident and self._stagger:
                self.after(agent.resident * self._stagger, partial(self.walk, agent))
            else:
                self.walk(agent)
        pool, events = self.pool, self._events
        while True:
            event = events[0][0] if events else float("inf")
            end = pool.next_end()
            if end <= event:
                if end == float("inf"):
                    break
                for job in pool.advance(end):
                    job.done()
            else:
                for job in pool.advance(event):
                    job.done()
                heappop(events)[2]()
        self._expect_all_ended()

    def walk(self, agent: Agent) -> None:
        """Let an agent do its steps until one of them makes it wait."""
        todo = agent.role.steps
        while agent.at < len(todo):
            step = todo[agent.at]
            agent.blocked = step
            if step.elected and agent.index:
                agent.at += 1
                continue
            if step.needs and not steps.ready(self, agent, step):
                return
            agent.at += 1
            if not steps.DO[type(step)](self, agent, step):
                return
        agent.blocked = None

    def after(self, cycles: float, then: Callable[[], None]) -> None:
        """Call something so many cycles later."""
        self._count += 1
        heappush(self._events, (self.now + cycles, self._count, then))

    def vary(self, latency: float) -> float:
        """Return a latency, jittered."""
        if not self._jitter:
            return latency
        return latency * self._random.uniform(1 - self._jitter, 1 + self._jitter)

    def occupy(self, cycles: Demand, rank: Rank, lane: Hashable, done: Callable[[], None]) -> float:
        """Occupy units for cycles each; returns how long that takes alone."""
        shares, duration = demand(cycles)
        if duration <= 0:
            self.after(0, done)
        else:
            self.pool.add(Job(shares, duration, rank, lane, done))
        return duration

    def timeline(self) -> Timeline:
        """Return what happened."""
        spans = self.record.spans
        return Timeline(
            spans=spans,
            turns=tuple((agent.name, tuple(agent.turns)) for agent in self.agents),
            busy=tuple((unit.title, self.pool.busy[unit]) for unit in Unit),
            samples=tuple(self.samples),
            end=max((span.end for span in spans), default=0.0),
        )

    def _expect_all_ended(self) -> None:
        waiting = tuple(
            (agent.name, steps.awaited(agent.blocked), agent.blocked.line)
            for agent in self.agents
            if agent.blocked is not None
        )
        if waiting:
            raise DeadlockError(waiting)


def _agents(program: Program) -> list[Agent]:
    agents: list[Agent] = []
    for resident in range(program.residents):
        for role in program.roles:
            count = max(1, -(-role.warps // GROUP))
            for index in range(count):
                name = _name(role, index, resident)
                agents.append(Agent(name, role, index, count, resident))
    return agents


def _name(role: Role, index: int, resident: int) -> str:
    more = f".{index}" if index else ""
    return f"{role.name}{more}@{resident}" if resident else f"{role.name}{more}"
