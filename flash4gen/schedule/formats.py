"""Element types that a target multiplies.

In: an ``Attention`` and a ``Hardware``. Out: the refusal of a type that the target's matrix
instructions do not take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.model import Diagnostic, Label, Severity
from flash4gen.ir import library
from flash4gen.ir.hardware import Feature
from flash4gen.ir.nodes import DType
from flash4gen.schedule.pins import NO_DTYPE

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention


_ANOTHER_VENDOR = 1000
"""Farther than any two compute capabilities are from each other."""


def _distance(one: Hardware, other: Hardware) -> int:
    """Return how many compute capabilities lie between two targets; the same for any AMD GPU."""
    if isinstance(one.arch, str) or isinstance(other.arch, str):
        return 0 if one.backend == other.backend else _ANOTHER_VENDOR
    return abs(one.arch - other.arch)


def no_dtype(attention: Attention, hardware: Hardware) -> Diagnostic | None:
    """Return why a target cannot multiply the elements of an attention, or None if it can."""
    if attention.dtype is not DType.FP8_E4M3 or hardware.has(Feature.FP8):
        return None
    written = attention.field_source("dtype")
    at = attention.span if written is None else written.span
    able = [item for item in library.targets() if item.has(Feature.FP8)]
    nearest = min(able, key=lambda item: (_distance(item, hardware), item.name)).name
    return Diagnostic(
        code=NO_DTYPE,
        severity=Severity.ERROR,
        message=f"`{attention.dtype}` cannot be multiplied on {hardware.doc}",
        primary=None if at is None else Label(at),
        notes=("its matrix instructions take no 8-bit floats: they came with sm_89",)
        if hardware.backend == "cuda"
        else ("its matrix instructions take no OCP 8-bit floats",),
        helps=(
            "the nearest that works there: write `dtype = bf16`, and convert q, k and v",
            f"or compile for a target that has `fp8` among its features, such as `{nearest}`",
        ),
    )
