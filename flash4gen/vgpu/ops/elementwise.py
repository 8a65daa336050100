"""Elementwise `tt` operations: conversions, clamps, libdevice functions, registered inline asm.

libdevice functions and blocks of inline assembly have meanings that no IR states. They are looked
up, by symbol and by text, in two tables; what is not in them is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import FLOAT8, is_tensor, torch_dtype
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.lowering import (
    Lowered,
    Nothing,
    Step,
    operand_type,
    operation,
    result_type,
    unsupported,
)
from flash4gen.vgpu.numerics import (
    convert_float,
    convert_toward_zero,
    fma,
    mulhi_unsigned,
    nearest_tf32,
    reciprocal,
)
from flash4gen.vgpu.ops.arith import elementwise, on_scalars, rounding_of

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Operation

_Function = Callable[..., Any]


@operation("tt.fp_to_fp", attributes=("rounding",))
def _fp_to_fp(op: Operation) -> Lowered:
    source, target = operand_type(op), result_type(op)
    dtype = torch_dtype(target)
    toward_zero = rounding_of(op) == "rtz"
    if toward_zero and dtype in FLOAT8:
        raise unsupported("tt.fp_to_fp to fp8 toward zero is not supported")
    convert = convert_toward_zero if toward_zero else convert_float
    if torch_dtype(source).itemsize <= dtype.itemsize:
        convert = convert_float
    if is_tensor(target):
        return Step(lambda value: convert(value, dtype), op.operands)
    return Step(on_scalars(lambda value: convert(value, dtype), (source,), target), op.operands)


@operation("tt.clampf", attributes=("propagateNan",))
def _clamp(op: Operation) -> Lowered:
    propagate = "all" in op.words or op.attributes.get("propagateNan") == "all"
    if propagate:

        def clamp(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
            return torch.minimum(torch.maximum(value, low), high)
    else:

        def clamp(value: Tensor, low: Tensor, high: Tensor) -> Tensor:
            return torch.fmin(torch.fmax(value, low), high)

    return elementwise(op, clamp)


_PACKED: dict[str, _Function] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "fma": fma,
    "min": torch.fmin,
    "max": torch.fmax,
}


@operation("ttng.packed_arith")
def _packed(op: Operation) -> Lowered:
    (kind, operands), *others = op.labelled.items()
    dtypes = {torch_dtype(one) for one in (*op.operand_types, result_type(op))}
    if kind not in _PACKED or len(dtypes) != 1 or others:
        raise unsupported(f"ttng.packed_arith {kind} of {', '.join(map(str, op.operand_types))}")
    return Step(_PACKED[kind], operands)


@operation("tt.mulhiui")
def _mulhi(op: Operation) -> Lowered:
    if torch_dtype(operand_type(op)) is not torch.int32:
        raise unsupported("tt.mulhiui of other than 32-bit integers is not supported")
    return elementwise(op, mulhi_unsigned)


_LIBDEVICE: dict[str, _Function] = {
    "tanh": torch.tanh,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "log": torch.log,
    "log2": torch.log2,
    "log1p": torch.log1p,
    "erf": torch.erf,
    "sqrt": torch.sqrt,
    "rsqrt": torch.rsqrt,
    "rint": torch.round,
    "nearbyint": torch.round,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
    "sin": torch.sin,
    "cos": torch.cos,
    "atan": torch.atan,
    "asinh": torch.asinh,
    "fabs": torch.abs,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
    "fma": fma,
    "pow": torch.pow,
    "fast_exp": torch.exp,
    "fast_log": torch.log,
    "fast_log2": torch.log2,
    "fast_tanh": torch.tanh,
    "fast_div": torch.div,
    "fast_fdivide": lambda a, b: a * torch.reciprocal(b),
    "fdiv_rn": torch.div,
    "div_rn": torch.div,
    "mul_rn": torch.mul,
    "add_rn": torch.add,
    "sub_rn": torch.sub,
    "isnan": torch.isnan,
    "isinf": torch.isinf,
}


def register_libdevice(symbol: str, function: _Function) -> None:
    """Give a libdevice function its meaning on tensors.

    Its name goes without `__nv_` and the trailing `f`; on AMD without `__ocml_` and `_f32`, or
    without `__triton_hip_`.
    """
    _LIBDEVICE[symbol] = function


_VENDOR = re.compile(r"__(nv|ocml|triton_hip)_")


def _libdevice(symbol: str) -> _Function:
    name = _VENDOR.sub("", symbol).removesuffix("_f32")
    # fp32 variants end in f; those with a rounding begin with it: __nv_tanhf, __nv_fdiv_rn.
    for known in (name, name.removesuffix("f"), name.removeprefix("f")):
        if known in _LIBDEVICE:
            return _LIBDEVICE[known]
    raise unsupported(f"libdevice function {symbol} is not registered")


@operation("tt.extern_elementwise", attributes=("libname", "libpath", "pure", "symbol"))
def _extern(op: Operation) -> Lowered:
    function = _libdevice(str(op.attributes["symbol"]))
    target = result_type(op)
    dtype = torch_dtype(target)

    def call(*values: Tensor) -> Any:
        return function(*values).to(dtype)

    if not is_tensor(target):
        return Step(on_scalars(call, op.operand_types, target), op.operands)
    return Step(call, op.operands)


_ASM: dict[str, _Function] = {}


def _normal(text: str) -> str:
    """Return assembly text without what does not matter: white space and line breaks."""
    return re.sub(r"\s+", " ", text.replace("\\0A", " ").replace("\\09", " ")).strip()


def register_asm(text: str, function: _Function) -> None:
    """Give a pure, elementwise block of inline assembly its meaning.

    Args:
        text: the assembly as the kernel writes it; white space does not matter.
        function: takes the operands as tensors of equal shape, returns a tensor or a tuple.
    """
    _ASM[_normal(text)] = function


register_asm("ex2.approx.ftz.f32 $0, $1;", torch.exp2)
register_asm("ex2.approx.f32 $0, $1;", torch.exp2)
register_asm("lg2.approx.ftz.f32 $0, $1;", torch.log2)
register_asm("lg2.approx.f32 $0, $1;", torch.log2)
register_asm("rcp.approx.ftz.f32 $0, $1;", reciprocal)
register_asm("rsqrt.approx.ftz.f32 $0, $1;", torch.rsqrt)
register_asm("cvt.rna.tf32.f32 $0, $1;", nearest_tf32)


@operation(
    "tt.elementwise_inline_asm", attributes=("constraints", "packed_element", "pure", "asm_string")
)
def _inline_asm(op: Operation) -> Lowered:
    text = op.strings[0] if op.strings else str(op.attributes.get("asm_string", ""))
    function = _ASM.get(_normal(text))
    if function is None:
        raise unsupported(f"inline assembly without a registered meaning: {_normal(text)[:200]}")
    if not op.attributes.get("pure", False):
        raise unsupported("inline assembly that is not pure is not supported")
    if not is_tensor(result_type(op)):
        return Step(on_scalars(function, op.operand_types, result_type(op)), op.operands)
    return Step(function, op.operands)


@operation("tt.assert", attributes=("message",))
def _assert(op: Operation) -> Lowered:
    text = (op.strings or ("assertion failed",))[0]

    def check(condition: Any) -> None:
        holds = bool(condition.all()) if isinstance(condition, Tensor) else bool(condition)
        if not holds:
            raise FaultError(FindingKind.ASSERTION, f"device assertion failed: {text}")

    return Step(check, op.operands)


@operation("tt.print", attributes=("hex", "isSigned"))
def _print(op: Operation) -> Lowered:
    if not op.operands:
        return Nothing()
    prefix = (op.strings or ("",))[0]

    def show(cta: Any, *values: Any) -> None:
        print(f"program {cta.program}{prefix}", *values)

    return Step(show, op.operands, machine=True)
