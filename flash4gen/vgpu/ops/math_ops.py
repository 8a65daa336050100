"""The `math` dialect: torch's function where it is right to the last bit or close to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flash4gen.vgpu.lowering import Lowered, operation
from flash4gen.vgpu.numerics import fma
from flash4gen.vgpu.ops.arith import elementwise

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Operation

_UNARY = {
    "math.exp": torch.exp,
    "math.exp2": torch.exp2,
    "math.log": torch.log,
    "math.log2": torch.log2,
    "math.sqrt": torch.sqrt,
    "math.rsqrt": torch.rsqrt,
    "math.sin": torch.sin,
    "math.cos": torch.cos,
    "math.tanh": torch.tanh,
    "math.erf": torch.erf,
    "math.floor": torch.floor,
    "math.ceil": torch.ceil,
    "math.trunc": torch.trunc,
    "math.roundeven": torch.round,
    "math.absf": torch.abs,
    "math.absi": torch.abs,
    "tt.precise_sqrt": torch.sqrt,
}


@operation(*_UNARY, attributes=("fastmath",))
def _unary(op: Operation) -> Lowered:
    return elementwise(op, _UNARY[op.name])


# `approx_divf` is `div.full.f32`, right to 2 ulp; here both are rounded correctly.
@operation("tt.precise_divf", "tt.approx_divf")
def _divide(op: Operation) -> Lowered:
    return elementwise(op, torch.div)


@operation("math.fma", attributes=("fastmath",))
def _fma(op: Operation) -> Lowered:
    return elementwise(op, fma)
