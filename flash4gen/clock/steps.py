"""What each kind of step does to the clock. A handler returns whether the agent goes on at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from flash4gen.clock import asynchronous as background
from flash4gen.clock.program import (
    Arrive,
    Commit,
    Compute,
    Fence,
    GlobalLoad,
    GlobalStore,
    Mma,
    SharedLoad,
    SharedStore,
    Step,
    Sync,
    TmaLoad,
    TmaStore,
    TmemLoad,
    TmemStore,
    Turn,
    Wait,
    Work,
)
from flash4gen.clock.state import Result
from flash4gen.clock.timeline import Kind
from flash4gen.clock.units import Rank, Unit

if TYPE_CHECKING:
    from flash4gen.clock.engine import Clock
    from flash4gen.clock.machine import ClockMachine
    from flash4gen.clock.state import Agent
    from flash4gen.clock.units import Demand


def awaited(step: Step) -> str:
    """Say what an agent that does not go on waits for."""
    if isinstance(step, Wait):
        return f"use {step.use} of {step.barrier}"
    if step.needs:
        return ", ".join(step.needs)
    return step.label or type(step).__name__


def cycles_of(work: Work, machine: ClockMachine) -> Demand:
    """Return the cycles of each pipe of an SMSP that a warp's instructions take."""
    get = machine.get
    return (
        (Unit.ISSUE, work.issue),
        (Unit.MUFU, work.mufu * machine.mufu_interval),
        (Unit.FMA, work.fma * machine.fma_interval + work.fma2 * get("fma2_interval")),
        (Unit.ALU, work.alu * get("alu_interval")),
        (Unit.CVT, work.cvt * get("cvt_interval") + work.cvt8 * get("cvt8_interval")),
        (Unit.SHUFFLE, work.shuffle * get("shuffle_interval")),
        (Unit.TENSOR, work.mma * machine.mma_sync_interval),
    )


def latency_of(work: Work, machine: ClockMachine) -> float:
    """Return the cycles from the issue of a block's last instruction until its result is there."""
    if work.mma:
        return machine.get("mma_sync_latency")
    return machine.get("mufu_latency" if work.mufu else "math_latency")


def ready(clock: Clock, agent: Agent, step: Step) -> bool:
    """Whether a step can begin; if not, the agent walks on when it can.

    A store to memory does not hold its role up for the last cycles of what it stores: compilers
    put the next block's instructions there.
    """
    for name in step.needs:
        result = agent.results.get(name)
        if result is None:
            raise ValueError(f"{agent.role.name}: nothing gives {name!r} before it is needed")
        if result.at is None or (result.at > clock.now and not isinstance(step, STORES)):
            stall(clock, agent, step, result)
            return False
    return True


STORES = (TmemStore, SharedStore)


def stall(clock: Clock, agent: Agent, step: Step, result: Result) -> None:
    """Let an agent wait for a result, then walk on."""
    span = clock.record.begin(agent.name, Kind.STALL, step, clock.now)
    agent.last = span

    def resume() -> None:
        clock.record.end(span, clock.now, result.span)
        clock.walk(agent)

    if result.at is None:
        result.then.append(lambda: clock.after(max(0.0, (result.at or 0) - clock.now), resume))
    else:
        clock.after(result.at - clock.now, resume)


def compute(clock: Clock, agent: Agent, step: Compute) -> bool:
    """Arithmetic: occupies pipes until it ends; the result comes a latency later."""
    span = clock.record.begin(agent.name, Kind.WORK, step, clock.now)
    agent.last = span
    extra = clock.vary(latency_of(step.work, clock.machine) + step.latency)
    result = Result(span=span)
    if step.gives is not None:
        agent.results[step.gives] = result

    def done() -> None:
        clock.record.end(span, clock.now)
        background.settle(result, clock.now + extra)
        clock.walk(agent)

    cycles = cycles_of(step.work, clock.machine)
    alone = clock.occupy(cycles, Rank.ROLE, agent.name, done)
    clock.record.alone(span, alone)
    return False


def wait(clock: Clock, agent: Agent, step: Wait) -> bool:
    """An mbarrier wait: at least a test, at most until the completion is visible."""
    if step.use < 0:
        return True
    barrier = clock.barriers[agent.resident, step.barrier]
    span = clock.record.begin(agent.name, Kind.WAIT, step, clock.now)
    agent.last = span
    tested = clock.now + clock.machine.get("mbarrier_test")

    def finish() -> None:
        at, cause = barrier.completions[step.use]
        late = at > tested
        resume = max(at, tested)

        def go() -> None:
            clock.record.end(span, clock.now, cause if late else None)
            clock.walk(agent)

        clock.after(max(0.0, resume - clock.now), go)

    if step.use < len(barrier.completions):
        finish()
    else:
        barrier.waiting.setdefault(step.use, []).append(finish)
    return False


def arrive(clock: Clock, agent: Agent, step: Arrive) -> bool:
    """A thread's arrival, seen by waiters a latency later."""
    get = clock.machine.get
    latency = get("mbarrier_latency") + (get("cluster_latency") if step.remote else 0)
    cause = clock.record.begin(agent.name, Kind.WORK, step, clock.now, get("arrive_issue"))
    agent.last = cause
    background.arrival(
        clock, agent.resident, step.barrier, step.count / agent.count, clock.vary(latency), cause
    )

    def resume() -> None:
        clock.record.end(cause, clock.now)
        clock.walk(agent)

    clock.after(get("arrive_issue"), resume)
    return False


def fence(clock: Clock, agent: Agent, step: Fence) -> bool:
    """Wait for what is under way in memory (needs have been waited for already)."""
    if not step.needs:
        agent.memory = [r for r in agent.memory if r.at is None or r.at > clock.now]
        agent.copies = [r for r in agent.copies if r.at is None or r.at > clock.now]
        under_way = agent.memory + agent.copies if step.copies else agent.memory
        if under_way:
            agent.at -= 1
            stall(clock, agent, step, under_way[-1])
            return False
    return background.pause(clock, agent, step, clock.machine.get("fence_latency"))


def sync(clock: Clock, agent: Agent, step: Sync) -> bool:
    """A barrier among the agents of a role; among the warps of one agent it costs its latency."""
    latency = clock.vary(clock.machine.get("sync_latency"))
    span = clock.record.begin(agent.name, Kind.WAIT, step, clock.now)
    agent.last = span
    last = span
    gate = clock.gates.setdefault((agent.role.name, agent.resident), [])

    def resume(cause: int | None) -> None:
        clock.record.end(span, clock.now, cause)
        clock.walk(agent)

    gate.append(resume)
    if len(gate) == agent.count:
        for other in gate:
            clock.after(latency, partial(other, None if other is resume else last))
        gate.clear()
    return False


def turn(clock: Clock, agent: Agent, step: Turn) -> bool:
    """Note the cycle."""
    agent.turns.append((step.number, clock.now))
    clock.samples.append((clock.now, tuple(clock.pool.busy)))
    return True


Handler = Any
"""Takes the clock, the agent and its own kind of step."""

DO: dict[type[Step], Handler] = {
    Compute: compute,
    TmemLoad: background.tmem_load,
    TmemStore: background.tmem_store,
    SharedLoad: background.shared,
    SharedStore: background.shared,
    GlobalLoad: background.global_load,
    GlobalStore: background.global_store,
    TmaLoad: background.tma_load,
    TmaStore: background.tma_store,
    Mma: background.mma,
    Commit: background.commit,
    Wait: wait,
    Arrive: arrive,
    Fence: fence,
    Sync: sync,
    Turn: turn,
}
