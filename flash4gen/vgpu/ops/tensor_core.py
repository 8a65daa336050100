"""Matrix products on all generations, and the tensor memory of the newest.

Products of 16- and 8-bit inputs are exact in fp32 and are summed in fp32, in the order of torch's
matmul; the hardware's order is not specified either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import torch_dtype
from flash4gen.vgpu.engines import PendingDot
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.fold import halved
from flash4gen.vgpu.lowering import (
    Lowered,
    Step,
    integer,
    operand_type,
    operation,
    result_type,
    unsupported,
)
from flash4gen.vgpu.numerics import truncate_to_tf32
from flash4gen.vgpu.onchip import View
from flash4gen.vgpu.ops.memory_ops import allocate, memdesc
from flash4gen.vgpu.ops.shape import max_number, min_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.vgpu.cta import Cta
    from flash4gen.vgpu.parse.tree import Operation, Type

_Source = Tensor | View
_PRECISIONS = {0: "tf32", 1: "tf32x3", 2: "ieee", 3: "bf16x3", 4: "bf16x6"}


def _widen(precision: str, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """Return how an input becomes what is multiplied."""
    if dtype is torch.float32:
        if precision == "tf32":
            return truncate_to_tf32
        if precision != "ieee":
            raise unsupported(f"input precision {precision} is not supported")
        return lambda value: value
    if dtype is torch.int8:
        return lambda value: value.int()
    if dtype is torch.float64:
        return lambda value: value
    return Tensor.float


def _precision(op: Operation) -> str:
    written = op.attributes.get("inputPrecision", "ieee")
    return _PRECISIONS[written] if isinstance(written, int) else str(written)


def _dtype(kind: Type) -> torch.dtype:
    return torch_dtype(kind)


def _value(cta: Cta, source: _Source) -> Tensor:
    return cta.value(source) if isinstance(source, View) else source


def _multiply_add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    if c.dtype is torch.float16:  # accumulators of 16 bits are kept wide inside of a product
        return (c.float() + a @ b).half()
    return torch.addmm(c, a, b) if a.dim() == 2 else torch.baddbmm(c, a, b)


def multiply_into(d: Tensor, a: Tensor, b: Tensor, c: Tensor | None) -> Tensor:
    """Return `a @ b`, or `a @ b + c`, in the memory of `d` where the same bits come out there."""
    own = d.dtype is torch.float32 and d.dim() == 2 and d.is_contiguous()
    if not own or (c is not None and c is not d) or _shares(d, a) or _shares(d, b):
        return a @ b if c is None else _multiply_add(a, b, c)
    return torch.mm(a, b, out=d) if c is None else torch.addmm(d, a, b, out=d)


def _shares(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


_DOT = ("inputPrecision", "maxNumImpreciseAcc")


@operation("tt.dot", attributes=_DOT)
def _dot(op: Operation) -> Lowered:
    widen = _widen(_precision(op), _dtype(operand_type(op)))

    def dot(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return _multiply_add(widen(a), widen(b), c)

    return Step(dot, op.operands)


_UNSCALED = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}


@operation("tt.dot_scaled", attributes=("fastMath", "lhs", "rhs", "lhs_k_pack", "rhs_k_pack"))
def _dot_scaled(op: Operation) -> Lowered:
    """Multiply matrices without scales: what Triton makes of products of fp8 on AMD's gfx950."""
    elements = [_UNSCALED.get(str(op.attributes.get(side))) for side in ("lhs", "rhs")]
    if op.labelled or len(op.operands) != 3 or elements != [_dtype(t) for t in op.operand_types]:
        raise unsupported("tt.dot_scaled with scales, or of other than e4m3 and e5m2")

    def dot(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        return _multiply_add(a.float(), b.float(), c)

    return Step(dot, op.operands)


# --- wgmma ------------------------------------------------------------------------------------


@operation("ttng.warp_group_dot", attributes=(*_DOT, "isAsync"))
def _warp_group_dot(op: Operation) -> Lowered:
    widen = _widen(_precision(op), _dtype(operand_type(op)))
    waits = not op.attributes.get("isAsync", False)

    def dot(
        cta: Cta, a: _Source, b: _Source, c: Tensor | PendingDot, use_c: Any = None
    ) -> Tensor | PendingDot:
        def compute() -> Tensor:
            start = c.value if isinstance(c, PendingDot) else c
            if start is None:
                raise FaultError(FindingKind.IN_FLIGHT, "accumulator of a product that never ran")
            if use_c is not None and not use_c:
                start = torch.zeros_like(start)
            return _multiply_add(widen(_value(cta, a)), widen(_value(cta, b)), start)

        reads = tuple(source for source in (a, b) if isinstance(source, View))
        pending = cta.dot(reads, compute)
        if waits:
            cta.wait_dots(0)
            return pending.value  # type: ignore[return-value]
        return pending

    return Step(dot, op.operands, machine=True)


@operation("ttng.warp_group_dot_wait", attributes=("pendings",))
def _warp_group_dot_wait(op: Operation) -> Lowered:
    pending = integer(op, "pendings")

    def wait(cta: Cta, *values: Any) -> Any:
        cta.wait_dots(pending)
        done = tuple(_settled(value) for value in values)
        return done[0] if len(done) == 1 else done

    return Step(wait, op.operands, machine=True)


def _settled(value: Any) -> Any:
    if isinstance(value, PendingDot) and value.value is not None:
        return value.value
    return value


# --- tensor memory ----------------------------------------------------------------------------


@operation(
    "ttng.tmem_alloc",
    attributes=("tensor_memory_col_offset", "tensor_memory_row_offset"),
)
def _tmem_alloc(op: Operation) -> Lowered:
    return allocate(op, "tmem")


@operation("ttng.tmem_load", attributes=("redOp", "abs", "NaN"))
def _tmem_load(op: Operation) -> Lowered:
    if len(op.results) == 1:
        return Step(lambda cta, view: cta.read(view), op.operands, machine=True)
    written = str(op.attributes.get("redOp"))
    if "max" not in written and "min" not in written:
        raise unsupported(f"ttng.tmem_load with the reduction {written}")
    reduce: Callable[..., Tensor] = max_number if "max" in written else min_number
    if op.attributes.get("NaN"):
        reduce = torch.amax if "max" in written else torch.amin
    magnitude = bool(op.attributes.get("abs", False))

    def load(cta: Cta, view: View) -> tuple[Tensor, Tensor]:
        value = cta.read(view)
        return value, reduce(value.abs() if magnitude else value, -1)

    return Step(load, op.operands, machine=True)


@operation("ttng.tmem_copy")
def _tmem_copy(op: Operation) -> Lowered:
    source, target = (memdesc(kind) for kind in op.operand_types[:2])
    known = ("tensor_memory_encoding", "tensor_memory_scales_encoding")
    if source.shape != target.shape or not any(name in target.layout for name in known):
        raise unsupported(f"ttng.tmem_copy from {source} to {target} of {target.layout}")
    if len(op.operands) != 2:
        raise unsupported("ttng.tmem_copy with a barrier is not supported")
    return Step(lambda cta, source, target: cta.transfer(source, target), op.operands, machine=True)


@operation("ttng.tmem_store")
def _tmem_store(op: Operation) -> Lowered:
    def store(cta: Cta, value: Tensor, view: View, predicate: Any = True) -> None:
        if predicate:
            cta.write(view, value)
        else:
            cta.skip(view)

    return Step(store, op.operands, machine=True)


@operation("ttng.tmem_subslice", attributes=("N", "offset", "dim"))
def _tmem_subslice(op: Operation) -> Lowered:
    kind = memdesc(result_type(op))
    start = integer(op, "offset" if "offset" in op.attributes else "N")
    axis = op.attributes.get("dim", len(kind.shape) - 1)
    if not isinstance(axis, int) or not 0 <= axis < len(kind.shape):
        raise unsupported(f"ttng.tmem_subslice along dimension {axis}")
    extent = kind.shape[axis]
    source = memdesc(op.operand_types[0])
    if halved(source) and extent < source.shape[axis]:
        # Triton 3.9 lets four warps load a part: two of them read lanes that do not hold it.
        raise unsupported(
            "ttng.tmem_subslice of 64 rows of a pair, whose columns lie in two halves of the lanes"
        )
    return Step(
        lambda view: view.derive(
            ("part", axis, start, extent),
            kind.layout,
            lambda tensor: tensor.narrow(axis, start, extent),
        ),
        op.operands,
    )


@operation(
    "ttng.tc_gen5_mma",
    attributes=("is_async", "two_ctas", "multicast", "inputPrecision"),
)
def _tc_gen5_mma(op: Operation) -> Lowered:
    pair = bool(op.attributes.get("two_ctas", False))
    everywhere = pair or bool(op.attributes.get("multicast", False))
    precision = _precision(op) if "inputPrecision" in op.attributes else "tf32"
    widen = _widen(precision, _dtype(operand_type(op)))
    # Without `is_async` the operation waits for nothing either: the code has no wait behind it.
    barriers = op.operands[5:]
    predicates = tuple(op.subscripts[5 + i][0] for i in range(len(barriers)))
    count = len(barriers)

    def product(
        values: tuple[Tensor, ...], start: Tensor | None, target: Tensor | None = None
    ) -> Tensor:
        left, right = values
        if target is not None:
            return multiply_into(target, widen(left), widen(right), start)
        if start is None:
            return widen(left) @ widen(right)
        return _multiply_add(widen(left), widen(right), start)

    def multiply(
        cta: Cta, a: View, b: View, d: View, use_d: Any, predicate: Any, *rest: Any
    ) -> None:
        if not predicate:
            cta.skip(d)
            return

        cta.multiply((a, b), d, product, accumulate=bool(use_d), pair=pair)
        on = tuple(view for view, live in zip(rest[:count], rest[count:], strict=True) if live)
        if on:
            cta.commit(on, everywhere=everywhere)

    return Step(multiply, op.operands + predicates, machine=True)


@operation("ttng.tc_gen5_commit", attributes=("two_ctas",))
def _tc_gen5_commit(op: Operation) -> Lowered:
    barrier, predicate, *shared = (*op.operands, True) if len(op.operands) == 1 else op.operands

    def commit(cta: Cta, view: View, predicate: Any) -> None:
        if predicate:
            cta.commit((view,), everywhere=bool(shared))

    return Step(commit, (barrier, predicate), machine=True)
