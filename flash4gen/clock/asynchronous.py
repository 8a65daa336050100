"""What goes on without the role that began it: products, copies, loads, stores, and arrivals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.clock.machine import SMSPS
from flash4gen.clock.program import GlobalLoad, Operand, SharedStore, TmaStore, TmemStore
from flash4gen.clock.state import Queued, Result
from flash4gen.clock.timeline import Kind
from flash4gen.clock.units import Rank, Unit, demand

if TYPE_CHECKING:
    from flash4gen.clock.engine import Clock
    from flash4gen.clock.program import (
        Commit,
        GlobalStore,
        Mma,
        SharedLoad,
        Step,
        TmaLoad,
        TmemLoad,
    )
    from flash4gen.clock.state import Agent
    from flash4gen.clock.units import Demand

KB = 1024
K_BYTES = 32
"""Bytes of K in one instruction of a product, for each row and column."""


def settle(result: Result, at: float) -> None:
    """Make known when a result can be read."""
    result.at = at
    waiting, result.then = result.then, []
    for then in waiting:
        then()


def arrival(
    clock: Clock, resident: int, name: str, count: float, latency: float, cause: int | None
) -> None:
    """Arrive at a barrier; who waits sees it a latency later."""

    def seen() -> None:
        barrier = clock.barriers[resident, name]
        barrier.arrived += count
        if barrier.arrived < barrier.count - 1e-6:
            return
        barrier.arrived -= barrier.count
        barrier.completions.append((clock.now, cause))
        for finish in barrier.waiting.pop(len(barrier.completions) - 1, ()):
            finish()

    clock.after(latency, seen)


def pause(clock: Clock, agent: Agent, step: Step, cycles: float) -> bool:
    """Let an agent spend cycles in which it occupies nothing that others want."""
    if cycles <= 0:
        return True
    span = clock.record.begin(agent.name, Kind.WORK, step, clock.now, cycles)
    agent.last = span

    def resume() -> None:
        clock.record.end(span, clock.now)
        clock.walk(agent)

    clock.after(cycles, resume)
    return False


def transfer(clock: Clock, agent: Agent, step: Step, cycles: Demand, latency: float) -> Result:
    """Move bytes for an agent in the background; its result is there a latency after the end."""
    result = Result()
    rank = Rank.COPY if isinstance(step, TmaStore) else Rank.ROLE
    span = clock.record.begin(f"{agent.name} memory", Kind.TRANSFER, step, clock.now)
    result.span = span
    cause = agent.last

    def done() -> None:
        settle(result, clock.now + latency)
        clock.record.end(span, clock.now + latency, cause)

    lane = (agent.name, *(unit for unit, _ in cycles))
    begin = max((agent.results[name].at or 0.0 for name in step.needs), default=0.0)
    clock.record.alone(span, latency + demand(cycles)[1])

    def start() -> None:
        clock.occupy(cycles, rank, lane, done)

    if begin > clock.now:
        clock.after(begin - clock.now, start)
    else:
        start()
    copied = isinstance(step, GlobalLoad) and step.to_shared
    (agent.copies if copied else agent.memory).append(result)
    if step.gives is not None:
        agent.results[step.gives] = result
    return result


def tmem_load(clock: Clock, agent: Agent, step: TmemLoad) -> bool:
    """tcgen05.ld: the port of each SMSP, which loads and stores share."""
    return _tmem(clock, agent, step, "tmem_load")


def tmem_store(clock: Clock, agent: Agent, step: TmemStore) -> bool:
    """tcgen05.st: the same port at another rate."""
    return _tmem(clock, agent, step, "tmem_store")


def _tmem(clock: Clock, agent: Agent, step: TmemLoad | TmemStore, kind: str) -> bool:
    get = clock.machine.get
    cycles = step.bytes / agent.count / SMSPS / get(f"{kind}_rate")
    transfer(clock, agent, step, ((Unit.TMEM, cycles),), clock.vary(get(f"{kind}_latency")))
    return True


def shared(clock: Clock, agent: Agent, step: SharedLoad | SharedStore) -> bool:
    """LDS and STS: the port of the SM, which TMA and the tensor core use too."""
    cycles = step.bytes / agent.count * step.conflicts / clock.machine.smem_rate
    latency = clock.vary(clock.machine.get("smem_latency"))
    transfer(clock, agent, step, ((Unit.SMEM, cycles),), latency)
    return True


def global_load(clock: Clock, agent: Agent, step: GlobalLoad) -> bool:
    """LDG or cp.async: what L2 and memory can spare, and a latency."""
    count = step.bytes / agent.count
    late = supply(clock, count, step.cold)
    latency = clock.vary(clock.machine.get("global_latency")) + late
    cycles = ((Unit.SMEM, count / clock.machine.smem_rate),)
    transfer(clock, agent, step, cycles if step.to_shared else (), latency)
    return True


def global_store(clock: Clock, agent: Agent, step: GlobalStore) -> bool:
    """STG: takes of L2's bandwidth; nobody waits."""
    supply(clock, step.bytes / agent.count, 0)
    return True


def supply(clock: Clock, count: float, cold: float) -> float:
    """Take bytes from L2 and a share of them from memory; returns how much later they come."""
    late = clock.l2.take(clock.now, count)
    return max(late, clock.hbm.take(clock.now, count * cold)) if cold else late


def tma_load(clock: Clock, agent: Agent, step: TmaLoad) -> bool:
    """A TMA load: one engine, a latency law, and shared memory that takes 128 bytes a cycle."""
    span = clock.record.begin("tma", Kind.TRANSFER, step, clock.now)
    cause = agent.last
    late = supply(clock, step.bytes, step.cold)
    latency = clock.vary(clock.machine.tma_latency(step.inner_bytes)) + late
    engine = step.bytes / KB * clock.machine.get("tma_cycles_per_kb")
    written = step.bytes / clock.machine.smem_rate
    clock.record.alone(span, latency + engine)
    parts = 2

    def part_done() -> None:
        nonlocal parts
        parts -= 1
        if parts:
            return
        clock.record.end(span, clock.now, cause)
        arrival(clock, agent.resident, step.barrier, 1, 0, span)

    def sent() -> None:
        clock.after(latency, part_done)

    clock.occupy(((Unit.TMA, engine),), Rank.COPY, "tma", sent)
    clock.occupy(((Unit.SMEM, written),), Rank.COPY, "tma write", part_done)
    return pause(clock, agent, step, clock.machine.get("tma_issue"))


def tma_store(clock: Clock, agent: Agent, step: TmaStore) -> bool:
    """A TMA store."""
    get = clock.machine.get
    supply(clock, step.bytes, 0)
    kilobytes = step.bytes / KB
    engine = kilobytes * get("tma_cycles_per_kb")
    rest = kilobytes * get("tma_store_cycles_per_kb") - engine
    latency = clock.vary(get("tma_store_latency")) + max(0.0, rest)
    transfer(clock, agent, step, ((Unit.TMA, engine),), latency)
    return pause(clock, agent, step, get("tma_issue"))


def mma(clock: Clock, agent: Agent, step: Mma) -> bool:
    """A product: into the tensor core's queue."""
    issue = clock.vary(clock.machine.get("mma_issue"))
    result = Result()
    agent.product = result
    if step.gives is not None:
        agent.results[step.gives] = result
    goes_on = pause(clock, agent, step, issue)
    clock.queue.append(Queued(step, agent, clock.now + issue, agent.last, result))
    clock.after(issue, lambda: next_product(clock))
    return goes_on


def next_product(clock: Clock) -> None:
    """Start the product at the head of the queue, if the tensor core is free and it was issued."""
    if clock.tensor_busy or not clock.queue or clock.queue[0].ready > clock.now + 1e-9:
        return
    item = clock.queue.pop(0)
    clock.tensor_busy = True
    step = item.step
    span = clock.record.begin("tensor", Kind.PRODUCT, step, clock.now)
    queued = item.ready < clock.now - 1e-9
    cause = clock.product if queued else item.issued_by
    clock.product = span
    item.result.span = span
    completion = clock.vary(clock.machine.completion(step))

    def done() -> None:
        clock.record.end(span, clock.now, cause)
        clock.tensor_busy = False
        settle(item.result, clock.now + completion)
        next_product(clock)

    clock.record.alone(
        span, clock.occupy(product_cycles(clock, step), Rank.PRODUCT, "tensor", done)
    )


def product_cycles(clock: Clock, step: Mma) -> Demand:
    """Return what a product occupies: the pipe, and shared memory for operands that lie there."""
    machine = clock.machine
    pipe = step.count * machine.interval(step) + machine.get("mma_group_gap")
    rows = step.m / step.ctas if step.a_from is Operand.SMEM else 0
    operands = step.count * (rows + step.n / step.ctas) * K_BYTES / machine.smem_rate
    return ((Unit.TENSOR, pipe), (Unit.SMEM, min(operands, pipe)))


def commit(clock: Clock, agent: Agent, step: Commit) -> bool:
    """tcgen05.commit: an arrival when the role's products so far are done.

    A product's completion latency includes the waking of who waits.
    """
    product = agent.product
    seen = clock.now + clock.vary(clock.machine.get("mbarrier_latency"))

    def when_done() -> None:
        assert product is not None
        at = max(product.at or 0.0, seen)
        arrival(clock, agent.resident, step.barrier, 1, max(0.0, at - clock.now), product.span)

    if product is None:
        arrival(clock, agent.resident, step.barrier, 1, seen - clock.now, agent.last)
    elif product.at is None:
        product.then.append(when_done)
    else:
        when_done()
    return True
