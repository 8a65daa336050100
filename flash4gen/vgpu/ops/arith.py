"""The `arith` dialect: integers with wrap-around, floats with one rounding, comparisons, casts."""

from __future__ import annotations

import ctypes
import operator
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import (
    FLOAT8,
    as_scalar,
    bits,
    int_dtype,
    is_float,
    is_tensor,
    torch_dtype,
    unsigned,
    wrapper,
)
from flash4gen.vgpu.lowering import (
    Alias,
    Constant,
    Lowered,
    Step,
    operand_type,
    operation,
    result_type,
    unsupported,
)
from flash4gen.vgpu.memory import poison, select
from flash4gen.vgpu.numerics import convert_float, convert_toward_zero
from flash4gen.vgpu.parse.tree import Operation, ScalarType, TensorType, Type

_Function = Callable[..., Any]


def on_scalars(function: _Function, operands: tuple[Type, ...], result: Type) -> _Function:
    """Turn a function of tensors into one of Python scalars with the same rounding."""
    dtypes = [torch_dtype(kind) for kind in operands]

    def call(*values: Any) -> Any:
        boxed = [torch.scalar_tensor(v, dtype=d) for v, d in zip(values, dtypes, strict=True)]
        return as_scalar(function(*boxed), result)

    return call


def elementwise(op: Operation, function: _Function) -> Step:
    """Return a step that applies a function of tensors to tensors or scalars of one type."""
    kind, result = operand_type(op), result_type(op)
    if not is_tensor(kind):
        function = on_scalars(function, (kind,) * len(op.operands), result)
    return Step(function, op.operands)


# --- integers ---------------------------------------------------------------------------------

_INTEGER: dict[str, tuple[_Function, _Function]] = {
    "arith.addi": (torch.add, operator.add),
    "arith.subi": (torch.sub, operator.sub),
    "arith.muli": (torch.mul, operator.mul),
    "arith.andi": (torch.bitwise_and, operator.and_),
    "arith.ori": (torch.bitwise_or, operator.or_),
    "arith.xori": (torch.bitwise_xor, operator.xor),
    "arith.minsi": (torch.minimum, min),
    "arith.maxsi": (torch.maximum, max),
}


@operation(*_INTEGER)
def _integer(op: Operation) -> Lowered:
    kind = operand_type(op)
    on_tensors, on_numbers = _INTEGER[op.name]
    if is_tensor(kind):
        if bits(kind) == 1 and op.name in ("arith.addi", "arith.subi"):
            on_tensors = torch.bitwise_xor
        return Step(on_tensors, op.operands)
    wrap = wrapper(kind)
    return Step(lambda a, b: wrap(on_numbers(a, b)), op.operands)


def _truncating_divide(a: int, b: int) -> int:
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _nonzero(divisor: Any) -> None:
    if isinstance(divisor, Tensor):
        divisor = bool(divisor.all())
    if not divisor:
        # Integer division by zero is undefined on the GPU; lanes that do it may be masked later.
        raise unsupported("integer division by zero")


@operation("arith.divsi", "arith.remsi")
def _signed_division(op: Operation) -> Lowered:
    kind = operand_type(op)
    rest = op.name == "arith.remsi"
    if is_tensor(kind):

        def on_tensors(a: Tensor, b: Tensor) -> Tensor:
            _nonzero(b)
            return torch.fmod(a, b) if rest else torch.div(a, b, rounding_mode="trunc")

        return Step(on_tensors, op.operands)
    wrap = wrapper(kind)

    def on_numbers(a: int, b: int) -> Any:
        _nonzero(b)
        quotient = _truncating_divide(a, b)
        return wrap(a - b * quotient if rest else quotient)

    return Step(on_numbers, op.operands)


_UNSIGNED: dict[str, _Function] = {
    "arith.divui": operator.floordiv,
    "arith.remui": operator.mod,
    "arith.shrui": operator.rshift,
    "arith.minui": min,
    "arith.maxui": max,
}


@operation(*_UNSIGNED)
def _unsigned(op: Operation) -> Lowered:
    kind = operand_type(op)
    function = _UNSIGNED[op.name]
    width = bits(kind)
    divides = op.name in ("arith.divui", "arith.remui")
    if not is_tensor(kind):
        read, wrap = unsigned(kind), wrapper(kind)

        def on_numbers(a: int, b: int) -> Any:
            if divides:
                _nonzero(b)
            return wrap(
                0
                if not divides and b >= width and function is operator.rshift
                else function(read(a), read(b))
            )

        return Step(on_numbers, op.operands)
    if op.name in ("arith.minui", "arith.maxui"):
        function = torch.minimum if op.name == "arith.minui" else torch.maximum
    return Step(
        _unsigned_on_tensors(function, width, torch_dtype(kind), divides=divides), op.operands
    )


def _unsigned_on_tensors(
    function: _Function, width: int, dtype: torch.dtype, *, divides: bool
) -> _Function:
    def call(a: Tensor, b: Tensor) -> Tensor:
        if divides:
            _nonzero(b)
        if width == 64:
            if bool((a < 0).any()) or bool((b < 0).any()):
                raise unsupported("unsigned 64-bit arithmetic on values of 2**63 and more")
            return function(a, b)  # type: ignore[no-any-return]
        mask = (1 << width) - 1
        return function(a.long() & mask, b.long() & mask).to(dtype)  # type: ignore[no-any-return]

    return call


@operation("arith.shli", "arith.shrsi")
def _shift(op: Operation) -> Lowered:
    kind = operand_type(op)
    left = op.name == "arith.shli"
    if is_tensor(kind):
        return Step(torch.bitwise_left_shift if left else torch.bitwise_right_shift, op.operands)
    wrap = wrapper(kind)
    function = operator.lshift if left else operator.rshift
    return Step(lambda a, b: wrap(function(a, b)), op.operands)


@operation("arith.extsi", "arith.extui", "arith.trunci", "arith.index_cast", "arith.index_castui")
def _integer_cast(op: Operation) -> Lowered:
    source, target = operand_type(op), result_type(op)
    zero_extend = op.name in ("arith.extui", "arith.index_castui")
    if not is_tensor(target):
        wrap = wrapper(target)
        if zero_extend:
            read = unsigned(source)
            return Step(lambda value: wrap(read(value)), op.operands)
        if bits(source) == 1:
            return Step(lambda value: wrap(-int(value)), op.operands)
        return Step(wrap, op.operands)
    dtype, width = torch_dtype(target), bits(source)
    if bits(target) == 1:
        return Step(lambda value: (value & 1).to(torch.bool), op.operands)
    if width == 1:
        sign = 1 if zero_extend else -1
        return Step(lambda value: value.to(dtype).mul_(sign), op.operands)
    if zero_extend:
        mask = (1 << width) - 1
        return Step(lambda value: value.to(dtype) & mask, op.operands)
    return Step(lambda value: value.to(dtype), op.operands)


# --- comparisons ------------------------------------------------------------------------------

_INT_COMPARE: dict[str, _Function] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "slt": operator.lt,
    "sle": operator.le,
    "sgt": operator.gt,
    "sge": operator.ge,
    "ult": operator.lt,
    "ule": operator.le,
    "ugt": operator.gt,
    "uge": operator.ge,
}


@operation("arith.cmpi")
def _compare_integers(op: Operation) -> Lowered:
    kind = operand_type(op)
    predicate = op.words[0]
    compare = _INT_COMPARE[predicate]
    if not is_tensor(kind):
        if predicate[0] == "u":
            read = unsigned(kind)
            return Step(lambda a, b: compare(read(a), read(b)), op.operands)
        return Step(compare, op.operands)
    if bits(kind) == 1 and predicate[0] == "s":
        # The true of a signed i1 is -1.
        return Step(lambda a, b: compare(b, a), op.operands)
    if predicate[0] == "u" and bits(kind) > 1:
        lowest = -(1 << bits(kind) - 1)
        return Step(lambda a, b: compare(a ^ lowest, b ^ lowest), op.operands)
    return Step(compare, op.operands)


_FLOAT_COMPARE: dict[str, _Function] = {
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
}


def _float_predicate(name: str) -> _Function:
    """Return the comparison; `o...` is false and `u...` is true where an operand is NaN."""
    match name:
        case "oeq" | "olt" | "ole" | "ogt" | "oge":
            return _FLOAT_COMPARE[name[1:]]
        case "une":
            return torch.ne
        case "one":
            return lambda a, b: (a < b) | (a > b)
        case "ord":
            return lambda a, b: ~(a.isnan() | b.isnan())
        case "uno":
            return lambda a, b: a.isnan() | b.isnan()
        case "ueq":
            return lambda a, b: ~((a < b) | (a > b))
        case "ult" | "ule" | "ugt" | "uge":
            opposite = {"ult": torch.ge, "ule": torch.gt, "ugt": torch.le, "uge": torch.lt}[name]
            return lambda a, b: ~opposite(a, b)
        case _:
            raise unsupported(f"predicate {name} of arith.cmpf is not supported")


@operation("arith.cmpf", attributes=("fastmath",))
def _compare_floats(op: Operation) -> Lowered:
    kind, function = operand_type(op), _float_predicate(op.words[0])
    if not is_tensor(kind):
        function = on_scalars(function, (kind, kind), ScalarType("i1"))
    return Step(function, op.operands)


@operation("arith.select")
def _select(op: Operation) -> Lowered:
    condition = operand_type(op)
    # With a scalar condition only the type of the values is printed. In the region of a reduction
    # everything is a tensor, whose shape the type does not tell.
    lifted = isinstance(condition, TensorType) and condition.shape == ()
    if not lifted and (len(op.operand_types) == 1 or not is_tensor(condition)):
        return Step(lambda c, a, b: a if c else b, op.operands)
    return Step(select if torch_dtype(result_type(op)) in FLOAT8 else torch.where, op.operands)


# --- floats -----------------------------------------------------------------------------------

_FLOAT: dict[str, _Function] = {
    "arith.addf": torch.add,
    "arith.subf": torch.sub,
    "arith.mulf": torch.mul,
    "arith.divf": torch.div,
    "arith.remf": torch.fmod,
    "arith.negf": torch.neg,
    "arith.maxnumf": torch.fmax,
    "arith.minnumf": torch.fmin,
    "arith.maximumf": torch.maximum,
    "arith.minimumf": torch.minimum,
}
# Products and sums of two fp32 values are exact enough in fp64 for one rounding to be the right
# one, so these need no tensor.
_FAST_F32: dict[str, _Function] = {
    "arith.addf": operator.add,
    "arith.subf": operator.sub,
    "arith.mulf": operator.mul,
}


@operation(*_FLOAT, attributes=("fastmath",))
def _float(op: Operation) -> Lowered:
    kind = operand_type(op)
    if kind == ScalarType("f32") and op.name in _FAST_F32:
        function = _FAST_F32[op.name]
        single = ctypes.c_float
        return Step(lambda a, b: single(function(a, b)).value, op.operands)
    return elementwise(op, _FLOAT[op.name])


# The largest fp64 below 2**63: what still converts to a 64-bit integer.
_BELOW_2_63 = 9223372036854774784.0


def rounding_of(op: Operation) -> str:
    """Return the rounding an operation asks for: `rtne` if it says nothing."""
    for word in op.words:
        match = re.fullmatch(r"(?:roundingmode|rounding)?<?(rtne|rtz|to_nearest_even)>?", word)
        if match:
            return "rtz" if match.group(1) == "rtz" else "rtne"
    written = op.attributes.get("rounding", op.attributes.get("roundingmode", "rtne"))
    return "rtz" if "rtz" in str(written) or "toward_zero" in str(written) else "rtne"


@operation("arith.truncf", "arith.extf", attributes=("fastmath", "roundingmode"))
def _float_cast(op: Operation) -> Lowered:
    source, target = operand_type(op), result_type(op)
    dtype = torch_dtype(target)
    convert = convert_toward_zero if rounding_of(op) == "rtz" else convert_float
    if is_tensor(target):
        return Step(lambda value: convert(value, dtype), op.operands)
    return Step(on_scalars(lambda value: convert(value, dtype), (source,), target), op.operands)


@operation("arith.sitofp", "arith.uitofp")
def _int_to_float(op: Operation) -> Lowered:
    source, target = operand_type(op), result_type(op)
    dtype, width = torch_dtype(target), bits(source)

    def convert(value: Tensor) -> Tensor:
        if width == 1:
            return value.to(dtype) if op.name == "arith.uitofp" else -value.to(dtype)
        if op.name == "arith.uitofp":
            if width == 64 and bool((value < 0).any()):
                raise unsupported("arith.uitofp of 64-bit values of 2**63 and more")
            value = value.long() & ((1 << width) - 1) if width < 64 else value
        return value.to(dtype)

    call = convert if is_tensor(target) else on_scalars(convert, (source,), target)
    return Step(call, op.operands)


@operation("arith.fptosi", "arith.fptoui")
def _float_to_int(op: Operation) -> Lowered:
    source, target = operand_type(op), result_type(op)
    dtype = torch_dtype(target)
    width = bits(target)
    signed = op.name == "arith.fptosi"
    low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)

    def convert(value: Tensor) -> Tensor:
        # `cvt.rzi` saturates and turns NaN into zero.
        wide = value.double().nan_to_num(nan=0.0, posinf=float(high), neginf=float(low)).trunc()
        whole = torch.where(wide >= float(high), high, wide.clamp(float(low), _BELOW_2_63).long())
        return whole.to(dtype)

    call = convert if is_tensor(target) else on_scalars(convert, (source,), target)
    return Step(call, op.operands)


@operation("arith.bitcast", "tt.bitcast")
def _bitcast(op: Operation) -> Lowered:
    source, target = operand_type(op), result_type(op)
    if torch_dtype(source) == torch_dtype(target):
        return Alias(op.operands)
    dtype = torch_dtype(target)

    def convert(value: Tensor) -> Tensor:
        if torch.bool in (value.dtype, dtype):
            return value.to(dtype)
        return value.contiguous().view(dtype)

    call = convert if is_tensor(target) else on_scalars(convert, (source,), target)
    return Step(call, op.operands)


# --- constants --------------------------------------------------------------------------------


@operation("arith.constant")
def _constant(op: Operation) -> Lowered:
    if not op.operand_types:
        return Constant(op.words[0] == "true")
    kind = operand_type(op)
    if isinstance(kind, TensorType):
        return Constant(_dense(op.words[0], kind))
    if op.words and op.words[0] in ("true", "false"):
        return Constant(op.words[0] == "true")
    return Constant(as_scalar(_literal(op.operands[0], kind), kind))


def _dense(word: str, kind: TensorType) -> Tensor:
    body = word.removeprefix("dense<").removesuffix(">").strip()
    if body.startswith('"'):
        raise unsupported("dense constants in hexadecimal bytes are not supported")
    parts = re.findall(r"true|false|-?0x[0-9A-Fa-f]+|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", body)
    values = [_literal(_number(part), kind) for part in parts]
    if len(values) == 1:
        return values[0].expand(kind.shape)
    return torch.stack(values).view(kind.shape)


def _number(text: str) -> int | float | bool:
    if text in ("true", "false"):
        return text == "true"
    if "0x" in text:
        return int(text, 16)
    return float(text) if any(sign in text for sign in ".eE") else int(text)


def _literal(value: Any, kind: Type) -> Tensor:
    """Return a zero-dimensional tensor; an integer literal of a float type is a bit pattern."""
    dtype = torch_dtype(kind)
    if is_float(kind) and isinstance(value, int) and not isinstance(value, bool):
        pattern = value.to_bytes(dtype.itemsize, "little")
        raw = torch.frombuffer(bytearray(pattern), dtype=int_dtype(dtype.itemsize))
        return raw.view(dtype)[0]
    if dtype in FLOAT8:
        return torch.tensor(value, dtype=torch.float32).to(dtype)
    return torch.tensor(value, dtype=dtype)


@operation("ub.poison")
def _poison(op: Operation) -> Lowered:
    kind = result_type(op)
    if is_tensor(kind) and isinstance(kind, TensorType):
        return Constant(poison(torch.Size(kind.shape), torch_dtype(kind)))
    return Constant(as_scalar(poison(torch.Size([1]), torch_dtype(kind)), kind))
