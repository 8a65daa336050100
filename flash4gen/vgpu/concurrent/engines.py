"""The asynchronous engines of one partition, each with a thread of the clocks for what it does.

tcgen05 and wgmma do their work in order, so that one thread stands for a whole queue. Bulk stores
and cp.async copies are unordered among each other and end in groups: their thread counts them, and
a wait learns the count of the last one that it covers. TMA loads end one by one, at barriers.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from flash4gen.vgpu.concurrent.clocks import ALWAYS
from flash4gen.vgpu.concurrent.jobs import Job
from flash4gen.vgpu.engines import PendingDot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from flash4gen.vgpu.concurrent.barrier import Actor, CheckedBarrier
    from flash4gen.vgpu.concurrent.worker import Worker
    from flash4gen.vgpu.onchip import View


class Products:
    """An in-order queue of matrix products: tcgen05 or wgmma, of one partition."""

    def __init__(self, worker: Worker, kind: str) -> None:
        self._worker = worker
        machine = worker.machine
        self._machine = machine
        self.clock = machine.clocks.new()
        self.thread = machine.thread(kind, worker)
        self._queue = machine.jobs.queue()
        self._open: deque[tuple[Job, int]] = deque()

    def issue(
        self, reads: tuple[View, ...], targets: tuple[View, ...], compute: Callable[[], None]
    ) -> Job:
        """Put a product under way and check its operands."""
        worker, clocks = self._worker, self._machine.clocks
        clocks.join(self.clock, worker.clock)
        count = clocks.tick(self.clock, self.thread)
        by = self.clock, self.thread, count
        clean = [worker.touch(view, write=False, by=by) for view in reads]
        clean += [worker.touch(view, write=True, by=by) for view in targets]
        worker.release()
        self._machine.note(self.thread, worker)
        job = self._job(compute, clean=all(clean))
        self._open.append((job, count))
        if len(self._open) > _OPEN:
            self._open = deque(pair for pair in self._open if not pair[0].done)
        return job

    def arrive(self, barriers: Iterable[tuple[int, CheckedBarrier]]) -> None:
        """Arrive at barriers, each with its CTA, when everything issued so far is done.

        Arrivals at several CTAs are events of their own, in order on the way to each: who has seen
        one of them does not know of the others. PTX ISA, tcgen05.commit: a multicast signals the
        same barrier of each CTA; nothing is said of their order.
        """
        worker, machine = self._worker, self._machine
        clocks = machine.clocks
        clocks.join(self.clock, worker.clock)
        reached = tuple(barriers)
        several = len({cta for cta, _ in reached}) > 1
        for cta, barrier in reached:
            clock = clocks.copy(self.clock)
            if several:
                clocks.tick(clock, machine.thread(f"arrivals at CTA {cta}", worker))
            self._job(partial(_arrive, barrier, worker.actor(clock)))
        worker.release()

    def wait(self, pending: int) -> None:
        """Wait for all products but the last `pending`."""
        last = None
        while len(self._open) > pending:
            last, count = self._open.popleft()
        if last is not None:
            self._machine.jobs.force(last, self._queue)
            worker = self._worker
            self._machine.clocks.learn(worker.clock, self.thread, count, worker.at.candidate)

    def _job(self, run: Callable[[], None], *, clean: bool = True) -> Job:
        worker = self._worker
        return self._machine.jobs.issue(Job(run, worker.at, worker.name, clean), self._queue)


def _arrive(barrier: CheckedBarrier, actor: Actor) -> None:
    barrier.arrive(1, actor)
    barrier.clocks.free(actor.clock)


# From this many products on, those that are done are dropped from the list of open ones.
_OPEN = 64


class Dots:
    """wgmma: products of registers and shared memory into registers."""

    def __init__(self, worker: Worker) -> None:
        self._products = Products(worker, "wgmma")

    def issue(self, reads: tuple[View, ...], compute: Callable[[], Tensor]) -> PendingDot:
        """Put a product under way."""
        dot = PendingDot(compute)

        def run() -> None:
            dot.value = compute()

        self._products.issue(reads, (), run)
        return dot

    def wait(self, pending: int) -> None:
        """Wait for all products but the last `pending`."""
        self._products.wait(pending)


@dataclass(eq=False)
class _Group:
    jobs: list[Job]
    count: int


# Groups that are remembered for the worlds without one of their commits.
_COMMITS = 64


class Transfers:
    """Unordered transfers that end in groups: cp.async copies, or bulk stores.

    Args:
        worker: whose they are.
        kind: for messages.
    """

    def __init__(self, worker: Worker, kind: str) -> None:
        self._worker = worker
        self._machine = worker.machine
        self.thread = self._machine.thread(kind, worker)
        self._jobs: list[Job] = []
        self._groups: deque[_Group] = deque()
        self._commits: deque[tuple[int, int]] = deque(maxlen=_COMMITS)
        self._committers: set[int] = set()

    def begin(self) -> tuple[int, int, int]:
        """Return clock, thread and count of a transfer that is about to be issued."""
        clocks = self._machine.clocks
        clock = clocks.copy(self._worker.clock)
        # The clock lacks the epoch: transfers of one thread are not ordered among each other.
        return clock, self.thread, clocks.epoch(self.thread)

    def issue(self, run: Callable[[], None], clock: int, *, clean: bool) -> None:
        """Put the transfer under way; `begin` made its clock."""
        worker = self._worker
        self._machine.clocks.free(clock)
        worker.release()
        self._machine.note(self.thread, worker)
        job = Job(run, worker.at, worker.name, clean)
        self._jobs.append(self._machine.jobs.issue(job))

    def commit(self, candidate: int = ALWAYS) -> None:
        """Close the open group, even an empty one."""
        count = self._machine.clocks.counts[self.thread]
        self._groups.append(_Group(self._jobs, count))
        self._commits.append((candidate, count))
        if candidate != ALWAYS:
            self._committers.add(candidate)
        self._jobs = []

    def wait(self, pending: int, candidate: int = ALWAYS) -> None:
        """Wait for all groups but the last `pending`."""
        count = 0
        while len(self._groups) > pending:
            group = self._groups.popleft()
            count = group.count
            for job in group.jobs:
                self._machine.jobs.force(job)
        others = [(other, self._without(other, pending)) for other in self._committers]
        if count or others:
            clock = self._worker.clock
            self._machine.clocks.learn(clock, self.thread, count, candidate, others)

    def _without(self, committer: int, pending: int) -> int:
        """Return what a wait would cover if one operation closed no group: the next one does."""
        left = pending
        for other, count in reversed(self._commits):
            if other == committer:
                continue
            if left == 0:
                return count
            left -= 1
        return 0

    def outstanding(self) -> list[Job]:
        """Return what has been issued and no wait has covered."""
        return [job for group in self._groups for job in group.jobs] + self._jobs


class Stores(Transfers):
    """Bulk stores: they read shared memory, and some time later global memory is written."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(worker, "TMA stores")
        self._writes = self._machine.thread("global writes of TMA stores", worker)

    def writing(self, by: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return clock, thread and count of the write that belongs to a store."""
        return by[0], self._writes, self._machine.clocks.epoch(self._writes)

    def written(self, clock: int) -> bool:
        """Whether what knows a clock knows that every store has written."""
        clocks = self._machine.clocks
        return clocks.knows(clock, self._writes, clocks.counts[self._writes])

    def wait_stores(self, pending: int, candidate: int, *, written: bool) -> None:
        """Wait until all stores but the last `pending` have read, or also written."""
        self.wait(pending, candidate)
        clocks = self._machine.clocks
        done = clocks.counts[self._writes] - pending
        if written and done > 0:
            clocks.learn(self._worker.clock, self._writes, done, candidate)
