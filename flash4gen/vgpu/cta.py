"""One program of a launch while it runs: its id, its memories and its engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from flash4gen.vgpu.memory import GlobalMemory
    from flash4gen.vgpu.onchip import Barrier, View


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorMap:
    """A descriptor made by the program; `strides` are in bytes and leave the innermost out."""

    base: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    nan_fill: bool
    name: str


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

    def barrier(self, view: View) -> Barrier:
        """Return the mbarrier at a view; raises `FaultError` if there is none."""
        barrier = view.buffer.barriers.get(view.offset)
        if barrier is None:
            raise FaultError(
                FindingKind.BARRIER, f"{view.name} + {view.offset} bytes holds no barrier"
            )
        return barrier

    def wait_barrier(self, view: View, parity: int) -> None:
        """Let the engines work until the phase of that parity is complete."""
        barrier = self.barrier(view)
        while not barrier.passed(parity):
            if not any(engine.advance(barrier) for engine in self.barrier_engines):
                raise deadlock(barrier, parity)

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
