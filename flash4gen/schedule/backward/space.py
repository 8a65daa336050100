"""The shapes that backward kernels are tried with, best first.

A kernel of the gradients of keys and values holds both gradients of its key tile, two score tiles
and their operands in registers: with the same tiles it needs about twice what a forward kernel
does. Larger tiles load less per score; three stages prefetch where two do not (see
``docs/architecture.md``); eight warps share what four cannot hold.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from flash4gen.schedule.backward.model import KernelShape, LoopShape

if TYPE_CHECKING:
    from flash4gen.schedule.backward.model import AnyBackwardSchedule


class Kernel(StrEnum):
    """The kernels whose shape is chosen."""

    KEYS = "keys"
    QUERIES = "queries"
    PAIRS = "pairs"


CANDIDATES: dict[Kernel, tuple[LoopShape, ...]] = {
    Kernel.KEYS: (
        LoopShape(64, 128, 8, 3),
        LoopShape(64, 128, 8, 2),
        LoopShape(32, 128, 8, 3),
        LoopShape(64, 64, 4, 3),
        LoopShape(32, 128, 8, 2),
        LoopShape(64, 64, 8, 2),
        LoopShape(32, 64, 4, 3),
        LoopShape(32, 64, 4, 2),
        LoopShape(32, 64, 8, 2),
        LoopShape(16, 64, 4, 2),
        LoopShape(32, 32, 4, 2),
        LoopShape(32, 32, 4, 1),
        LoopShape(16, 32, 4, 2),
        LoopShape(16, 32, 4, 1),
        LoopShape(16, 16, 4, 1),
    ),
    Kernel.QUERIES: (
        LoopShape(128, 128, 8, 2),
        LoopShape(128, 64, 8, 3),
        LoopShape(128, 64, 8, 2),
        LoopShape(128, 32, 8, 3),
        LoopShape(64, 64, 4, 3),
        LoopShape(128, 32, 8, 2),
        LoopShape(64, 32, 4, 3),
        LoopShape(64, 32, 4, 2),
        LoopShape(64, 32, 8, 2),
        LoopShape(64, 16, 4, 2),
        LoopShape(32, 32, 4, 2),
        LoopShape(32, 32, 4, 1),
        LoopShape(32, 16, 4, 2),
        LoopShape(32, 16, 4, 1),
        LoopShape(16, 16, 4, 1),
    ),
    Kernel.PAIRS: (
        LoopShape(64, 64, 8, 1),
        LoopShape(64, 64, 4, 1),
        LoopShape(32, 64, 4, 1),
        LoopShape(32, 32, 4, 1),
        LoopShape(16, 16, 4, 1),
    ),
}
"""For each kernel, in the order in which they are preferred."""

_KERNEL_OF = {"_key_gradient_kernel": Kernel.KEYS, "_query_gradient_kernel": Kernel.QUERIES}
_OTHERS = "_gradient_kernel"


def shape_of(schedule: AnyBackwardSchedule, function: str) -> KernelShape | None:
    """Return the shape of a kernel by its name in a module; None if none is chosen for it."""
    if not function.endswith(_OTHERS):
        return None
    kernel = _KERNEL_OF.get(function, Kernel.PAIRS)
    shape: LoopShape | None = getattr(schedule, kernel.value, None)
    return None if shape is None else KernelShape(kernel.value, shape)


ROWS = 64
"""Rows per program of the kernel that goes before the others: it reads each element once."""
