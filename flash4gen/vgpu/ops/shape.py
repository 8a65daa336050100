"""Operations that move or reduce elements: views of torch tensors where possible, no copies."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import FLOAT8, as_scalar, is_tensor, torch_dtype
from flash4gen.vgpu.lowering import (
    Alias,
    Constant,
    Lowered,
    RegionCompiler,
    Step,
    integer,
    integers,
    operand_type,
    operation,
    result_type,
    unsupported,
)
from flash4gen.vgpu.parse.tree import Operation, TensorType, Type

_Function = Callable[..., Any]


def _shape(kind: Type) -> tuple[int, ...]:
    if not isinstance(kind, TensorType):
        raise unsupported(f"expected a tensor, not {kind}")
    return kind.shape


def _raw(value: Tensor) -> Tensor:
    """Return fp8 tensors as bytes: torch moves those, but not fp8, in every operation."""
    return value.view(torch.int8) if value.dtype in FLOAT8 else value


@operation("tt.splat", "tt.unsplat")
def _splat(op: Operation) -> Lowered:
    if op.name == "tt.unsplat":
        target = result_type(op)
        return Step(lambda value: as_scalar(value.reshape(-1)[0], target), op.operands)
    target = result_type(op)
    shape, dtype = _shape(target), torch_dtype(target)
    if dtype in FLOAT8:
        return Step(
            lambda value: torch.tensor(value, dtype=torch.float32).to(dtype).expand(shape),
            op.operands,
        )
    make = torch.scalar_tensor
    last: list[Any] = [None, None]

    def splat(value: Any) -> Tensor:
        # In a loop it is the same number again, as a rule.
        if value is not last[0]:
            last[:] = value, make(value, dtype=dtype).expand(shape)
        tensor: Tensor = last[1]
        return tensor

    return Step(splat, op.operands)


@operation("tt.broadcast")
def _broadcast(op: Operation) -> Lowered:
    shape = _shape(result_type(op))
    return Step(lambda value: value.expand(shape), op.operands)


@operation("tt.expand_dims", attributes=("axis",))
def _expand_dims(op: Operation) -> Lowered:
    axis = integer(op, "axis")
    return Step(lambda value: value.unsqueeze(axis), op.operands)


@operation("tt.reshape", attributes=("allow_reorder", "efficient_layout"))
def _reshape(op: Operation) -> Lowered:
    shape = _shape(result_type(op))
    return Step(lambda value: value.reshape(shape), op.operands)


@operation("tt.trans", attributes=("order",))
def _transpose(op: Operation) -> Lowered:
    order = integers(op, "order")
    return Step(lambda value: value.permute(order), op.operands)


@operation("tt.join")
def _join(op: Operation) -> Lowered:
    return Step(lambda a, b: torch.stack((_raw(a), _raw(b)), -1).view(a.dtype), op.operands)


@operation("tt.split")
def _split(op: Operation) -> Lowered:
    return Step(lambda value: (value[..., 0], value[..., 1]), op.operands)


@operation("tt.cat")
def _cat(op: Operation) -> Lowered:
    return Step(lambda a, b: torch.cat((_raw(a), _raw(b))).view(a.dtype), op.operands)


@operation("tt.make_range", attributes=("start", "end"))
def _make_range(op: Operation) -> Lowered:
    start, end = integer(op, "start"), integer(op, "end")
    return Constant(torch.arange(start, end, dtype=torch.int32))


@operation("ttg.convert_layout", "gluon.set_auto_layout", "amdg.in_thread_transpose")
def _convert_layout(op: Operation) -> Lowered:
    return Alias(op.operands)


@operation("tt.gather", attributes=("axis", "efficient_layout"))
def _gather(op: Operation) -> Lowered:
    axis = integer(op, "axis")

    def gather(source: Tensor, index: Tensor) -> Tensor:
        return torch.gather(_raw(source), axis, index.long()).view(source.dtype)

    operands = op.operands + op.subscripts.get(0, ())
    return Step(gather, operands)


@operation("tt.get_program_id")
def _program_id(op: Operation) -> Lowered:
    axis = "xyz".index(op.words[0])
    return Step(lambda cta: cta.program[axis], (), machine=True)


@operation("tt.get_num_programs")
def _num_programs(op: Operation) -> Lowered:
    axis = "xyz".index(op.words[0])
    return Step(lambda cta: cta.grid[axis], (), machine=True)


# --- reductions -------------------------------------------------------------------------------


def _sum(value: Tensor, axis: int) -> Tensor:
    return value.sum(axis, dtype=value.dtype)


def max_number(value: Tensor, axis: int) -> Tensor:
    """Return the largest number along an axis; NaN only where there is none."""
    top = value.amax(axis)
    # NaN loses against a number, and torch lets it win. (A sum is NaN for others as well: no harm.)
    if math.isnan(top.sum().item()):
        top = torch.where(value.isnan(), float("-inf"), value).amax(axis)
        return torch.where(value.isnan().all(axis), float("nan"), top)
    return top


def min_number(value: Tensor, axis: int) -> Tensor:
    """Return the smallest number along an axis; NaN only where there is none."""
    return -max_number(-value, axis)


_WHOLE: dict[str, _Function] = {
    "arith.maxnumf": max_number,
    "arith.minnumf": min_number,
    "arith.maximumf": torch.amax,
    "arith.minimumf": torch.amin,
    "arith.maxsi": torch.amax,
    "arith.minsi": torch.amin,
    "arith.addi": _sum,
}


def _whole_reduction(op: Operation) -> _Function | None:
    """Return torch's reduction where the region is one operation that torch has."""
    block = op.regions[0].blocks[0]
    if len(block.operations) != 2 or len(block.arguments) != 2:
        return None
    combine = block.operations[0]
    if set(combine.operands) != {argument.name for argument in block.arguments}:
        return None
    dtype = torch_dtype(operand_type(op))
    if combine.name == "arith.addf" and dtype in (torch.float32, torch.float64):
        return _sum
    return None if dtype is torch.bool else _WHOLE.get(combine.name)


@operation("tt.reduce", attributes=("axis",))
def _reduce(op: Operation, compiler: RegionCompiler) -> Lowered:
    axis = integer(op, "axis")
    whole = _whole_reduction(op)
    reduce: _Function
    if whole is not None:
        reduce = partial(_one, whole, axis)
    else:
        reduce = partial(_fold, compiler.elementwise(op.regions[0]), axis)
    kinds = op.result_types
    if is_tensor(kinds[0]):
        return Step(reduce, op.operands)

    def to_scalars(*values: Tensor) -> Any:
        reduced = reduce(*values)
        if len(kinds) == 1:
            return as_scalar(reduced, kinds[0])
        return tuple(as_scalar(v, kind) for v, kind in zip(reduced, kinds, strict=True))

    return Step(to_scalars, op.operands)


def _one(reduce: _Function, axis: int, value: Tensor) -> Any:
    return reduce(value, axis)


def _fold(combine: _Function, axis: int, *values: Tensor) -> Any:
    """Combine the two halves of the axis until one element is left."""
    parts = values
    while (length := parts[0].shape[axis]) > 1:
        half = length // 2
        low = [part.narrow(axis, 0, half) for part in parts]
        high = [part.narrow(axis, half, half) for part in parts]
        combined = combine(*low, *high)
        parts = combined if isinstance(combined, tuple) else (combined,)
    done = tuple(part.squeeze(axis) for part in parts)
    return done[0] if len(done) == 1 else done


@operation("tt.scan", attributes=("axis", "reverse"))
def _scan(op: Operation, compiler: RegionCompiler) -> Lowered:
    axis, reverse = integer(op, "axis"), bool(op.attributes.get("reverse", False))
    combine = compiler.elementwise(op.regions[0])

    def scan(*values: Tensor) -> Any:
        columns = [value.flip(axis) if reverse else value for value in values]
        steps = [tuple(column.select(axis, 0) for column in columns)]
        for i in range(1, columns[0].shape[axis]):
            new = combine(*steps[-1], *(column.select(axis, i) for column in columns))
            steps.append(new if isinstance(new, tuple) else (new,))
        done = [torch.stack(parts, axis) for parts in zip(*steps, strict=True)]
        done = [part.flip(axis) if reverse else part for part in done]
        return done[0] if len(done) == 1 else tuple(done)

    return Step(scan, op.operands)


@operation("tt.map_elementwise", attributes=("pack",))
def _map_elementwise(op: Operation, compiler: RegionCompiler) -> Lowered:
    if op.attributes.get("pack", 1) != 1:
        raise unsupported("tt.map_elementwise over packs of elements is not supported")
    return Step(compiler.elementwise(op.regions[0]), op.operands)
