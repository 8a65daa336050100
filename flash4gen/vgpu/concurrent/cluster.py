"""Clusters: one partition on all CTAs of a program.

The text describes tensors of the whole cluster. Each CTA has memories, engines, barriers and
clocks of its own; what is in registers exists once, and an operation runs on all CTAs in turn.
Nothing but barriers orders one CTA with another, so that any skew between them is checked, though
only one is run. Triton itself makes initialisations of barriers known to the cluster and keeps it
together at the end; both are taken as given.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from flash4gen.vgpu.concurrent.jobs import Policy
from flash4gen.vgpu.concurrent.worker import Worker
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.transfer import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from torch import Tensor

    from flash4gen.vgpu.concurrent.barrier import CheckedBarrier
    from flash4gen.vgpu.concurrent.machine import Machine
    from flash4gen.vgpu.concurrent.sites import Site
    from flash4gen.vgpu.concurrent.worker import Partition
    from flash4gen.vgpu.engines import PendingDot
    from flash4gen.vgpu.onchip import Transform, View
    from flash4gen.vgpu.parse.tree import MemDescType
    from flash4gen.vgpu.transfer import Transfer


@lru_cache(maxsize=512)
def places(layout: str, ctas: int) -> tuple[tuple[int, ...], ...]:
    """Return for every CTA which block of the tensor it holds, in the layout's dimensions."""
    written = re.search(r"CGALayout = (\[\[.*?\]\])", layout)
    bases = re.findall(r"\[([\d, ]+)\]", written.group(1)) if written else []
    vectors = [tuple(int(part) for part in base.split(",")) for base in bases]
    rank = len(vectors[0]) if vectors else 1
    found = []
    for cta in range(ctas):
        place = [0] * rank
        for bit, vector in enumerate(vectors):
            if cta >> bit & 1:
                place = [one + two for one, two in zip(place, vector, strict=True)]
        found.append(tuple(place))
    return tuple(found)


def _counts(layout: str, ctas: int) -> tuple[int, ...]:
    """Return how many blocks there are in each of the layout's dimensions."""
    return tuple(max(axis) + 1 for axis in zip(*places(layout, ctas), strict=True))


def local_shape(shape: tuple[int, ...], layout: str, ctas: int) -> tuple[int, ...]:
    """Return the shape that one CTA holds; leading dimensions are not split."""
    counts = _counts(layout, ctas)
    lead = len(shape) - len(counts)
    return shape[:lead] + tuple(n // k for n, k in zip(shape[lead:], counts, strict=True))


class ClusterView:
    """A view on every CTA; `parts` has one for each."""

    def __init__(self, parts: tuple[View, ...], layout: str) -> None:
        self.parts = parts
        self.layout = layout

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.parts[0].name

    @property
    def shared(self) -> bool:
        """Whether it is one thing for all CTAs, which the first one holds, as some barriers are."""
        return len(set(places(self.layout, len(self.parts)))) == 1

    def derive(self, key: object, layout: str, of: Transform) -> ClusterView:
        """Return the view that `of` makes of every part."""
        return ClusterView(tuple(part.derive(key, layout, of) for part in self.parts), layout)

    def of(self, cta: int) -> View:
        """Return the barrier that a CTA uses: its own, or the first one's if it is shared."""
        return self.parts[0 if self.shared else cta]

    def slices(self) -> Iterator[tuple[slice, ...]]:
        """Yield for every CTA which part of the whole tensor it holds."""
        shape = self.parts[0].data.shape
        for place in places(self.layout, len(self.parts)):
            lead = len(shape) - len(place)
            yield (slice(None),) * lead + tuple(
                slice(k * n, (k + 1) * n) for k, n in zip(place, shape[lead:], strict=True)
            )

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Return the whole tensor made of what the CTAs hold."""
        shape = self.parts[0].data.shape
        counts = _counts(self.layout, len(self.parts))
        lead = len(shape) - len(counts)
        whole = shape[:lead] + tuple(n * k for n, k in zip(shape[lead:], counts, strict=True))
        full = torch.empty(whole, dtype=values[0].dtype)
        for where, value in zip(self.slices(), values, strict=True):
            full[where] = value
        return full


class ClusterWorker:
    """A partition on all CTAs; offers what `Worker` offers, for views of the cluster."""

    def __init__(self, machine: Machine, name: str, clocks: Sequence[int]) -> None:
        self.machine = machine
        self.name = name
        self.agents = tuple(
            Worker(machine, f"{name} of CTA {cta}".strip(), clock)
            for cta, clock in enumerate(clocks)
        )
        first = self.agents[0]
        self.blocked: tuple[CheckedBarrier, int] | None = None
        self._pending: list[tuple[CheckedBarrier, int]] = []
        self.children: list[ClusterWorker] = []
        self.joining = False
        self.body: Generator[None, None, Any] | None = None
        self.done = False
        self.result: Any = None
        self.program, self.grid, self.linear = first.program, first.grid, first.linear
        self.memory, self.tensormaps = first.memory, first.tensormaps
        self.take_scratch = first.take_scratch
        self.load, self.load_one = first.load, first.load_one
        self.store, self.update = first.store, first.update
        self.turn = first.turn

    @property
    def at(self) -> Site:
        """The operation that runs."""
        return self.agents[0].at

    @at.setter
    def at(self, site: Site) -> None:
        for agent in self.agents:
            agent.at = site

    @property
    def clock(self) -> int:
        """The clock of the first CTA."""
        return self.agents[0].clock

    @property
    def warps(self) -> int:
        """Warps on each CTA."""
        return self.agents[0].warps

    @warps.setter
    def warps(self, count: int) -> None:
        for agent in self.agents:
            agent.warps = count

    @property
    def ready(self) -> bool:
        """Whether it can go on."""
        if self.blocked is not None:
            return all(barrier.phase > target for barrier, target in self._pending)
        return not self.joining or all(child.done for child in self.children)

    def actor(self, clock: int) -> Any:
        """Return the first CTA's partition, at the operation that runs."""
        return self.agents[0].actor(clock)

    def _pairs(self, view: ClusterView) -> Iterator[tuple[Worker, View]]:
        return zip(self.agents, view.parts, strict=True)

    def _arrivers(self, view: ClusterView) -> Iterator[tuple[Worker, View]]:
        for cta, agent in enumerate(self.agents):
            yield agent, view.of(cta)

    def _owners(self, view: ClusterView) -> list[tuple[Worker, View]]:
        """Return who makes and awaits a barrier: every CTA its own, the first a shared one."""
        return list(self._pairs(view))[: 1 if view.shared else None]

    # --- on-chip memory -----------------------------------------------------------------------

    def allocate(self, kind: MemDescType, dtype: torch.dtype, size: int, name: str) -> ClusterView:  # noqa: ARG002
        """Return a new allocation on every CTA; `size` is that of all together."""
        shape = local_shape(kind.shape, kind.layout, len(self.agents))
        parts = (agent.allocate_local(kind, shape, dtype, name) for agent in self.agents)
        return ClusterView(tuple(parts), kind.layout)

    def deallocate(self, view: ClusterView) -> None:
        """Give an allocation back."""
        for agent, part in self._pairs(view):
            agent.deallocate(part)

    def read(self, view: ClusterView) -> Tensor:
        """Return the whole tensor."""
        return view.join([agent.read(part) for agent, part in self._pairs(view)])

    def value(self, view: ClusterView) -> Tensor:
        """Return the whole tensor for the job that runs."""
        return view.join([agent.value(part) for agent, part in self._pairs(view)])

    def write(self, view: ClusterView, value: Tensor) -> None:
        """Store each CTA's part of a tensor."""
        for (agent, part), where in zip(self._pairs(view), view.slices(), strict=True):
            agent.write(part, value[where])

    def skip(self, view: ClusterView) -> None:
        """Note that a predicated-off write would have come here."""
        for agent, part in self._pairs(view):
            agent.skip(part)

    # --- barriers -----------------------------------------------------------------------------

    def init_barrier(self, view: ClusterView, count: int) -> None:
        """Make the barriers; a shared one takes the arrivals of every CTA."""
        clocks = self.machine.clocks
        times = len(self.agents) if view.shared else 1
        for maker, part in self._owners(view):
            epoch = maker.thread, clocks.counts[maker.thread]
            maker.init_barrier(part, count * times)
            for agent in self.agents:
                clocks.learn(agent.clock, *epoch)

    def inval_barrier(self, view: ClusterView) -> None:
        """End the life of the barriers."""
        for agent, part in self._owners(view):
            agent.inval_barrier(part)

    def expect(self, view: ClusterView, size: int) -> None:
        """Announce bytes of every CTA."""
        for agent, part in self._arrivers(view):
            agent.expect(part, size)

    def arrive(self, view: ClusterView, count: int, *, threads: bool = False) -> None:
        """Arrive from every CTA."""
        for agent, part in self._arrivers(view):
            agent.arrive(part, count, threads=threads)

    def wait_barrier(self, view: ClusterView, parity: int) -> Iterable[None]:
        """Wait on every CTA for its own barrier, on the first for a shared one."""
        self.agents[0].begin()
        jobs = self.machine.jobs
        waits = []
        for agent, part in self._owners(view):
            barrier, actor = agent.barrier(part), agent.actor(agent.clock)
            waits.append((agent, barrier, barrier.target(actor, parity)))
        if jobs.policy is Policy.RANDOM and jobs.random.random() < 0.5:
            yield
        self._pending = [(barrier, target) for _, barrier, target in waits]
        while unmet := [pair for pair in self._pending if pair[0].phase <= pair[1]]:
            self.blocked = unmet[0]
            yield
        self.blocked = None
        for agent, barrier, target in waits:
            barrier.pass_wait(agent.actor(agent.clock), target, agent.thread)

    def fence(self) -> None:
        """Let the async proxy of every CTA see its generic writes."""
        for agent in self.agents:
            agent.fence()

    def cluster_barrier(self) -> None:
        """Let all CTAs learn what each knows."""
        self.agents[0].begin()
        clocks, first, *rest = self.machine.clocks, *self.agents
        candidate = self.at.candidate
        before = [clocks.copy(agent.clock) for agent in self.agents]
        for agent in (first, *rest):
            for clock in before:
                if clock != agent.clock:
                    clocks.join(agent.clock, clock, candidate)
            agent.release()
        for clock in before:
            clocks.free(clock)

    # --- transfers ----------------------------------------------------------------------------

    def copy(self, target: ClusterView, fetch: Callable[[], Tensor]) -> None:
        """Start cp.async on every CTA."""
        value = fetch()
        for (agent, part), where in zip(self._pairs(target), target.slices(), strict=True):
            mine = value[where]
            agent.copy(part, lambda mine=mine: mine)  # type: ignore[misc]

    def commit_copies(self) -> None:
        """Close the open groups."""
        for agent in self.agents:
            agent.commit_copies()

    def wait_copies(self, pending: int) -> None:
        """Wait for all groups but the last `pending`."""
        for agent in self.agents:
            agent.wait_copies(pending)

    def _boxes(self, view: ClusterView, box: Transfer) -> list[Box]:
        if not isinstance(box, Box) or len(box.shape) != view.parts[0].data.dim():
            raise FaultError(
                FindingKind.UNSUPPORTED, "transfers of a cluster that change rank, and gathers"
            )
        shape = tuple(view.parts[0].data.shape)
        return [
            Box(
                box.descriptor,
                tuple(c + (w.start or 0) for c, w in zip(box.coordinates, where, strict=True)),
                shape,
                box.combine,
            )
            for where in view.slices()
        ]

    def tma_load(
        self, target: ClusterView, where: ClusterView, source: Transfer, *, multicast: bool = False
    ) -> None:
        """Start the loads of every CTA; with `multicast`, one for all that hold the same."""
        boxes = self._boxes(target, source)
        at = places(target.layout, len(self.agents))
        for cta, agent in enumerate(self.agents):
            peers = [other for other in range(len(at)) if at[other] == at[cta]]
            if not multicast:
                peers = [cta]
            elif peers[0] != cta:
                continue
            agent.incoming_box(
                tuple(target.parts[peer] for peer in peers),
                tuple(where.of(peer) for peer in peers),
                boxes[cta],
            )

    def tma_store(self, source: ClusterView, target: Transfer) -> None:
        """Start the stores of every CTA; what several hold, the first stores."""
        seen = set()
        boxes = self._boxes(source, target)
        for (agent, part), box in zip(self._pairs(source), boxes, strict=True):
            if box.coordinates not in seen:
                agent.tma_store(part, box)
            seen.add(box.coordinates)

    def wait_stores(self, pending: int, *, written: bool) -> None:
        """Wait for all stores but the last `pending`."""
        for agent in self.agents:
            agent.wait_stores(pending, written=written)

    # --- products -----------------------------------------------------------------------------

    def dot(self, reads: tuple[ClusterView, ...], compute: Callable[[], Tensor]) -> PendingDot:
        """Start a wgmma on every CTA; the first one's makes the value."""
        empty = torch.empty(0)
        dots = [
            agent.dot(tuple(view.parts[cta] for view in reads), (lambda: empty) if cta else compute)
            for cta, agent in enumerate(self.agents)
        ]
        return dots[0]

    def wait_dots(self, pending: int) -> None:
        """Wait for all wgmma but the last `pending`."""
        for agent in self.agents:
            agent.wait_dots(pending)

    def multiply(
        self,
        a: ClusterView,
        b: ClusterView,
        d: ClusterView,
        product: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        *,
        accumulate: bool,
        pair: bool,
    ) -> None:
        """Start a product of every CTA, or one of the pair, which the first issues."""
        if not pair:
            for cta, agent in enumerate(self.agents):
                agent.multiply(
                    a.parts[cta], b.parts[cta], d.parts[cta], product,
                    accumulate=accumulate, pair=False,
                )  # fmt: skip
            return

        def run() -> None:
            start = self.value(d) if accumulate else None
            whole = product(self.value(a), self.value(b), start)
            for part, where in zip(d.parts, d.slices(), strict=True):
                part.write(whole[where])

        self.agents[0].tensor.issue(a.parts + b.parts, d.parts, run)

    def transfer(self, source: ClusterView, target: ClusterView) -> None:
        """Start a copy from shared to tensor memory on every CTA."""
        for cta, agent in enumerate(self.agents):
            agent.transfer(source.parts[cta], target.parts[cta])

    def commit(self, views: tuple[ClusterView, ...], *, everywhere: bool) -> None:
        """Arrive behind the products: each CTA at its own barriers, or `everywhere`."""
        pair = self.machine.settings.pair
        for cta, agent in enumerate(self.agents[:1] if pair else self.agents):
            agent.begin()
            barriers = []
            for view in views:
                own = [part for _, part in self._owners(view)]
                barriers += own if everywhere or pair else [view.of(cta)]
            agent.tensor.arrive(tuple(agent.barrier(part) for part in barriers))

    # --- partitions ---------------------------------------------------------------------------

    def child(self, name: str) -> ClusterWorker:
        """Return a new partition that knows what this one knows, CTA by CTA."""
        clocks = self.machine.clocks
        return ClusterWorker(
            self.machine, name, [clocks.copy(agent.clock) for agent in self.agents]
        )

    def absorb(self, child: ClusterWorker) -> None:
        """Learn what a partition knew."""
        for agent, other in zip(self.agents, child.agents, strict=True):
            agent.absorb(other)

    def fork(self, partitions: Sequence[Partition]) -> None:
        """Start partitions."""
        for name, warps, function, arguments in partitions:
            child = self.machine.start(self.child(name), function, arguments)
            child.warps = warps
            self.children.append(child)
        for agent in self.agents:
            agent.release()

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

    def close(self) -> int:
        """Return a clock that knows what any CTA knows at the end."""
        for agent in self.agents[1:]:
            self.machine.clocks.join(self.clock, agent.clock)
        return self.clock
