"""The global side of a TMA transfer: a box of a descriptor, or rows of one picked by a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from flash4gen.vgpu.errors import FaultError, FindingKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.vgpu.descriptor import Descriptor
    from flash4gen.vgpu.memory import GlobalMemory


class Transfer(Protocol):
    """What the engines need of either."""

    @property
    def atomic(self) -> bool:
        """Whether it changes memory atomically."""
        ...

    def load(self, memory: GlobalMemory) -> Tensor:
        """Return the elements; what lies outside of the tensor is fill."""
        ...

    def store(self, memory: GlobalMemory, value: Tensor, program: int) -> None:
        """Write the elements that lie inside."""
        ...

    def cells(self, memory: GlobalMemory) -> Iterator[Tensor]:
        """Yield strided views of the elements inside."""
        ...


@dataclass(frozen=True, slots=True)
class Box:
    """A box of a tensor; with `combine`, what is stored there is combined with what was."""

    descriptor: Descriptor
    coordinates: tuple[int, ...]
    shape: tuple[int, ...]
    combine: Callable[[Tensor, Tensor], Tensor] | None = None

    @property
    def atomic(self) -> bool:
        """Whether it changes memory atomically."""
        return self.combine is not None

    def load(self, memory: GlobalMemory) -> Tensor:
        """Return the elements; what lies outside of the tensor is fill."""
        return self.descriptor.load(memory, self.coordinates, self.shape)

    def store(self, memory: GlobalMemory, value: Tensor, program: int) -> None:
        """Write the elements that lie inside."""
        value = value.reshape(self.shape)
        if self.combine is None:
            self.descriptor.store(memory, self.coordinates, value, program)
        else:
            self.descriptor.update(memory, self.coordinates, value, self.combine)

    def cells(self, memory: GlobalMemory) -> Iterator[Tensor]:
        """Yield a strided view of the elements inside."""
        inside = self.descriptor.inside(memory, self.coordinates, self.shape)
        if inside is not None:
            yield inside


@dataclass(frozen=True, slots=True)
class Rows:
    """Pieces of rows of a two-dimensional tensor: `width` elements from `column` on of each."""

    descriptor: Descriptor
    rows: Tensor
    column: int
    width: int

    @property
    def atomic(self) -> bool:
        """Whether it changes memory atomically: no."""
        return False

    def _boxes(self) -> Iterator[Box]:
        for row in self.rows.tolist():
            yield Box(self.descriptor, (row, self.column), (1, self.width))

    def load(self, memory: GlobalMemory) -> Tensor:
        """Return the pieces; what lies outside of the tensor is fill."""
        return torch.cat([box.load(memory) for box in self._boxes()])

    def store(self, memory: GlobalMemory, value: Tensor, program: int) -> None:
        """Write the pieces that lie inside; a negative place is an error of the hardware's."""
        if self.column < 0 or bool((self.rows < 0).any()):
            raise FaultError(
                FindingKind.OUT_OF_BOUNDS,
                f"a scatter to {self.descriptor.name} at negative coordinates",
            )
        for box, row in zip(self._boxes(), value, strict=True):
            box.store(memory, row, program)

    def cells(self, memory: GlobalMemory) -> Iterator[Tensor]:
        """Yield strided views of the pieces inside."""
        for box in self._boxes():
            yield from box.cells(memory)
