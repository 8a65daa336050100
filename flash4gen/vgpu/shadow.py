"""A number for every piece of a tensor's storage, as fine as the finest access to it so far.

Accesses of different widths meet in one map: a wide one covers several pieces, and a narrow one
makes the pieces smaller first.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Shadow:
    """The map of one storage.

    Args:
        size: of the storage in bytes.
        unit: bytes of a piece at first.
        blank: the number of pieces that nobody has touched.
        dtype: of the numbers.
    """

    def __init__(self, size: int, unit: int, *, blank: int, dtype: torch.dtype) -> None:
        self._unit = unit
        self._numbers = torch.full((-(-size // unit),), blank, dtype=dtype)

    def _refine(self, width: int) -> int:
        """Make the pieces no larger than an access and return how many it covers."""
        if width < self._unit:
            self._numbers = self._numbers.repeat_interleave(self._unit // width)
            self._unit = width
        return width // self._unit

    def get(self, cells: Tensor, index: Tensor | None = None) -> Tensor:
        """Return the numbers of the pieces that cells, or those at an index, cover."""
        if index is None:
            return self._window(cells)
        places = self._places(cells, index)  # may replace the numbers
        return self._numbers[places]

    def put(self, cells: Tensor, index: Tensor | None, number: int) -> None:
        """Give the pieces that cells, or those at an index, cover a number."""
        if index is None:
            self._window(cells).fill_(number)
        else:
            places = self._places(cells, index)
            self._numbers[places] = number

    def _window(self, cells: Tensor) -> Tensor:
        many = self._refine(cells.element_size())
        if many == 1:
            return self._numbers.as_strided(cells.shape, cells.stride(), cells.storage_offset())
        strides = [stride * many for stride in cells.stride()]
        return self._numbers.as_strided(
            (*cells.shape, many), (*strides, 1), cells.storage_offset() * many
        )

    def _places(self, cells: Tensor, index: Tensor) -> Tensor:
        many = self._refine(cells.element_size())
        first = index + int(cells.storage_offset())
        if many == 1:
            return first
        return (first * many).unsqueeze(-1) + torch.arange(many)
