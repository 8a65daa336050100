"""The pins of a ``schedule { }`` block that shape the portable backward kernels.

In: an ``Attention``. Out: the shapes that a kernel may have under its pins, or why none of them
fits the target. A pin is named after the kernel, as ``explain`` names it, and a side of its shape.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from flash4gen.schedule.backward.model import LoopShape
from flash4gen.schedule.backward.space import Kernel, candidates
from flash4gen.schedule.domain import Domain
from flash4gen.schedule.memory import ELEMENT
from flash4gen.schedule.space import CHOICES, pad

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention, Pin

KERNELS = (Kernel.KEYS, Kernel.QUERIES)
"""The kernels that every portable backward pass has."""

SIDES = tuple(it.name for it in fields(LoopShape))

GRADIENT_PINS: dict[str, Domain] = {
    f"{kernel.value}_{side}": Domain(CHOICES[side]) for kernel in KERNELS for side in SIDES
}
"""Every field that may be pinned, with the values that it may have."""


def gradient_pins(attention: Attention) -> tuple[Pin, ...]:
    """Return the pins of backward kernels among those of an attention."""
    return tuple(pin for pin in attention.pins if pin.name in GRADIENT_PINS)


def pinned_sides(attention: Attention, kernel: Kernel) -> dict[str, int]:
    """Return what is pinned of a kernel's shape, by side."""
    pins = {pin.name: pin.value for pin in gradient_pins(attention)}
    named = {side: pins.get(f"{kernel.value}_{side}") for side in SIDES}
    return {side: value for side, value in named.items() if isinstance(value, int)}


def shapes_to_try(
    attention: Attention, hardware: Hardware, kernel: Kernel
) -> tuple[LoopShape, ...]:
    """Return the shapes to try, best first: all of the space, with what is pinned in its place."""
    sides = pinned_sides(attention, kernel)
    shapes = candidates(hardware, kernel)
    return tuple(dict.fromkeys(replace(shape, **sides) for shape in shapes)) if sides else shapes


def least_bytes(attention: Attention, kernel: Kernel, shape: LoopShape) -> int:
    """Return a lower bound of the shared memory of a kernel that was never compiled.

    The tiles of a loop's step, two tensors wide, once for each stage that is ahead of another.
    """
    rows = shape.tile_q if kernel is Kernel.KEYS else shape.tile_k
    width = pad(attention.head_dim) + pad(attention.value_dim)
    return max(1, shape.stages - 1) * rows * width * ELEMENT


def misfit_of(attention: Attention, hardware: Hardware, kernel: Kernel) -> str:
    """Return why no shape with a kernel's pins fits a target, or an empty text."""
    if not pinned_sides(attention, kernel):
        return ""
    shapes = shapes_to_try(attention, hardware, kernel)
    least = min(least_bytes(attention, kernel, shape) for shape in shapes)
    if least <= hardware.smem_per_block:
        return ""
    return (
        f"the tiles that its loop reads ahead take {least:,} bytes of shared memory at least, a "
        f"block has {hardware.smem_per_block:,}"
    )
