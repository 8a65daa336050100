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
from flash4gen.schedule.model import Load
from flash4gen.schedule.space import CHOICES, pad
from flash4gen.schedule.units import Unit, matrix_unit

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
    attention: Attention, hardware: Hardware, kernel: Kernel, load: Load
) -> tuple[LoopShape, ...]:
    """Return the shapes to try, best first: all of the space, with what is pinned in its place."""
    sides = pinned_sides(attention, kernel)
    shapes = candidates(hardware, kernel, load)
    return tuple(dict.fromkeys(replace(shape, **sides) for shape in shapes)) if sides else shapes


def lack(attention: Attention, hardware: Hardware, kernel: Kernel, shape: LoopShape) -> str:
    """Return what a kernel that was never compiled has too little of; nothing if none is known of.

    Lower bounds: the tiles of a loop's step, two tensors wide, once for each stage that is ahead of
    another; the columns of tensor memory of gradients, scores, and gradients of weights.
    """
    width = pad(attention.head_dim) + pad(attention.value_dim)
    of_keys = kernel is Kernel.KEYS
    rows, lanes = (shape.tile_q, shape.tile_k) if of_keys else (shape.tile_k, shape.tile_q)
    least = max(1, shape.stages - 1) * rows * width * ELEMENT
    if least > hardware.smem_per_block:
        return (
            f"the tiles that its loop reads ahead take {least:,} bytes of shared memory at least, "
            f"a block has {hardware.smem_per_block:,}"
        )
    columns = (width if of_keys else pad(attention.head_dim)) + 2 * rows
    there = hardware.tmem_columns
    if matrix_unit(hardware, lanes, shape.warps) is Unit.TCGEN05 and columns > there:
        return f"it takes {columns} columns of tensor memory at least, an SM has {there}"
    return ""


def misfit_of(attention: Attention, hardware: Hardware, kernel: Kernel) -> str:
    """Return why no shape with a kernel's pins fits a target, or an empty text."""
    if not pinned_sides(attention, kernel):
        return ""
    shapes = [it for load in Load for it in shapes_to_try(attention, hardware, kernel, load)]
    lacks = [lack(attention, hardware, kernel, shape) for shape in shapes]
    return lacks[-1] if all(lacks) else ""
