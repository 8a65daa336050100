"""One partition while it runs: it does what the operations ask, and every access is checked.

It offers the operations what `flash4gen.vgpu.cta.Cta` offers them. Methods that may block return
an iterable that the generated code delegates to.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from flash4gen.vgpu.concurrent.barrier import Actor, CheckedBarrier
from flash4gen.vgpu.concurrent.engines import Dots, Products, Stores, Transfers
from flash4gen.vgpu.concurrent.footprint import footprint
from flash4gen.vgpu.concurrent.history import Access
from flash4gen.vgpu.concurrent.jobs import Job, Policy
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.onchip import EMPTY, SKIPPED, Buffer, View

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from torch import Tensor

    from flash4gen.vgpu.concurrent.machine import Machine
    from flash4gen.vgpu.concurrent.sites import Site
    from flash4gen.vgpu.engines import PendingDot
    from flash4gen.vgpu.parse.tree import MemDescType
    from flash4gen.vgpu.transfer import Transfer

# Threads of a warp.
_THREADS = 32
_RACE = {"smem": FindingKind.RACE_SMEM, "tmem": FindingKind.RACE_TMEM}


# Name, warps, function and arguments.
Partition = tuple[str, int, "Callable[..., Any]", tuple[Any, ...]]


class Worker:
    """A partition of a program, or the program itself where it has none.

    Attributes:
        at: the operation that runs; set by the generated code.
        blocked: the barrier and the phase it waits for, or None.
    """

    def __init__(self, machine: Machine, name: str, clock: int) -> None:
        self.machine = machine
        self.name = name
        self.clock = clock
        self.thread = machine.thread("partition", self)
        machine.clocks.tick(clock, self.thread)
        self.at: Site = machine.origin
        self.blocked: tuple[CheckedBarrier, int] | None = None
        self.children: list[Worker] = []
        self.joining = False
        self.body: Generator[None, None, Any] | None = None
        self.done = False
        self.result: Any = None
        self.memory = machine.memory
        self.program = machine.program
        self.grid = machine.grid
        self.linear = machine.linear
        self.warps = machine.settings.warps
        self.tensormaps = machine.tensormaps
        self.take_scratch = machine.take_scratch
        self._tensor: Products | None = None
        self._dots: Dots | None = None
        self._copies: Transfers | None = None
        self._stores: Stores | None = None

    @property
    def ready(self) -> bool:
        """Whether it can go on."""
        if self.blocked is not None:
            barrier, target = self.blocked
            return barrier.phase > target
        return not self.joining or all(child.done for child in self.children)

    # --- clocks -------------------------------------------------------------------------------

    def release(self) -> None:
        """Begin a new epoch: what follows is not known to those who learn what came before."""
        self.machine.clocks.tick(self.clock, self.thread)

    def begin(self) -> None:
        """Count a synchronising operation."""
        self.machine.step()
        self.machine.executed.add(self.at.candidate)

    def actor(self, clock: int) -> Actor:
        """Return this partition, at the operation that runs, with what a clock knows."""
        return Actor(self.at, self.name, clock)

    def report(
        self, kind: FindingKind, message: str, other: tuple[Site, str] | None = None
    ) -> None:
        """File a finding of the operation that runs."""
        self.machine.report(kind, message, self.actor(self.clock), other)

    def turn(self) -> None:
        """Count a turn of a loop."""
        self.machine.step()

    # --- accesses -----------------------------------------------------------------------------

    def touch(
        self, view: View, *, write: bool, by: tuple[int, int, int] | None = None, proxy: bool = True
    ) -> bool:
        """Check an access and remember it; return whether it collided with nothing.

        Args:
            view: what is accessed.
            write: whether it is written.
            by: clock, thread and count of a transfer or product; None is this partition.
            proxy: whether such a transfer goes through the async proxy.
        """
        self.machine.step()
        clocks = self.machine.clocks
        clock, thread, count = by or (self.clock, self.thread, clocks.counts[self.thread])
        where = view.footprint
        if where is None:
            where = view.footprint = footprint(view.data)
        access = Access(
            footprint=where,
            write=write,
            asynchronous=by is not None and proxy,
            thread=thread,
            count=count,
            clock=clock,
            site=self.at,
            partition=self.name,
        )
        collisions = self.machine.history(view.buffer).add(clocks, access)
        for collision in collisions:
            earlier = collision.earlier
            kind = _RACE[view.buffer.space] if collision.fenced else FindingKind.MISSING_FENCE
            what = _verb(access) + " " + ("while" if collision.fenced else "after")
            why = (
                f"{what} nothing orders it with {_noun(earlier)}"
                if collision.fenced
                else f"{what} {_noun(earlier)}, without fence_async_shared between them"
            )
            place = f"{view.buffer.space} of {view.name}, {access.footprint}, is "
            self.report(kind, place + why, (earlier.site, earlier.partition))
        return not collisions

    def read(self, view: View) -> Tensor:
        """Return a copy of a view's elements."""
        clean = self.touch(view, write=False)
        return self._filled(view, self.actor(self.clock), clean=clean).clone()

    def value(self, view: View) -> Tensor:
        """Return a view's elements for the job that runs."""
        job = self.machine.job
        return self._filled(view, Actor(job.site, self.name, 0), clean=job.clean)

    def _filled(self, view: View, actor: Actor, *, clean: bool) -> Tensor:
        """Return elements; what nobody wrote is poison, and a finding if there is no other."""
        if view.ready:
            return view.data
        if clean and view.holds(EMPTY):
            self.machine.report(
                FindingKind.UNINITIALISED,
                f"{view.buffer.space} of {view.name} is read and was never written",
                actor,
            )
        return view.patched((EMPTY, SKIPPED))

    def write(self, view: View, value: Tensor) -> None:
        """Store a tensor."""
        self.touch(view, write=True)
        view.write(value)

    def skip(self, view: View) -> None:
        """Note that a predicated-off write would have come here."""
        self.machine.step()
        view.skip()

    def allocate(self, kind: MemDescType, dtype: torch.dtype, size: int, name: str) -> View:  # noqa: ARG002
        """Return a new allocation."""
        return self.allocate_local(kind, kind.shape, dtype, name)

    def allocate_local(
        self, kind: MemDescType, shape: tuple[int, ...], dtype: torch.dtype, name: str
    ) -> View:
        """Return a new allocation of what one CTA holds of a tensor."""
        buffer = Buffer(kind.space, math.prod(shape) * dtype.itemsize, name)
        return buffer.view(shape, dtype, kind.layout)

    def deallocate(self, view: View) -> None:
        """Give an allocation back: nobody may use it any more, or still be using it."""
        self.touch(view, write=True)
        view.mark(EMPTY)

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
        with self.machine.lenient(self.actor(self.clock)):
            self.memory.store(address, value, mask, self.linear)
        self.machine.watch.writes(self, address, mask, value.dtype.itemsize)

    def update(
        self, address: Tensor, value: Tensor, mask: Tensor | None, combine: Callable[..., Tensor]
    ) -> Tensor:
        """Change elements of global memory atomically and return the old ones."""
        self.machine.step()
        self.machine.watch.trusted = True
        return self.memory.update(address, value, mask, combine)

    # --- mbarriers ----------------------------------------------------------------------------

    def barrier(self, view: View) -> CheckedBarrier:
        """Return the mbarrier at a view; raises `FaultError` if there is none."""
        return self.machine.barrier(view)

    def init_barrier(self, view: View, count: int) -> None:
        """Make a barrier."""
        self.machine.step()
        self.machine.init_barrier(view, count, self)

    def inval_barrier(self, view: View) -> None:
        """End the life of a barrier."""
        self.machine.step()
        self.machine.inval_barrier(view, self)

    def expect(self, view: View, size: int) -> None:
        """Announce bytes to a barrier, and arrive."""
        barrier = self.barrier(view)
        barrier.expect(size, self.actor(self.clock))
        self.arrive(view, 1)

    def arrive(self, view: View, count: int, *, threads: bool = False) -> None:
        """Arrive at a barrier; if `threads`, that often for each thread of the partition."""
        self.begin()
        count *= self.warps * _THREADS if threads else 1
        self.barrier(view).arrive(count, self.actor(self.clock))
        self.release()

    def wait_barrier(self, view: View, parity: int) -> Iterable[None]:
        """Wait for the phase of a parity."""
        machine = self.machine
        self.begin()
        barrier = self.barrier(view)
        actor = self.actor(self.clock)
        target = barrier.target(actor, parity)
        if machine.jobs.policy is Policy.RANDOM and machine.jobs.random.random() < 0.5:
            yield
        while barrier.phase <= target:
            self.blocked = barrier, target
            yield
        self.blocked = None
        barrier.pass_wait(actor, target, self.thread)

    def fence(self) -> None:
        """Let the async proxy see the generic writes so far."""
        self.begin()
        self.machine.clocks.fence(self.clock, self.at.candidate)
        self.release()

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
        a: View,
        b: View,
        d: View,
        product: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        *,
        accumulate: bool,
        pair: bool,
    ) -> None:
        """Start a product into tensor memory."""
        if pair:
            raise FaultError(FindingKind.UNSUPPORTED, "products of two CTAs in a program of one")

        def run() -> None:
            start = self.value(d) if accumulate else None
            d.write(product(self.value(a), self.value(b), start))

        self.tensor.issue((a, b), (d,), run)

    def transfer(self, source: View, target: View) -> None:
        """Start a copy from shared to tensor memory, in order with the products."""
        self.tensor.issue((source,), (target,), lambda: target.write(self.value(source)))

    def commit(self, views: tuple[View, ...], *, everywhere: bool) -> None:  # noqa: ARG002
        """Arrive at barriers when all products so far are done."""
        self.begin()
        self.tensor.arrive(tuple(self.barrier(view) for view in views))

    # --- partitions ---------------------------------------------------------------------------

    def child(self, name: str) -> Worker:
        """Return a new partition that knows what this one knows."""
        return Worker(self.machine, name, self.machine.clocks.copy(self.clock))

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
        self.name = "default"

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
        self.name = ""

    def close(self) -> int:
        """Return what is known at the end."""
        return self.clock


def _verb(access: Access) -> str:
    return "written" if access.write else "read"


def _noun(access: Access) -> str:
    what = "write" if access.write else "read"
    return f"an asynchronous {what}" if access.asynchronous else f"a {what}"
