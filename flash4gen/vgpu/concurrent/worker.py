"""One partition while it runs: its barriers, its engines, and the partitions it starts.

Methods that may block return an iterable that the generated code delegates to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from flash4gen.vgpu.concurrent.agent import Agent
from flash4gen.vgpu.concurrent.barrier import BarrierWait, CheckedBarrier
from flash4gen.vgpu.concurrent.engines import Dots, Products, Stores, Transfers
from flash4gen.vgpu.concurrent.grid import GlobalWait
from flash4gen.vgpu.concurrent.jobs import Job, Policy
from flash4gen.vgpu.errors import FaultError, FindingKind

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from torch import Tensor

    from flash4gen.vgpu.concurrent.barrier import Blocked
    from flash4gen.vgpu.concurrent.machine import Machine
    from flash4gen.vgpu.engines import PendingDot
    from flash4gen.vgpu.onchip import View
    from flash4gen.vgpu.transfer import Transfer

# Threads of a warp.
_THREADS = 32

# Name, warps, function and arguments.
Partition = tuple[str, int, "Callable[..., Any]", tuple[Any, ...]]
# Which CTAs an arrival comes from, and to which it goes as well: masks of `ttng.arrive_barrier`.
Route = tuple[int | None, int]


class Worker(Agent):
    """A partition with all that it may use.

    Attributes:
        blocked: what it waits for, or None.
    """

    def __init__(self, machine: Machine, label: str, clock: int) -> None:
        super().__init__(machine, self._named(label), clock)
        self.label = label
        self.blocked: Blocked | None = None
        self.children: list[Worker] = []
        self.joining = False
        self.body: Generator[None, None, Any] | None = None
        self.done = False
        self.result: Any = None
        self._tensor: Products | None = None
        self._dots: Dots | None = None
        self._copies: Transfers | None = None
        self._stores: Stores | None = None

    def _named(self, label: str) -> str:
        """Return what messages call the partition of that label."""
        return label

    @property
    def ready(self) -> bool:
        """Whether it can go on."""
        if self.blocked is not None:
            return self.blocked.over
        return not self.joining or all(child.done for child in self.children)

    # --- global memory ------------------------------------------------------------------------

    def load(self, address: Tensor, mask: Any, other: Any, dtype: torch.dtype) -> Tensor:
        """Gather elements of global memory."""
        value = self.memory.load(address, mask, other, dtype)
        self.machine.watch.reads(self, address, mask, dtype.itemsize)
        return value

    def load_one(self, address: int, dtype: torch.dtype) -> Tensor:
        """Load one element of global memory."""
        return self.load(torch.tensor([address]), None, None, dtype)

    def store(self, address: Tensor, value: Tensor, mask: Tensor | None) -> None:
        """Scatter elements to global memory."""
        with self.machine.lenient(self.me):
            self.memory.store(address, value, mask, self.linear)
        self.machine.watch.writes(self, address, mask, value.dtype.itemsize)

    def update(
        self, address: Tensor, value: Tensor, mask: Tensor | None, combine: Callable[..., Tensor]
    ) -> Tensor:
        """Change elements of global memory atomically and return the old ones."""
        self.machine.step()
        self.machine.watch.trusted = True
        return self.memory.update(address, value, mask, combine)

    def publish(self) -> None:
        """Check that what TMA stores write has been written before other programs are told."""
        stores = self._stores
        if stores is not None and not stores.written(self.clock):
            self.report(
                FindingKind.RACE_GLOBAL,
                "global memory is released to other programs while TMA stores may still write",
            )

    def poll(self, address: int, expected: Tensor) -> Generator[None, None, bool]:
        """Wait until global memory holds a number that another program writes."""
        self.machine.step()
        self.machine.watch.trusted = True
        word = GlobalWait(self.memory, address, expected)
        self.blocked = word
        while not word.over:
            yield
        self.blocked = None
        return True

    # --- mbarriers ----------------------------------------------------------------------------

    def barrier(self, view: View) -> CheckedBarrier:
        """Return the mbarrier at a view; raises `FaultError` if there is none."""
        return self.machine.barrier(view)

    def init_barrier(self, view: View, count: int) -> Iterable[None]:
        """Make a barrier."""
        self.machine.step()
        self.machine.init_barrier(view, count, self)
        return ()

    def inval_barrier(self, view: View) -> None:
        """End the life of a barrier."""
        self.machine.step()
        self.machine.inval_barrier(view, self)

    def expect(self, view: View, size: int, route: Route | None = None) -> None:  # noqa: ARG002
        """Announce bytes to a barrier, and arrive; a route is for clusters."""
        self.announce(view, size)

    def announce(self, view: View, size: int) -> None:
        """Announce bytes to this very barrier, and arrive."""
        self.barrier(view).expect(size, self.me)
        self.arrive_at(view, 1)

    def arrive(
        self,
        view: View,
        count: int,
        *,
        threads: bool = False,
        route: Route | None = None,  # noqa: ARG002
    ) -> None:
        """Arrive at a barrier; if `threads`, that often for each thread of the partition."""
        self.arrive_at(view, count, threads=threads)

    def arrive_at(self, view: View, count: int, *, threads: bool = False) -> None:
        """Arrive at this very barrier."""
        self.begin()
        count *= self.warps * _THREADS if threads else 1
        self.barrier(view).arrive(count, self.me)
        self.release()

    def wait_barrier(self, view: View, parity: int) -> Iterable[None]:
        """Wait for the phase of a parity."""
        machine = self.machine
        self.begin()
        barrier = self.barrier(view)
        actor = self.me
        target = barrier.target(actor, parity)
        if machine.jobs.policy is Policy.RANDOM and machine.jobs.random.random() < 0.5:
            yield
        if barrier.phase <= target:
            self.blocked = BarrierWait(barrier, target)
            while barrier.phase <= target:
                yield
            self.blocked = None
        barrier.pass_wait(actor, target, self.thread)

    def fence(self) -> None:
        """Let the async proxy see the generic writes so far."""
        self.begin()
        self.machine.clocks.fence(self.clock, self.at.candidate)
        self.release()

    # --- named barriers -----------------------------------------------------------------------

    def arrive_named(self, number: int, threads: int) -> None:
        """Arrive at a named barrier."""
        self.begin()
        named = self.machine.named[self.rank]
        named.come(number, threads, self.warps, self.me, waits=False)
        self.release()

    def wait_named(self, number: int, threads: int) -> Iterable[None]:
        """Arrive at a named barrier and wait for the others."""
        self.begin()
        named, random = self.machine.named[self.rank], self.machine.jobs.random
        use = named.come(number, threads, self.warps, self.me, waits=True)
        self.release()
        if self.machine.jobs.policy is Policy.RANDOM and random.random() < 0.5:
            yield
        self.blocked = use
        while not use.over:
            yield
        self.blocked = None
        named.leave(use, self.clock, self.at.candidate)

    # --- cp.async -----------------------------------------------------------------------------

    @property
    def _copy_engine(self) -> Transfers:
        if self._copies is None:
            self._copies = Transfers(self, "cp.async copies")
        return self._copies

    def copy(self, target: View, fetch: Callable[[], Tensor]) -> None:
        """Start a cp.async; `fetch` gathers its source."""
        engine = self._copy_engine
        by = engine.begin()
        clean = self.touch(target, write=True, by=by, proxy=False)
        value = fetch()
        engine.issue(lambda: target.write(value), by[0], clean=clean)

    def commit_copies(self) -> None:
        """Close the open group."""
        self.begin()
        self._copy_engine.commit(self.at.candidate)

    def wait_copies(self, pending: int) -> None:
        """Wait for all groups but the last `pending`."""
        self.begin()
        self._copy_engine.wait(pending, self.at.candidate)

    def arrive_copies(self, view: View, *, counted: bool) -> None:
        """Arrive at a barrier when all cp.async so far are done.

        Each thread arrives; with `counted` it raises the pending count by one before, so that
        the phase waits for it without having been initialised for it.
        """
        self.begin()
        barrier = self.barrier(view)
        count = self.warps * _THREADS
        if counted:
            barrier.hold(count)
        clocks = self.machine.clocks
        engine = self._copy_engine
        clock = clocks.copy(self.clock)
        clocks.learn(clock, engine.thread, clocks.counts[engine.thread])
        actor = self.actor(clock)
        before = engine.outstanding()
        self.release()

        def run() -> None:
            for job in before:
                self.machine.jobs.force(job)
            barrier.arrive(count, actor)
            clocks.free(clock)

        self.machine.jobs.issue(Job(run, self.at, self.name))

    # --- TMA ----------------------------------------------------------------------------------

    def tma_load(
        self, target: View, where: View, source: Transfer, *, multicast: bool = False
    ) -> None:
        """Start a TMA load into shared memory; its bytes arrive at the barrier `where`."""
        if multicast:
            raise FaultError(FindingKind.UNSUPPORTED, "TMA multicast in a program of one CTA")
        self.incoming_box((target,), (where,), source)

    def incoming_box(
        self, targets: tuple[View, ...], wheres: tuple[View, ...], source: Transfer
    ) -> None:
        """Start one TMA load into the shared memory of one or several CTAs."""
        shape = targets[0].data.shape
        fetch = lambda: source.load(self.memory).reshape(shape)  # noqa: E731
        self.incoming(targets, wheres, fetch, source)

    def incoming(
        self,
        targets: tuple[View, ...],
        wheres: tuple[View, ...],
        fetch: Callable[[], Tensor],
        source: Transfer | None = None,
    ) -> None:
        """Start a write of the async proxy whose bytes arrive at barriers."""
        machine, clocks = self.machine, self.machine.clocks
        barriers = [self.barrier(where) for where in wheres]
        clock = clocks.copy(self.clock)
        thread = machine.lane(self)
        by = clock, thread, clocks.tick(clock, thread)
        for target in targets:
            self.touch(target, write=True, by=by)
        if source is not None:
            machine.watch.transfer(self, source, by, write=False)
        size = targets[0].data.numel() * targets[0].data.element_size()
        actor = self.actor(clock)
        for barrier in barriers:
            barrier.issue(size, actor)
        self.release()
        machine.note(thread, self)

        def run() -> None:
            value = fetch()
            for target, barrier in zip(targets, barriers, strict=True):
                target.write(value)
                barrier.deliver(size, actor)
            clocks.free(clock)

        machine.jobs.issue(Job(run, self.at, self.name))

    @property
    def _store_engine(self) -> Stores:
        if self._stores is None:
            self._stores = Stores(self)
        return self._stores

    def tma_store(self, source: View, target: Transfer) -> None:
        """Start a TMA store of shared memory."""
        engine = self._store_engine
        by = engine.begin()
        clean = self.touch(source, write=False, by=by)
        self.machine.watch.transfer(self, target, engine.writing(by), write=True)
        engine.issue(
            lambda: target.store(self.memory, self.value(source), self.linear), by[0], clean=clean
        )
        engine.commit()

    def wait_stores(self, pending: int, *, written: bool) -> None:
        """Wait until all stores but the last `pending` have read their source, or `written`."""
        self.begin()
        self._store_engine.wait_stores(pending, self.at.candidate, written=written)

    def try_cancel(self, target: View, where: View) -> None:
        """Ask for the id of a program that has not started; 16 bytes arrive at the barrier."""
        answer = torch.tensor(self.machine.cancel(), dtype=torch.int64)
        self.incoming((target,), (where,), lambda: answer)

    # --- tensor core --------------------------------------------------------------------------

    def dot(self, reads: tuple[View, ...], compute: Callable[[], Tensor]) -> PendingDot:
        """Start a wgmma."""
        if self._dots is None:
            self._dots = Dots(self)
        return self._dots.issue(reads, compute)

    def wait_dots(self, pending: int) -> None:
        """Wait for all wgmma but the last `pending`."""
        self.begin()
        if self._dots is not None:
            self._dots.wait(pending)

    @property
    def tensor(self) -> Products:
        """The tensor core's queue of this partition."""
        if self._tensor is None:
            self._tensor = Products(self, "tensor core products")
        return self._tensor

    def multiply(
        self,
        operands: tuple[View, ...],
        d: View,
        product: Callable[..., Tensor],
        *,
        accumulate: bool,
        pair: bool,
    ) -> None:
        """Start a product into tensor memory."""
        if pair:
            raise FaultError(FindingKind.UNSUPPORTED, "products of two CTAs in a program of one")

        def run() -> None:
            start = self.value(d) if accumulate else None
            d.write(product(tuple([self.value(view) for view in operands]), start, d.data))

        self.tensor.issue(operands, (d,), run)

    def transfer(self, source: View, target: View) -> None:
        """Start a copy from shared to tensor memory, in order with the products."""
        self.tensor.issue((source,), (target,), lambda: target.write(self.value(source)))

    def commit(self, views: tuple[View, ...], *, everywhere: bool) -> None:  # noqa: ARG002
        """Arrive at barriers when all products so far are done."""
        self.begin()
        self.tensor.arrive((0, self.barrier(view)) for view in views)

    # --- partitions ---------------------------------------------------------------------------

    def child(self, name: str) -> Worker:
        """Return a new partition that knows what this one knows."""
        return type(self)(self.machine, name, self.machine.clocks.copy(self.clock))

    def absorb(self, child: Worker) -> None:
        """Learn what a partition knew at its end."""
        self.machine.clocks.join(self.clock, child.clock)
        self.machine.clocks.free(child.clock)

    def fork(self, partitions: Sequence[Partition]) -> None:
        """Start partitions."""
        for name, warps, function, arguments in partitions:
            child = self.machine.start(self.child(name), function, arguments)
            child.warps = warps
            self.children.append(child)
        self.release()
        self.name = self._named("default")

    def join(self) -> Iterable[None]:
        """Wait for the partitions."""
        self.joining = True
        while not self.ready:
            yield
        self.joining = False
        for child in self.children:
            self.absorb(child)
            self.machine.finish(child)
        self.children = []
        self.name = self._named(self.label)
