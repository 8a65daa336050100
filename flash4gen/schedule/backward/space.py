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
from flash4gen.schedule.model import Load
from flash4gen.schedule.units import Unit, best_unit, matrix_unit

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.backward.model import AnyBackwardSchedule


class Kernel(StrEnum):
    """The kernels whose shape is chosen."""

    KEYS = "keys"
    QUERIES = "queries"
    PAIRS = "pairs"
    DISTANCES = "distances"
    FUSED = "fused"
    """That of the keys, where it adds up the gradients of queries too."""


CANDIDATES: dict[Kernel, tuple[LoopShape, ...]] = {
    Kernel.KEYS: (
        LoopShape(64, 128, 8, 3),
        LoopShape(64, 128, 8, 2),
        LoopShape(32, 128, 8, 3),
        LoopShape(64, 64, 4, 3),
        LoopShape(64, 64, 8, 2),
        LoopShape(32, 128, 8, 2),
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
    Kernel.DISTANCES: (
        LoopShape(64, 64, 4, 2),
        LoopShape(64, 64, 8, 2),
        LoopShape(64, 64, 4, 1),
        LoopShape(64, 64, 8, 1),
        LoopShape(32, 32, 4, 2),
        LoopShape(32, 32, 4, 1),
        LoopShape(16, 16, 4, 2),
        LoopShape(16, 16, 4, 1),
    ),
}
"""For each kernel, in the order in which they are preferred."""

BOX_CANDIDATES: dict[Kernel, tuple[LoopShape, ...]] = {
    Kernel.FUSED: (
        LoopShape(64, 128, 8, 2),
        LoopShape(64, 64, 4, 2),
        LoopShape(32, 128, 8, 2),
        LoopShape(32, 64, 4, 2),
    ),
    Kernel.KEYS: (
        LoopShape(64, 128, 4, 2),
        LoopShape(64, 128, 8, 2),
        LoopShape(64, 128, 8, 3),
        LoopShape(64, 64, 4, 2),
        LoopShape(64, 64, 4, 3),
        LoopShape(32, 128, 8, 2),
        LoopShape(32, 128, 8, 3),
        LoopShape(32, 64, 4, 2),
        LoopShape(16, 64, 4, 2),
        LoopShape(32, 32, 4, 2),
        LoopShape(16, 64, 4, 1),
        LoopShape(32, 32, 4, 1),
        LoopShape(16, 32, 4, 1),
        LoopShape(16, 16, 4, 1),
    ),
    Kernel.QUERIES: (
        LoopShape(128, 64, 4, 2),
        LoopShape(128, 128, 8, 2),
        LoopShape(128, 64, 8, 3),
        LoopShape(128, 64, 8, 2),
        LoopShape(64, 64, 4, 3),
        LoopShape(128, 32, 8, 3),
        LoopShape(128, 32, 8, 2),
        LoopShape(64, 32, 4, 3),
        LoopShape(64, 32, 4, 2),
        LoopShape(64, 16, 4, 2),
        LoopShape(64, 16, 4, 1),
        LoopShape(32, 32, 4, 1),
        LoopShape(16, 16, 4, 1),
    ),
    Kernel.PAIRS: (
        LoopShape(128, 64, 8, 1),
        LoopShape(64, 64, 4, 1),
        LoopShape(64, 32, 4, 1),
        LoopShape(64, 16, 4, 1),
        LoopShape(16, 16, 4, 1),
    ),
    Kernel.DISTANCES: (
        LoopShape(64, 64, 4, 2),
        LoopShape(64, 64, 4, 1),
        LoopShape(64, 64, 8, 1),
        LoopShape(32, 32, 4, 2),
        LoopShape(32, 32, 4, 1),
        LoopShape(16, 16, 4, 1),
    ),
}
"""The same where tiles come by TMA, which leaves registers for scores. With wgmma a warp has 16
rows: four have a tile of 64, eight one of 128, and with fewer rows some would be computed twice.
With tcgen05 four warps suffice, as sums are in tensor memory: what a step costs besides its scores
is then paid by half as many warps."""

WAVE_CANDIDATES: dict[Kernel, tuple[LoopShape, ...]] = {
    Kernel.KEYS: (
        LoopShape(32, 128, 4, 1),
        LoopShape(64, 64, 4, 1),
        LoopShape(32, 64, 4, 1),
        LoopShape(32, 128, 8, 1),
        LoopShape(16, 64, 4, 1),
    ),
    Kernel.QUERIES: (
        LoopShape(128, 32, 4, 1),
        LoopShape(128, 32, 8, 1),
        LoopShape(64, 32, 4, 1),
        LoopShape(64, 16, 4, 1),
    ),
    Kernel.PAIRS: (
        LoopShape(128, 64, 8, 1),
        LoopShape(64, 64, 4, 1),
        LoopShape(64, 32, 4, 1),
        LoopShape(64, 16, 4, 1),
    ),
    Kernel.DISTANCES: (
        LoopShape(64, 64, 4, 1),
        LoopShape(32, 32, 2, 1),
    ),
}
"""The same for AMD. Four warps may have 512 registers each, and need 64 rows of an MFMA tile. A
second stage has gfx942 hold tiles in registers: a hundred more, and spills at head_dim 128. The
first shapes are those from which the tuning of the Triton kernels for AMD in FlashAttention's
repository starts (``flash_attn_triton_amd``)."""


def candidates(
    hardware: Hardware, kernel: Kernel, load: Load = Load.POINTER
) -> tuple[LoopShape, ...]:
    """Return the shapes that a kernel is tried with on a target, best first."""
    if best_unit(hardware) is Unit.MFMA:
        return WAVE_CANDIDATES.get(kernel, ())
    shapes = (BOX_CANDIDATES if load is Load.TMA else CANDIDATES).get(kernel, ())
    return tuple(shape for shape in shapes if not _waits(hardware, kernel, shape))


def _waits(hardware: Hardware, kernel: Kernel, shape: LoopShape) -> bool:
    """Whether a loop would end with a wait for copies that nothing reads.

    Where products are tcgen05, Triton 3.9 takes the last turn out of a pipelined loop and has it
    wait for all copies. A weaker wait is as good, and no check tells it from one that is too weak.
    """
    unit = matrix_unit(hardware, shape.tile_q, shape.warps)
    return kernel is Kernel.DISTANCES and unit is Unit.TCGEN05 and shape.stages > 1


_KERNEL_OF = {
    "_key_gradient_kernel": Kernel.KEYS,
    "_key_sum_kernel": Kernel.KEYS,
    "_query_gradient_kernel": Kernel.QUERIES,
    "_query_sum_kernel": Kernel.QUERIES,
}
_BY_DISTANCE = "_distance_gradient_kernel"
_OTHERS = "_gradient_kernel"


def shape_of(schedule: AnyBackwardSchedule, function: str) -> KernelShape | None:
    """Return the shape of a kernel by its name in a module; None if none is chosen for it."""
    if not function.endswith(_OTHERS) and function not in _KERNEL_OF:
        return None
    other = Kernel.DISTANCES if function.endswith(_BY_DISTANCE) else Kernel.PAIRS
    kernel = _KERNEL_OF.get(function, other)
    if kernel is Kernel.KEYS and getattr(schedule, Kernel.FUSED.value, None) is not None:
        kernel = Kernel.FUSED
    shape: LoopShape | None = getattr(schedule, kernel.value, None)
    return None if shape is None else KernelShape(kernel.value, shape)


ROWS = 64
"""Rows per program of the kernel that goes before the others: it reads each element once."""
