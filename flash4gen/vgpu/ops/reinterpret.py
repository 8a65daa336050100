"""`ttg.memdesc_reinterpret`: the same bytes as another type, as far as layouts let it be said."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from flash4gen.vgpu.dtypes import int_dtype, torch_dtype
from flash4gen.vgpu.fold import fold, halved
from flash4gen.vgpu.lowering import unsupported
from flash4gen.vgpu.onchip import EMPTY, View

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import MemDescType


def reinterpret(view: View, source: MemDescType, target: MemDescType) -> View:
    """Return the view of the same memory with another shape, type and layout.

    Tensor memory holds a row of at most 128 per lane, so rows keep their bytes; but 64 rows of a
    pair of CTAs lie over all lanes, and memory may be seen so (``fold``). Swizzled shared
    memory keeps elements in place only under the same layout; otherwise nothing that was written
    can be read through the other view, and memory that holds something is refused.
    """
    if source.space == "tmem" or _alike(source.layout, target.layout):
        return view.child(("as", target), lambda: _reinterpreted(view, source, target))
    # Whether shared memory may be seen so depends on what it holds, and is asked each time.
    return _reinterpreted(view, source, target)


def _reinterpreted(view: View, source: MemDescType, target: MemDescType) -> View:
    dtype = torch_dtype(target)
    if source.space == "tmem" and halved(target) and not halved(source):
        return fold(view, source, target)
    if source.space == "tmem":
        _check_lanes(source, target)
        width = view.data.shape[-1] * view.data.element_size()
        if target.shape[-1] * dtype.itemsize > width:
            raise unsupported("ttg.memdesc_reinterpret to wider rows of tensor memory")
    elif not (_alike(source.layout, target.layout) or _blank(view)):
        raise unsupported(
            f"ttg.memdesc_reinterpret of written shared memory from {source} to {target}, "
            "whose layouts place elements differently"
        )
    size = int_dtype(dtype.itemsize)
    data, state = view.data.view(dtype), view.state.view(size)
    if source.space == "tmem":
        columns = target.shape[-1]
        data, state = data[..., :columns], state[..., :columns]
    return View(view.buffer, data.reshape(target.shape), state.reshape(target.shape), target.layout)


@lru_cache(maxsize=1024)
def _alike(one: str, other: str) -> bool:
    """Whether two layouts put elements of a CTA in the same places."""
    return _within(one) == _within(other)


def _within(layout: str) -> str:
    """Return where a layout puts elements within a CTA: without how a cluster splits them."""
    return re.sub(r",? *CGALayout = \[\[.*?\]\]", "", layout)


def _blank(view: View) -> bool:
    lowest = int.from_bytes(bytes([EMPTY]) * view.state.element_size(), "little")
    return bool((view.state == lowest).all())


def _check_lanes(source: MemDescType, target: MemDescType) -> None:
    blocks = [re.search(r"blockM = (\d+)", kind.layout) for kind in (source, target)]
    rows = {int(block.group(1)) if block else 0 for block in blocks}
    if rows != {source.shape[-2]} or source.shape[-2] != target.shape[-2]:
        raise unsupported(
            f"ttg.memdesc_reinterpret between {source} and {target}: their rows lie in "
            "different lanes of tensor memory"
        )
