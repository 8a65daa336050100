"""The accumulator of a product of two CTAs with 64 rows in each, over memory that has 128 lanes.

Such rows are laid over all 128 lanes: the first half of the columns in lanes 0 to 63, the second
half in lanes 64 to 127, in half as many columns (PTX ISA, tcgen05, data path layout B).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flash4gen.vgpu.lowering import unsupported
from flash4gen.vgpu.onchip import View

if TYPE_CHECKING:
    from torch import Tensor

    from flash4gen.vgpu.onchip import Transform
    from flash4gen.vgpu.parse.tree import MemDescType

HALF = 64
"""Rows of each CTA."""


def halved(kind: MemDescType) -> bool:
    """Whether a tensor memory has 64 rows in each CTA of a pair."""
    rows = re.search(r"blockM = (\d+)", kind.layout)
    return rows is not None and int(rows[1]) == HALF and "twoCTAs = true" in kind.layout


class Folded(View):
    """64 rows over 128 lanes; `data` and `state` are [64, 2, columns / 2], elements [64, columns].

    It is written and read whole.
    """

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the elements."""
        rows, halves, columns = self.data.shape
        return rows, halves * columns

    @property
    def elements(self) -> Tensor:
        """A row beside another."""
        return self.data.reshape(self.shape)

    def write(self, value: Tensor) -> None:
        """Store a tensor of the elements' shape."""
        super().write(value.reshape(self.data.shape))

    def patched(self, states: tuple[int, ...]) -> Tensor:
        """Return the elements, those in any of the states replaced by poison."""
        return super().patched(states).reshape(self.shape)

    def derive(self, key: object, layout: str, of: Transform) -> View:  # noqa: ARG002
        """Refuse: a part of it lies in some lanes only."""
        raise unsupported("a part of 64 rows of a pair that lie over 128 lanes of tensor memory")


def fold(view: View, source: MemDescType, target: MemDescType) -> Folded:
    """Return the view of a window of 128 lanes as 64 rows of each CTA of a pair.

    Raises:
        FaultError: the window is not that of the rows.
    """
    lanes, columns = source.shape[-2:]
    pair = "twoCTAs = true" in source.layout and f"blockM = {2 * HALF}" in source.layout
    same = source.element == target.element and len(source.shape) == len(target.shape) == 2
    if not pair or not same or (lanes, 2 * columns) != (2 * HALF, target.shape[-1]):
        raise unsupported(
            f"ttg.memdesc_reinterpret between {source} and {target}: 64 rows of a pair take all "
            "128 lanes of half as many columns"
        )
    data, state = _over_lanes(view.data), _over_lanes(view.state)
    return Folded(view.buffer, data, state, target.layout)


def _over_lanes(lanes: Tensor) -> Tensor:
    """Return [128, columns] as [64, 2, columns]: of each row, the lane of either half."""
    stride, step = lanes.stride()
    shape = HALF, 2, lanes.shape[1]
    return lanes.as_strided(shape, (stride, HALF * stride, step), lanes.storage_offset())
