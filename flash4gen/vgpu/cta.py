"""One program of a launch while it runs: its id, its memories and its engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash4gen.vgpu.engines import (
    BarrierEngine,
    CopyGroups,
    DotQueue,
    Engine,
    TensorEngine,
    TmaEngine,
    deadlock,
)
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.onchip import EMPTY, Barrier, Buffer, View

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import torch
    from torch import Tensor

    from flash4gen.vgpu.engines import PendingDot
    from flash4gen.vgpu.memory import GlobalMemory
    from flash4gen.vgpu.parse.tree import MemDescType
    from flash4gen.vgpu.transfer import Transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorMap:
    """A descriptor made by the program; `strides` are in bytes and leave the innermost out."""

    base: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    nan_fill: bool
    name: str


def starved(found: int, expected: int) -> str:
    """Return what is wrong with a wait for a number that no program will write."""
    return f"wait for {expected} in global memory, which holds {found}, and no program changes it"


class Cta:
    """The state that operations of one program share.

    Args:
        memory: the launch's global memory.
        program: id in the grid.
        grid: extents of the grid.
        scratch: address of this program's global scratch, or 0 if it has none.
    """

    def __init__(
        self,
        memory: GlobalMemory,
        program: tuple[int, int, int],
        grid: tuple[int, int, int],
        scratch: int,
    ) -> None:
        self.memory = memory
        self.program = program
        self.grid = grid
        self.linear = program[0] + grid[0] * (program[1] + grid[1] * program[2])
        self.scratch = scratch
        self.tensormaps: dict[int, TensorMap] = {}
        self.copies = CopyGroups()
        self.dots = DotQueue()
        self.tma = TmaEngine()
        self.tensor = TensorEngine()
        self.engines: tuple[Engine, ...] = (self.copies, self.dots, self.tma, self.tensor)
        self.barrier_engines: tuple[BarrierEngine, ...] = (self.tma, self.tensor)

    # --- on-chip memory -----------------------------------------------------------------------

    def allocate(self, kind: MemDescType, dtype: torch.dtype, size: int, name: str) -> View:
        """Return a new allocation of `size` bytes."""
        return Buffer(kind.space, size, name).view(kind.shape, dtype, kind.layout)

    def deallocate(self, view: View) -> None:
        """Give an allocation back."""
        view.mark(EMPTY)

    def read(self, view: View) -> Tensor:
        """Return a copy of a view's elements."""
        return view.read()

    def value(self, view: View) -> Tensor:
        """Return a view's elements for an engine that does not keep them."""
        return view.peek()

    def write(self, view: View, value: Tensor) -> None:
        """Store a tensor."""
        view.write(value)

    def skip(self, view: View) -> None:
        """Note that a predicated-off write would have come here."""
        view.skip()

    # --- global memory ------------------------------------------------------------------------

    def load(self, address: Tensor, mask: Tensor | None, other: Any, dtype: torch.dtype) -> Tensor:
        """Gather elements of global memory."""
        return self.memory.load(address, mask, other, dtype)

    def load_one(self, address: int, dtype: torch.dtype) -> Tensor:
        """Load one element of global memory."""
        return self.memory.scalar_load(address, dtype)

    def store(self, address: Tensor, value: Tensor, mask: Tensor | None) -> None:
        """Scatter elements to global memory."""
        self.memory.store(address, value, mask, self.linear)

    def update(
        self,
        address: Tensor,
        value: Tensor,
        mask: Tensor | None,
        combine: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Change elements of global memory atomically and return the old ones."""
        return self.memory.update(address, value, mask, combine)

    def publish(self) -> None:
        """Let other programs know what was written; only the checked machine looks."""

    def poll(self, address: int, expected: Tensor) -> bool:
        """Wait until global memory holds a number; programs before this one have ended."""
        found = self.memory.scalar_load(address, expected.dtype)
        if bool(found != expected):
            raise FaultError(FindingKind.DEADLOCK, starved(int(found), int(expected)))
        return True

    # --- mbarriers ----------------------------------------------------------------------------

    def barrier(self, view: View) -> Barrier:
        """Return the mbarrier at a view; raises `FaultError` if there is none."""
        barrier = view.buffer.barriers.get(view.offset)
        if barrier is None:
            raise FaultError(
                FindingKind.BARRIER_NOT_INITIALISED,
                f"{view.name} + {view.offset} bytes holds no barrier",
            )
        return barrier

    def init_barrier(self, view: View, count: int) -> Iterable[None]:
        """Make a barrier."""
        if view.offset in view.buffer.barriers:
            raise FaultError(
                FindingKind.BARRIER_REINIT, f"{view.name} is initialised while it is a barrier"
            )
        view.buffer.barriers[view.offset] = Barrier(count, f"{view.name}+{view.offset}")
        return ()

    def inval_barrier(self, view: View) -> None:
        """End the life of a barrier."""
        self.barrier(view)
        del view.buffer.barriers[view.offset]

    def expect(self, view: View, size: int, route: object = None) -> None:  # noqa: ARG002
        """Announce bytes to a barrier, and arrive; a route is for clusters."""
        barrier = self.barrier(view)
        barrier.expect(size)
        barrier.arrive(1)

    def arrive(
        self,
        view: View,
        count: int,
        *,
        threads: bool = False,
        route: object = None,  # noqa: ARG002
    ) -> None:
        """Arrive at a barrier; a route is for clusters."""
        if threads:
            raise FaultError(FindingKind.UNSUPPORTED, "arrivals of every thread")
        self.barrier(view).arrive(count)

    def wait_barrier(self, view: View, parity: int) -> Iterable[None]:
        """Let the engines work until the phase of that parity is complete."""
        barrier = self.barrier(view)
        while not barrier.passed(parity):
            if not any(engine.advance(barrier) for engine in self.barrier_engines):
                raise deadlock(barrier, parity)
        return ()

    def fence(self) -> None:
        """Do nothing: the proxies see one memory on this rung."""

    # --- engines ------------------------------------------------------------------------------

    def copy(self, target: View, fetch: Callable[[], Tensor]) -> None:
        """Start a cp.async; `fetch` gathers its source."""
        self.copies.issue(target, fetch())

    def commit_copies(self) -> None:
        """Close the open group of copies."""
        self.copies.commit()

    def wait_copies(self, pending: int) -> None:
        """Wait for all groups of copies but the last `pending`."""
        self.copies.wait(pending)

    def tma_load(
        self, target: View, where: View, source: Transfer, *, multicast: bool = False
    ) -> None:
        """Start a TMA load into shared memory; its bytes arrive at the barrier `where`."""
        if multicast:
            raise FaultError(FindingKind.UNSUPPORTED, "TMA multicast in a program of one CTA")
        shape = target.data.shape
        fetch = lambda: source.load(self.memory).reshape(shape)  # noqa: E731
        self.tma.load(target, self.barrier(where), fetch)

    def tma_store(self, source: View, target: Transfer) -> None:
        """Start a TMA store of shared memory."""
        source.peek()
        self.tma.store(lambda: target.store(self.memory, source.peek(), self.linear))

    def wait_stores(self, pending: int, *, written: bool) -> None:  # noqa: ARG002
        """Wait for all TMA stores but the last `pending`: here, reading and writing is one."""
        self.tma.wait_stores(pending)

    def dot(self, reads: tuple[View, ...], compute: Callable[[], Tensor]) -> PendingDot:
        """Start a wgmma that reads shared memory."""
        for view in reads:
            view.peek()
        return self.dots.issue(compute)

    def wait_dots(self, pending: int) -> None:
        """Wait for all wgmma but the last `pending`."""
        self.dots.wait(pending)

    def multiply(
        self,
        operands: tuple[View, ...],
        d: View,
        product: Callable[[tuple[Tensor, ...], Tensor | None], Tensor],
        *,
        accumulate: bool,
        pair: bool,
    ) -> None:
        """Start a product into tensor memory; what it reads may still be in the queue."""
        if pair:
            raise FaultError(FindingKind.UNSUPPORTED, "products of two CTAs in a program of one")
        for view in (*operands, d) if accumulate else operands:
            if not (view.ready or self.tensor.accumulates_in_flight(view)):
                value = view.peek()
                if view is d:
                    d.data.copy_(value)

        def compute() -> Tensor:
            values = tuple(view.peek() for view in operands)
            return product(values, d.data if accumulate else None)

        self.tensor.multiply(compute, d, ())

    def transfer(self, source: View, target: View) -> None:
        """Start a copy from shared to tensor memory, in order with the products."""
        source.peek()
        self.tensor.multiply(source.peek, target, ())

    def commit(self, views: tuple[View, ...], *, everywhere: bool) -> None:  # noqa: ARG002
        """Arrive at barriers when all products so far are done."""
        for view in views:
            self.tensor.commit(self.barrier(view))

    # --- the rest -----------------------------------------------------------------------------

    def take_scratch(self, size: int, alignment: int) -> int:
        """Return the address of the next piece of this program's global scratch."""
        address = (self.scratch + alignment - 1) // alignment * alignment
        self.scratch = address + size
        return address

    def close(self) -> None:
        """Check at the end of the program that nothing is under way that should have ended."""
        late = [engine.unfinished() for engine in self.engines]
        if any(late):
            raise FaultError(
                FindingKind.IN_FLIGHT,
                f"the program ends with {' and '.join(filter(None, late))} under way",
            )
