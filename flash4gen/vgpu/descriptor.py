"""TMA descriptors: what hardware checks when one is made, and what it does beyond the edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flash4gen.vgpu.errors import FaultError, FindingKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.vgpu.memory import GlobalMemory


_TURN = 1 << 64
"""Addresses wrap around here."""

_FAR = 1 << 30
"""Where rows of a ragged descriptor end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A tensor in global memory as TMA sees it; sizes and strides in elements, outermost first.

    Attributes:
        address: of the first element.
        shape: extents; coordinates outside read as fill and are not written.
        strides: of each dimension; the innermost is 1.
        dtype: of the elements.
        nan_fill: whether elements outside read as NaN instead of zero.
        name: of the argument or value, for messages.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    nan_fill: bool
    name: str

    def check(self, memory: GlobalMemory) -> None:
        """Hold the rules of the encoder: alignment, contiguity, extents inside of the tensor.

        Raises:
            FaultError: one of them is broken.
        """
        size = self.dtype.itemsize
        if self.address % 16:
            raise self._broken("its base is not aligned to 16 bytes")
        if self.strides[-1] != 1:
            raise self._broken(f"its innermost stride is {self.strides[-1]}, not 1")
        for stride in self.strides[:-1]:
            if stride * size % 16:
                raise self._broken(f"a stride of {stride * size} bytes is no multiple of 16")
        if any(extent <= 0 for extent in self.shape):
            raise self._broken(f"its shape is {self.shape}")
        if self.ragged:
            return  # it spans the whole address space: each box is held against its tensor
        region = memory.region(self.address)
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        end = self.address + (last + 1) * size
        if self.address < region.base or end > region.end:
            raise self._broken(f"it reaches {end - region.end} bytes beyond the end of its tensor")

    @property
    def ragged(self) -> bool:
        """Whether its first two axes and one behind them are those of ``triton.tools.ragged_tma``.

        Coordinates (2^30, end, 2^30 - size + row) are row end - size + row of the tensor, because
        addresses wrap around after 2^64 bytes; and the extent 2^30 ends behind row size - 1.
        """
        if _FAR not in self.shape[2:]:
            return False
        around, end = self.strides[:2]
        row = self.strides[self.shape.index(_FAR, 2)]
        return end == row and around + end == _TURN // _FAR

    def _broken(self, why: str) -> FaultError:
        return FaultError(FindingKind.DESCRIPTOR, f"descriptor {self.name}: {why}")

    def _window(
        self, coordinates: tuple[int, ...], box: tuple[int, ...]
    ) -> tuple[int, tuple[slice, ...], list[int]] | None:
        """Return (address, place in the box, extents) of the part inside, or None if empty."""
        place: list[slice] = []
        offset = 0
        for start, size, extent, stride in zip(
            coordinates, box, self.shape, self.strides, strict=True
        ):
            low, high = max(0, -start), min(size, extent - start)
            if low >= high:
                return None
            place.append(slice(low, high))
            offset += (start + low) * stride
        extents = [part.stop - part.start for part in place]
        address = (self.address + offset * self.dtype.itemsize) % _TURN
        return address, tuple(place), extents

    def load(
        self, memory: GlobalMemory, coordinates: tuple[int, ...], box: tuple[int, ...]
    ) -> Tensor:
        """Return a box of elements; what lies outside of the shape is fill."""
        window = self._window(coordinates, box)
        fill = math.nan if self.nan_fill else 0.0
        if window is None:
            return torch.full(box, fill, dtype=torch.float32).to(self.dtype)
        address, place, extents = window
        inside = memory.box(address, extents, list(self.strides), self.dtype).view(self.dtype)
        if tuple(extents) == box:
            return inside
        whole = torch.full(box, fill, dtype=torch.float32).to(self.dtype)
        whole[place] = inside
        return whole

    def inside(
        self, memory: GlobalMemory, coordinates: tuple[int, ...], box: tuple[int, ...]
    ) -> Tensor | None:
        """Return a strided view of the part of a box inside of the shape, as integers."""
        window = self._window(coordinates, box)
        if window is None:
            return None
        address, _, extents = window
        return memory.box(address, extents, list(self.strides), self.dtype)

    def update(
        self,
        memory: GlobalMemory,
        coordinates: tuple[int, ...],
        value: Tensor,
        combine: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """Replace the part of a box inside of the shape by `combine(old, value)`."""
        window = self._window(coordinates, tuple(value.shape))
        if window is None:
            return
        address, place, extents = window
        target = memory.box(address, extents, list(self.strides), self.dtype).view(self.dtype)
        target.copy_(combine(target, value[place]))

    def store(
        self, memory: GlobalMemory, coordinates: tuple[int, ...], value: Tensor, program: int
    ) -> None:
        """Write the part of a box that lies inside of the shape."""
        window = self._window(coordinates, tuple(value.shape))
        if window is None:
            return
        address, place, extents = window
        target = memory.box(address, extents, list(self.strides), self.dtype)
        memory.log_box(address, target, program)
        target.view(self.dtype).copy_(value[place])
