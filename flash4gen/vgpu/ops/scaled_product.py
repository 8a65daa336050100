"""Products of narrow floats with scales for blocks of them: `ttng.tc_gen5_mma_scaled`.

Elements are e4m3, e5m2 or pairs of e2m1 in a byte, the first in its lower half; every 32 of them
along K (16 with e4m3 scales) share a scale. Formats as in the OCP Microscaling specification 1.0.
Scaled elements are exact in fp32, and so are their products but for the sum's rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from flash4gen.vgpu.dtypes import torch_dtype
from flash4gen.vgpu.lowering import Lowered, Step, operation, unsupported
from flash4gen.vgpu.ops.memory_ops import memdesc

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from flash4gen.vgpu.cta import Cta
    from flash4gen.vgpu.onchip import View
    from flash4gen.vgpu.parse.tree import Operation, Type

# The magnitudes of e2m1 by their three lower bits.
_E2M1 = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
_WIDE = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
_BIAS, _NAN = 127, 255


def unpack_e2m1(pairs: Tensor, axis: int) -> Tensor:
    """Return the numbers of bytes that hold two each; the axis gets twice as long."""
    bits = pairs.view(torch.uint8).int()
    halves = torch.stack((bits & 0xF, bits >> 4), axis + 1 if axis >= 0 else axis)
    magnitude = _E2M1[halves & 7]
    numbers = torch.where(halves > 7, -magnitude, magnitude)
    shape = list(pairs.shape)
    shape[axis] *= 2
    return numbers.reshape(shape)


def powers_of_two(exponents: Tensor) -> Tensor:
    """Return the numbers that e8m0 bytes stand for."""
    bits = exponents.view(torch.uint8).int()
    numbers = torch.exp2((bits - _BIAS).double()).float()
    return torch.where(bits == _NAN, float("nan"), numbers)


def _elements(form: str, kind: Type, axis: int) -> Callable[[Tensor], Tensor]:
    """Return how what an operand's memory holds becomes numbers."""
    dtype = torch_dtype(kind)
    if form == "e2m1":
        if dtype is not torch.int8:
            raise unsupported(f"e2m1 elements in {dtype}")
        if "fp4Padded = true" in memdesc(kind).layout:
            raise unsupported("e2m1 elements in padded memory")
        return lambda value: unpack_e2m1(value.contiguous(), axis)
    if form not in _WIDE:
        raise unsupported(f"ttng.tc_gen5_mma_scaled with elements of type {form}")
    wide = _WIDE[form]
    return lambda value: value.contiguous().view(wide).float()


def _scales(kind: Type) -> Callable[[Tensor], Tensor]:
    dtype = torch_dtype(kind)
    if dtype is torch.int8:
        return powers_of_two
    if dtype is torch.float8_e4m3fn:
        return lambda value: value.float()
    raise unsupported(f"scales of type {dtype}")


@operation(
    "ttng.tc_gen5_mma_scaled", attributes=("is_async", "two_ctas", "multicast", "lhs", "rhs")
)
def _scaled_product(op: Operation) -> Lowered:
    kinds = op.operand_types
    left = _elements(str(op.attributes["lhs"]), kinds[0], 1)
    right = _elements(str(op.attributes["rhs"]), kinds[1], 0)
    left_scale, right_scale = _scales(kinds[3]), _scales(kinds[4])
    pair = bool(op.attributes.get("two_ctas", False))
    everywhere = pair or bool(op.attributes.get("multicast", False))
    barriers = op.operands[7:]
    predicates = tuple(op.subscripts[7 + i][0] for i in range(len(barriers)))
    count = len(barriers)

    def product(
        values: tuple[Tensor, ...], start: Tensor | None, _target: Tensor | None = None
    ) -> Tensor:
        a, b = left(values[0]), right(values[1])
        block = a.shape[1] // values[2].shape[1]
        a = a * left_scale(values[2]).repeat_interleave(block, 1)
        b = b * right_scale(values[3]).repeat_interleave(block, 1).T
        return a @ b if start is None else torch.addmm(start, a, b)

    def multiply(  # noqa: PLR0913 - the operation's operands
        cta: Cta, a: View, b: View, d: View, sa: View, sb: View, use_d: Any, live: Any, *rest: Any
    ) -> None:
        if not live:
            cta.skip(d)
            return
        cta.multiply((a, b, sa, sb), d, product, accumulate=bool(use_d), pair=pair)
        on = tuple(view for view, here in zip(rest[:count], rest[count:], strict=True) if here)
        if on:
            cta.commit(on, everywhere=everywhere)

    return Step(multiply, op.operands + predicates, machine=True)
