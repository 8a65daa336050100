"""The asynchronous engines of one program: cp.async groups, wgmma, TMA and the tensor core.

Every engine keeps what was issued and does it as late as the program's waits allow: data that no
wait has covered is not there, so a missing wait shows. Operands are checked when an operation is
issued and read when it runs. Sources of global memory are read at issue by cp.async (whose lanes
are gathered then) and at completion by TMA.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.onchip import BUSY, Barrier, View

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


class Engine(Protocol):
    """What every engine answers at the end of a program."""

    def unfinished(self) -> str:
        """Say what is still under way; empty if nothing."""
        ...


class BarrierEngine(Engine, Protocol):
    """An engine whose operations arrive at mbarriers."""

    def advance(self, barrier: Barrier) -> bool:
        """Complete the next operations that arrive at a barrier; False if none is under way."""
        ...


class CopyGroups:
    """cp.async: copies join the open group, a commit closes it, a wait leaves the last few."""

    def __init__(self) -> None:
        self._open: list[tuple[View, Tensor]] = []
        self._groups: deque[list[tuple[View, Tensor]]] = deque()

    def issue(self, target: View, value: Tensor) -> None:
        """Start a copy whose source has been gathered."""
        target.mark(BUSY)
        self._open.append((target, value))

    def commit(self) -> None:
        """Close the open group, even an empty one."""
        self._groups.append(self._open)
        self._open = []

    def wait(self, pending: int) -> None:
        """Complete all groups but the last `pending`."""
        while len(self._groups) > pending:
            for target, value in self._groups.popleft():
                target.write(value)

    def unfinished(self) -> str:
        """Name the groups that no wait has covered."""
        count = len(self._groups) + bool(self._open)
        return f"{count} groups of cp.async copies" if count else ""


@dataclass(eq=False)
class PendingDot:
    """The result of an asynchronous wgmma, to be had after a wait."""

    compute: Callable[[], Tensor]
    value: Tensor | None = None


class DotQueue:
    """wgmma: runs in order, each at the wait that covers it."""

    def __init__(self) -> None:
        self._queue: deque[PendingDot] = deque()

    def issue(self, compute: Callable[[], Tensor]) -> PendingDot:
        """Start a product; `compute` reads its shared-memory operands when it is called."""
        dot = PendingDot(compute)
        self._queue.append(dot)
        return dot

    def wait(self, pending: int) -> None:
        """Complete all products but the last `pending`."""
        while len(self._queue) > pending:
            dot = self._queue.popleft()
            dot.value = dot.compute()

    def unfinished(self) -> str:
        """Name the products that no wait has covered."""
        return f"{len(self._queue)} asynchronous wgmma products" if self._queue else ""


@dataclass(eq=False)
class _Load:
    target: View
    barrier: Barrier
    fetch: Callable[[], Tensor]


class TmaEngine:
    """TMA: loads arrive at their barrier with their bytes; stores are waited for in groups."""

    def __init__(self) -> None:
        self._loads: deque[_Load] = deque()
        self._stores: deque[Callable[[], None]] = deque()

    def load(self, target: View, barrier: Barrier, fetch: Callable[[], Tensor]) -> None:
        """Start a load; `fetch` reads global memory when it is called."""
        target.mark(BUSY)
        self._loads.append(_Load(target, barrier, fetch))

    def store(self, write: Callable[[], None]) -> None:
        """Start a store; `write` reads shared memory when it is called."""
        self._stores.append(write)

    def wait_stores(self, pending: int) -> None:
        """Complete all stores but the last `pending`."""
        while len(self._stores) > pending:
            self._stores.popleft()()

    def advance(self, barrier: Barrier) -> bool:
        """Complete the oldest load that arrives at the barrier."""
        for load in self._loads:
            if load.barrier is barrier:
                self._loads.remove(load)
                load.target.write(load.fetch())
                barrier.deliver(load.target.data.numel() * load.target.data.element_size())
                return True
        return False

    def unfinished(self) -> str:
        """Name loads that nobody waited for and stores without a wait."""
        parts = [f"{len(self._loads)} TMA loads"] if self._loads else []
        parts += [f"{len(self._stores)} TMA stores"] if self._stores else []
        return " and ".join(parts)


@dataclass(eq=False)
class _Product:
    compute: Callable[[], Tensor] | None
    target: View | None
    barriers: tuple[Barrier, ...]


class TensorEngine:
    """tcgen05: products and commits in the order they were issued."""

    def __init__(self) -> None:
        self._queue: deque[_Product] = deque()

    def accumulates_in_flight(self, target: View) -> bool:
        """Whether a product on the same allocation is still queued, as an accumulator may be."""
        return any(job.target and job.target.buffer is target.buffer for job in self._queue)

    def multiply(
        self, compute: Callable[[], Tensor], target: View, barriers: tuple[Barrier, ...]
    ) -> None:
        """Start a product into tensor memory; the barriers get one arrival each when it is done."""
        target.mark(BUSY)
        self._queue.append(_Product(compute, target, barriers))

    def commit(self, barrier: Barrier) -> None:
        """Arrive at a barrier when everything issued so far is done."""
        self._queue.append(_Product(None, None, (barrier,)))

    def finish(self) -> None:
        """Run the whole queue, as a synchronous product does."""
        while self._queue:
            self._run()

    def _run(self) -> None:
        job = self._queue.popleft()
        if job.compute is not None and job.target is not None:
            job.target.write(job.compute())
        for barrier in job.barriers:
            barrier.arrive(1)

    def advance(self, barrier: Barrier) -> bool:
        """Run the queue up to the first job that arrives at the barrier."""
        if not any(barrier in job.barriers for job in self._queue):
            return False
        while True:
            last = barrier in self._queue[0].barriers
            self._run()
            if last:
                return True

    def unfinished(self) -> str:
        """Name the products that no barrier was waited for."""
        products = sum(job.compute is not None for job in self._queue)
        return f"{products} tensor core products" if products else ""


def deadlock(barrier: Barrier, parity: int) -> FaultError:
    """Return the finding of a wait that nothing under way can end."""
    return FaultError(
        FindingKind.DEADLOCK,
        f"wait for parity {parity & 1} of barrier {barrier.name}, whose phase {barrier.phase} "
        f"lacks {barrier.pending} of {barrier.count} arrivals and {barrier.bytes} bytes, and "
        "nothing is under way that would bring them",
    )
