"""Clusters: the same partition on one CTA of several, which runs by itself.

Each CTA has memories, engines, barriers, registers and clocks of its own and goes on as its own
waits allow, so that any skew between CTAs can happen. An allocation is made on all CTAs at once;
a view of it has a twin on every other CTA, which is how one reaches the memory of another. CTAs
meet at cluster barriers, where elements change hands, and where barriers are initialised: Triton
makes initialisations known to the cluster and keeps it together at the end, and that is taken as
given. Nothing else but barriers orders one CTA with another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from flash4gen.vgpu.concurrent.clocks import ALWAYS
from flash4gen.vgpu.concurrent.jobs import Job
from flash4gen.vgpu.concurrent.worker import Worker
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.lowering import unsupported
from flash4gen.vgpu.onchip import Buffer
from flash4gen.vgpu.split import Split, split_of_layout
from flash4gen.vgpu.spread import join
from flash4gen.vgpu.transfer import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from torch import Tensor

    from flash4gen.vgpu.concurrent.machine import Machine
    from flash4gen.vgpu.concurrent.sites import Site
    from flash4gen.vgpu.concurrent.worker import Route
    from flash4gen.vgpu.onchip import View
    from flash4gen.vgpu.parse.tree import MemDescType
    from flash4gen.vgpu.transfer import Transfer

_PAIR = 2


@dataclass(eq=False)
class Meeting:
    """Where the CTAs of a cluster wait for each other; each leaves something for the others.

    Attributes:
        size: CTAs that must come.
        site: the operation at which they meet.
        number: of the meeting, among those of the partition.
        left: what each has left, by its rank.
        gone: how many have gone on.
    """

    size: int
    site: Site
    number: int
    left: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    gone: int = 0

    @property
    def over(self) -> bool:
        """Whether all have come."""
        return len(self.left) == self.size

    def reasons(self) -> list[tuple[FindingKind, str]]:
        """Say who does not come."""
        missing = [str(cta) for cta in range(self.size) if cta not in self.left]
        message = f"the CTAs of the cluster meet here, and CTA {', '.join(missing)} does not come"
        return [(FindingKind.DEADLOCK, message)]


@dataclass(eq=False)
class Meetings:
    """The meetings under way, and allocations that not every CTA has made yet.

    Both are counted by CTA and partition: the k-th of one CTA is that of the others.
    """

    size: int
    _counts: dict[object, int] = field(default_factory=dict)
    _open: dict[tuple[str, int], Meeting] = field(default_factory=dict)
    _buffers: dict[tuple[str, Site, int], dict[int, Buffer]] = field(default_factory=dict)

    def _count(self, key: object) -> int:
        self._counts[key] = number = self._counts.get(key, 0) + 1
        return number

    def come(self, label: str, rank: int, site: Site) -> Meeting:
        """Return the next meeting of a CTA's partition."""
        number = self._count((label, rank))
        meeting = self._open.setdefault((label, number), Meeting(self.size, site, number))
        if meeting.site is not site:
            raise FaultError(
                FindingKind.DEADLOCK,
                "the CTAs of the cluster meet at different operations: another is at "
                f"{meeting.site.operation.name}, TTGIR line {meeting.site.operation.line}",
            )
        return meeting

    def go(self, label: str, meeting: Meeting) -> bool:
        """Leave a meeting; whether everyone has left."""
        meeting.gone += 1
        if meeting.gone < self.size:
            return False
        del self._open[label, meeting.number]
        return True

    def buffer(self, label: str, rank: int, site: Site, make: Callable[[], Buffer]) -> Buffer:
        """Return a CTA's part of an allocation, which the first that comes makes for all."""
        key = label, site, self._count((label, site, rank))
        waiting = self._buffers.get(key)
        if waiting is None:
            twins = tuple(make() for _ in range(self.size))
            for buffer in twins:
                buffer.twins = twins
            waiting = self._buffers[key] = dict(enumerate(twins))
        mine = waiting.pop(rank)
        if not waiting:
            del self._buffers[key]
        return mine


class Member(Worker):
    """A partition on one CTA of a cluster.

    Args:
        machine: of the program.
        label: of the partition; the same on every CTA.
        clock: what it knows at first.
        rank: of its CTA.
    """

    def __init__(self, machine: Machine, label: str, clock: int, rank: int) -> None:
        self.rank = rank
        super().__init__(machine, label, clock)
        self.ctas = machine.settings.ctas

    def _named(self, label: str) -> str:
        return f"{label} of CTA {self.rank}" if label else f"CTA {self.rank}"

    def child(self, name: str) -> Member:
        """Return a new partition of this CTA that knows what this one knows."""
        return type(self)(self.machine, name, self.machine.clocks.copy(self.clock), self.rank)

    # --- the other CTAs -----------------------------------------------------------------------

    def meet(
        self, values: tuple[Any, ...] = (), *, ordered: bool = True, candidate: int = ALWAYS
    ) -> Generator[None, None, list[tuple[Any, ...]]]:
        """Wait for the same partition on all CTAs and return what each left, by rank.

        Args:
            values: what to leave.
            ordered: whether each learns what the others know.
            candidate: of the edges that this adds.
        """
        self.machine.step()
        clocks = self.machine.clocks
        meeting = self.machine.meetings.come(self.label, self.rank, self.at)
        meeting.left[self.rank] = (clocks.copy(self.clock), values)
        self.release()
        self.blocked = meeting
        while not meeting.over:
            yield
        self.blocked = None
        left = [meeting.left[rank] for rank in range(self.ctas)]
        if ordered:
            for rank, (clock, _) in enumerate(left):
                if rank != self.rank:
                    clocks.join(self.clock, clock, candidate)
        if self.machine.meetings.go(self.label, meeting):
            for clock, _ in left:
                clocks.free(clock)
        return [values for _, values in left]

    def cluster_barrier(self, *, relaxed: bool) -> Iterable[None]:
        """Wait for all CTAs; unless `relaxed`, learn what each knows."""
        self.begin()
        yield from self.meet(ordered=not relaxed, candidate=self.at.candidate)

    def _split(self, view: View) -> Split:
        return split_of_layout(view.layout, self.ctas)

    def _on(self, view: View, rank: int) -> View:
        """Return the same view on another CTA."""
        return view if rank == self.rank else view.twin(rank)

    def _home(self, view: View, rank: int | None = None) -> View:
        """Return the barrier that a CTA uses: its own, or that of the first it shares it with."""
        return self._on(view, self._split(view).first(self.rank if rank is None else rank))

    def _shares(self, view: View) -> bool:
        return len(set(self._split(view).places)) < self.ctas

    # --- on-chip memory -----------------------------------------------------------------------

    def allocate_local(
        self, kind: MemDescType, shape: tuple[int, ...], dtype: torch.dtype, name: str
    ) -> View:
        """Return this CTA's part of a new allocation on all."""
        size = torch.Size(shape).numel() * dtype.itemsize
        buffer = self.machine.meetings.buffer(
            self.label, self.rank, self.at, lambda: Buffer(kind.space, size, name)
        )
        return buffer.view(shape, dtype, kind.layout)

    def _overlaps(
        self, split: Split, shape: tuple[int, ...], view: View
    ) -> Iterator[tuple[int, _Overlap]]:
        """Yield whose memory of a view holds which of the elements of this CTA's block."""
        held = self._split(view)
        mine = split.window(self.rank, shape)
        for cta in range(self.ctas):
            found = _overlap(mine, held.window(cta, tuple(view.data.shape)))
            if found is not None:
                yield cta, found

    def read_across(self, view: View, split: Split, shape: tuple[int, ...]) -> Tensor:
        """Return this CTA's block of a tensor out of the memory of all CTAs."""
        value = torch.empty(shape, dtype=view.data.dtype)
        for cta, at in self._overlaps(split, shape, view):
            value[at.block] = self.read(_narrowed(self._on(view, cta), at.memory))
        return value

    def write_across(self, view: View, split: Split, value: Tensor) -> None:
        """Store this CTA's block of a tensor in the memory of all CTAs."""
        for cta, at in self._overlaps(split, tuple(value.shape), view):
            self.write(_narrowed(self._on(view, cta), at.memory), value[at.block])

    # --- barriers -----------------------------------------------------------------------------

    def init_barrier(self, view: View, count: int) -> Iterable[None]:
        """Make a barrier, one that is shared on the first CTA for the arrivals of all."""
        split = self._split(view)
        epoch = self.thread, self.machine.clocks.counts[self.thread]
        if split.first(self.rank) == self.rank:
            sharers = split.places.count(split.places[self.rank])
            self.machine.init_barrier(view, count * sharers, self)
        for thread, known in (yield from self.meet(epoch, ordered=False)):
            self.machine.clocks.learn(self.clock, thread, known)

    def inval_barrier(self, view: View) -> None:
        """End the life of a barrier."""
        if self._split(view).first(self.rank) == self.rank:
            super().inval_barrier(view)

    def expect(self, view: View, size: int, route: Route | None = None) -> None:
        """Announce bytes to the barriers that a route leads to."""
        for barrier in self._routed(view, route):
            self.announce(barrier, size)

    def arrive(
        self, view: View, count: int, *, threads: bool = False, route: Route | None = None
    ) -> None:
        """Arrive at the barriers that a route leads to."""
        for barrier in self._routed(view, route):
            self.arrive_at(barrier, count, threads=threads)

    def _routed(self, view: View, route: Route | None) -> list[View]:
        """Return the barriers that an arrival of this CTA reaches: without a route, its own."""
        kept, multicast = route or (None, 0)
        everyone = range(self.ctas)
        if multicast:
            reached = [cta for cta in everyone if not (cta ^ self.rank) & ~multicast]
        elif kept is not None and kept != self.ctas - 1:
            reached = [cta for cta in everyone if cta & kept == self.rank]
        else:
            return [self._home(view)]
        if self._shares(view):
            raise unsupported("arrivals from other CTAs at a barrier that CTAs share")
        return [self._on(view, cta) for cta in reached]

    def wait_barrier(self, view: View, parity: int) -> Iterable[None]:
        """Wait for the phase of a parity; of the CTAs that share a barrier, only the first does."""
        if self._split(view).first(self.rank) == self.rank:
            yield from super().wait_barrier(view, parity)

    def arrive_copies(self, view: View, *, counted: bool) -> None:
        """Arrive at a barrier when all cp.async so far are done."""
        super().arrive_copies(self._home(view), counted=counted)

    # --- transfers ----------------------------------------------------------------------------

    def _own(self, view: View, box: Transfer) -> Transfer:
        """Return this CTA's block of a box."""
        shape = tuple(view.data.shape)
        if not isinstance(box, Box) or len(box.shape) != len(shape):
            raise unsupported("transfers of a cluster that change rank, and gathers")
        window = self._split(view).window(self.rank, shape)
        starts = tuple(c + (w.start or 0) for c, w in zip(box.coordinates, window, strict=True))
        return Box(box.descriptor, starts, shape, box.combine)

    def tma_load(
        self, target: View, where: View, source: Transfer, *, multicast: bool = False
    ) -> None:
        """Start this CTA's load; with `multicast`, one for all that hold the same block."""
        box, places = self._own(target, source), self._split(target).places
        peers = [cta for cta in range(self.ctas) if places[cta] == places[self.rank]]
        if not multicast:
            peers = [self.rank]
        elif peers[0] != self.rank:
            return
        targets = tuple(self._on(target, peer) for peer in peers)
        self.incoming_box(targets, tuple(self._home(where, peer) for peer in peers), box)

    def tma_store(self, source: View, target: Transfer) -> None:
        """Start this CTA's store; what several hold, the first stores."""
        box = self._own(source, target)
        if self._split(source).first(self.rank) == self.rank:
            super().tma_store(source, box)

    def try_cancel(self, target: View, where: View) -> None:
        """Let the first CTA ask for a program, and every CTA have the answer."""
        if self.rank == 0:
            everyone = range(self.ctas)
            answer = torch.tensor(self.machine.cancel(), dtype=torch.int64)
            targets = tuple(self._on(target, cta) for cta in everyone)
            wheres = tuple(self._home(where, cta) for cta in everyone)
            self.incoming(targets, wheres, lambda: answer)

    def store_async(self, value: Tensor, split: Split, target: View, where: View) -> None:
        """Send the elements of this CTA to the CTAs that hold them in shared memory."""
        if split.first(self.rank) != self.rank:
            raise unsupported("ttng.async_shared_store of elements that several CTAs hold")
        for cta, at in self._overlaps(split, tuple(value.shape), target):
            part = _narrowed(self._on(target, cta), at.memory)
            self._send(value[at.block], part, self._home(where, cta))

    def _send(self, value: Tensor, target: View, where: View) -> None:
        """Start a store of threads whose bytes arrive at a barrier."""
        clocks = self.machine.clocks
        barrier, clock = self.barrier(where), clocks.copy(self.clock)
        thread = self.machine.lane(self)
        by = clock, thread, clocks.tick(clock, thread)
        self.touch(target, write=True, by=by, proxy=False)
        size, actor = value.numel() * value.element_size(), self.actor(clock)
        barrier.issue(size, actor)
        self.release()
        self.machine.note(thread, self)

        def run() -> None:
            target.write(value)
            barrier.deliver(size, actor)
            clocks.free(clock)

        self.machine.jobs.issue(Job(run, self.at, self.name))

    # --- products -----------------------------------------------------------------------------

    @property
    def _leads(self) -> bool:
        """Whether it is the first of its pair."""
        return self.rank % _PAIR == 0

    def _pair(self, view: View) -> tuple[View, ...]:
        return self._on(view, self.rank), self._on(view, self.rank + 1)

    def _joined(self, views: Sequence[View]) -> Tensor:
        """Return what a pair holds, for the job that runs."""
        split = self._split(views[0])
        places = split.places[self.rank : self.rank + _PAIR]
        low = tuple(min(axis) for axis in zip(*places, strict=True))
        near = [tuple(p - o for p, o in zip(place, low, strict=True)) for place in places]
        counts = tuple(max(axis) + 1 for axis in zip(*near, strict=True))
        return join([self.value(view) for view in views], counts, near)

    def multiply(
        self,
        operands: tuple[View, ...],
        d: View,
        product: Callable[..., Tensor],
        *,
        accumulate: bool,
        pair: bool,
    ) -> None:
        """Start a product of this CTA, or one of the pair, which its first CTA issues."""
        if not pair:
            super().multiply(operands, d, product, accumulate=accumulate, pair=False)
            return
        if not self._leads:
            return
        both, both_d = [self._pair(view) for view in operands], self._pair(d)
        rows = d.shape[-2]

        def run() -> None:
            start = self._joined(both_d) if accumulate else None
            whole = product(tuple(self._joined(views) for views in both), start)
            for number, part in enumerate(both_d):
                part.write(whole[number * rows : (number + 1) * rows])

        if self._split(d).counts[-2:] != (self.ctas, 1):
            raise unsupported("a product of two CTAs whose rows are not split between them")
        self.tensor.issue(tuple(view for views in both for view in views), both_d, run)

    def transfer(self, source: View, target: View) -> None:
        """Start a copy from shared to tensor memory; a pair's first CTA copies for both."""
        if not self.machine.settings.pair:
            super().transfer(source, target)
        elif self._leads:
            for one, two in zip(self._pair(source), self._pair(target), strict=True):
                super().transfer(one, two)

    def commit(self, views: tuple[View, ...], *, everywhere: bool) -> None:
        """Arrive behind the products: at this CTA's barriers, the pair's, or `everywhere`."""
        pair = self.machine.settings.pair
        if pair and not self._leads:
            return
        reached = range(self.rank, self.rank + (_PAIR if pair else 1))
        if everywhere:
            if self.ctas > _PAIR:
                raise unsupported("commits to other CTAs in clusters of more than two")
            reached = range(self.ctas)
        self.begin()
        self.tensor.arrive(
            (cta, self.barrier(self._home(view, cta))) for view in views for cta in reached
        )


@dataclass(frozen=True, slots=True)
class _Overlap:
    """Elements of a tensor's block that lie in one CTA's memory, as places in both."""

    block: tuple[slice, ...]
    memory: tuple[slice, ...]


def _overlap(mine: tuple[slice, ...], theirs: tuple[slice, ...]) -> _Overlap | None:
    """Return where two windows of one tensor overlap."""
    block, memory = [], []
    for a, b in zip(mine, theirs, strict=True):
        low, high = max(a.start, b.start), min(a.stop, b.stop)
        if low >= high:
            return None
        block.append(slice(low - a.start, high - a.start))
        memory.append(slice(low - b.start, high - b.start))
    return _Overlap(tuple(block), tuple(memory))


def _narrowed(view: View, at: tuple[slice, ...]) -> View:
    key = ("part", *((part.start, part.stop) for part in at))
    return view.derive(key, view.layout, lambda tensor: tensor[at])
