"""The accumulator of a product of two CTAs with 64 rows in each, over memory that has 128 lanes.

Such rows are laid over all 128 lanes: the first half of the columns in lanes 0 to 63, the second
half in lanes 64 to 127, in half as many columns (PTX ISA, tcgen05, data path layout B).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flash4gen.vgpu.lowering import unsupported
from flash4gen.vgpu.merged import Merged

if TYPE_CHECKING:
    from torch import Tensor

    from flash4gen.vgpu.onchip import View
    from flash4gen.vgpu.parse.tree import MemDescType

HALF = 64
"""Rows of each CTA."""


def halved(kind: MemDescType) -> bool:
    """Whether a tensor memory has 64 rows in each CTA of a pair."""
    rows = re.search(r"blockM = (\d+)", kind.layout)
    return rows is not None and int(rows[1]) == HALF and "twoCTAs = true" in kind.layout


def fold(view: View, source: MemDescType, target: MemDescType) -> Merged:
    """Return the view of a window of 128 lanes as 64 rows of each CTA of a pair.

    Its data and state are [64, 2, columns / 2]. It is written and read whole.

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
    part = "a part of 64 rows of a pair that lie over 128 lanes of tensor memory"
    return Merged(view.buffer, data, state, target.layout, (HALF, 2 * columns), part)


def _over_lanes(lanes: Tensor) -> Tensor:
    """Return [128, columns] as [64, 2, columns]: of each row, the lane of either half."""
    stride, step = lanes.stride()
    shape = HALF, 2, lanes.shape[1]
    return lanes.as_strided(shape, (stride, HALF * stride, step), lanes.storage_offset())
