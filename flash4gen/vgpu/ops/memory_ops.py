"""Pointers, loads and stores of global memory, descriptors as Triton IR has them, and SMEM."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import as_scalar, is_tensor, torch_dtype
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.lowering import (
    Alias,
    Lowered,
    Nothing,
    Step,
    integer,
    integers,
    operand_type,
    operation,
    result_type,
    unsupported,
)
from flash4gen.vgpu.memory import poison
from flash4gen.vgpu.merged import reshaped
from flash4gen.vgpu.ops.reinterpret import reinterpret
from flash4gen.vgpu.parse.tree import (
    MemDescType,
    Operand,
    Operation,
    PointerType,
    ScalarType,
    TensorType,
    Type,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.vgpu.cta import Cta
    from flash4gen.vgpu.onchip import View

# Hints to the cache; they decide no value.
_CACHE = ("cacheModifier", "evictionPolicy", "isVolatile", "cache", "evict")


def _pointee(kind: Type) -> torch.dtype:
    inner = kind.element if isinstance(kind, TensorType) else kind
    if not isinstance(inner, PointerType):
        raise unsupported(f"expected a pointer, not {kind}")
    # A boolean in memory is a byte.
    if inner.element == ScalarType("i1"):
        return torch.int8
    return torch_dtype(inner.element)


def arguments(op: Operation, count: int) -> tuple[Operand | None, ...]:
    """Return the operands, filled up with None to `count`."""
    if len(op.operands) > count:
        raise unsupported(f"{op.name} with {len(op.operands)} operands is not supported")
    return op.operands + (None,) * (count - len(op.operands))


@operation("tt.addptr")
def _addptr(op: Operation) -> Lowered:
    size = _pointee(operand_type(op)).itemsize
    if not is_tensor(operand_type(op)):
        return Step(lambda pointer, offset: pointer + offset * size, op.operands)
    add = torch.add
    return Step(lambda pointer, offset: add(pointer, offset, alpha=size), op.operands)


@operation("tt.int_to_ptr", "tt.ptr_to_int")
def _pointer_cast(op: Operation) -> Lowered:
    return Alias(op.operands)


@operation("tt.load", attributes=(*_CACHE, "boundaryCheck", "padding"))
def _load(op: Operation) -> Lowered:
    kind = operand_type(op)
    dtype = _pointee(kind)
    boolean = isinstance(_inner(kind), PointerType) and _is_i1(kind)
    if is_tensor(kind):

        def load(cta: Cta, address: Tensor, mask: Any, other: Any) -> Tensor:
            if boolean and other is not None:
                other = other.to(torch.int8)
            value = cta.load(address, mask, other, dtype)
            return value.to(torch.bool) if boolean else value

        return Step(load, arguments(op, 3), machine=True)
    inner = _inner(kind)
    target = inner.element if isinstance(inner, PointerType) else inner
    blank = as_scalar(poison(torch.Size([1]), dtype), target)

    def load_one(cta: Cta, address: int, mask: Any, other: Any) -> Any:
        if mask is not None and not mask:
            return blank if other is None else other
        return as_scalar(cta.load_one(address, dtype), target)

    return Step(load_one, arguments(op, 3), machine=True)


def _inner(kind: Type) -> Type:
    return kind.element if isinstance(kind, TensorType) else kind


def _is_i1(kind: Type) -> bool:
    inner = _inner(kind)
    return isinstance(inner, PointerType) and inner.element == ScalarType("i1")


@operation("tt.store", attributes=(*_CACHE, "boundaryCheck"))
def _store(op: Operation) -> Lowered:
    kind = operand_type(op)
    dtype = _pointee(kind)
    one = not is_tensor(kind)

    def store(cta: Cta, address: Any, value: Any, mask: Any) -> None:
        if one:
            if mask is not None and not mask:
                return
            address = torch.tensor([address])
            value, mask = torch.tensor([value]).to(dtype), None
        elif value.dtype is torch.bool:
            value = value.to(torch.int8)
        cta.store(address, value, mask)

    return Step(store, arguments(op, 3), machine=True)


_ATOMIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "fadd": torch.add,
    "add": torch.add,
    "max": torch.maximum,
    "min": torch.minimum,
    "and": torch.bitwise_and,
    "or": torch.bitwise_or,
    "xor": torch.bitwise_xor,
    "exch": lambda _old, new: new,
    "umax": lambda old, new: torch.maximum(_flip(old), _flip(new)) ^ _lowest(old),
    "umin": lambda old, new: torch.minimum(_flip(old), _flip(new)) ^ _lowest(old),
}


_RELEASES = ("release", "acq_rel")


def _lowest(value: Tensor) -> int:
    return torch.iinfo(value.dtype).min


def _flip(value: Tensor) -> Tensor:
    """Map unsigned order to signed order."""
    return value ^ _lowest(value)


@operation("tt.atomic_rmw", attributes=("allocation.offset",))
def _atomic(op: Operation) -> Lowered:
    name = op.words[0]
    if name not in _ATOMIC:
        raise unsupported(f"tt.atomic_rmw {name} is not supported")
    combine, dtype = _ATOMIC[name], _pointee(operand_type(op))
    target = result_type(op)

    def atomic(cta: Cta, address: Any, value: Any, mask: Any) -> Any:
        one = not isinstance(address, Tensor)
        if one:
            address = torch.tensor([address])
            value = torch.tensor([value], dtype=dtype)
            mask = None if mask is None else torch.tensor([mask])
        if op.words[1] in _RELEASES:
            cta.publish()
        old = cta.update(address, value, mask, combine)
        return as_scalar(old, target) if one else old

    return Step(atomic, arguments(op, 3), machine=True)


@operation("tt.atomic_cas")
def _compare_and_swap(op: Operation) -> Lowered:
    dtype = _pointee(operand_type(op))
    target = result_type(op)
    if is_tensor(target):
        raise unsupported("tt.atomic_cas on tensors is not supported")

    def swap(cta: Cta, address: int, expected: Any, new: Any) -> Any:
        where = torch.tensor([address])
        old = cta.update(where, torch.zeros(1, dtype=dtype), None, lambda old, _: old)
        match = old == torch.tensor([expected], dtype=dtype)
        cta.update(where, torch.tensor([new], dtype=dtype), match, _ATOMIC["exch"])
        return as_scalar(old, target)

    return Step(swap, op.operands, machine=True)


@operation("tt.atomic_poll")
def _poll(op: Operation) -> Lowered:
    dtype = _pointee(operand_type(op))
    if is_tensor(result_type(op)) or len(op.operands) > 2:
        raise unsupported("tt.atomic_poll on tensors, or with a time limit, is not supported")

    def poll(cta: Cta, address: int, expected: Any) -> Any:
        return cta.poll(address, torch.tensor(expected, dtype=dtype))

    return Step(poll, op.operands, machine=True, blocks=True)


# --- shared memory ----------------------------------------------------------------------------


def memdesc(kind: Type) -> MemDescType:
    """Return a type that must be a memory descriptor's."""
    if not isinstance(kind, MemDescType):
        raise unsupported(f"expected a memory descriptor, not {kind}")
    return kind


def allocate(op: Operation, space: str) -> Step:
    """Return the step that allocates on-chip memory and stores the operand in it, if any."""
    kind = memdesc(result_type(op))
    if kind.space != space:
        raise unsupported(f"{op.name} of {kind}")
    dtype = torch_dtype(kind)
    size = math.prod(kind.shape) * dtype.itemsize
    name = f"%{op.results[0]}"

    def alloc(cta: Cta, value: Tensor | None = None) -> View:
        view = cta.allocate(kind, dtype, size, name)
        if value is not None:
            cta.write(view, value)
        return view

    return Step(alloc, op.operands, machine=True)


@operation("ttg.local_alloc", attributes=("alignment", "allocation.offset"))
def _local_alloc(op: Operation) -> Lowered:
    return allocate(op, "smem")


@operation("ttg.local_dealloc")
def _local_dealloc(op: Operation) -> Lowered:
    return Step(lambda cta, view: cta.deallocate(view), op.operands, machine=True)


@operation("ttg.local_load")
def _local_load(op: Operation) -> Lowered:
    return Step(lambda cta, view: cta.read(view), op.operands, machine=True)


@operation("ttg.local_store")
def _local_store(op: Operation) -> Lowered:
    return Step(lambda cta, value, view: cta.write(view, value), op.operands, machine=True)


@operation("ttg.memdesc_index")
def _index(op: Operation) -> Lowered:
    layout = memdesc(result_type(op)).layout
    source = memdesc(operand_type(op)).shape

    def index(view: View, i: int) -> View:
        if not 0 <= i < source[0]:
            raise _outside(view, i, source[0])
        return view.element(i, layout)

    return Step(index, op.operands + op.subscripts[0])


def _outside(view: View, index: int, extent: int) -> Exception:
    return FaultError(FindingKind.OUT_OF_BOUNDS, f"index {index} into {view.name}[0:{extent}]")


@operation("ttg.memdesc_subslice")
def _subslice(op: Operation) -> Lowered:
    kind = memdesc(result_type(op))
    starts = op.subscripts[0]
    if not all(isinstance(start, int) for start in starts):
        raise unsupported("ttg.memdesc_subslice with offsets that are not constants")
    place = tuple(
        slice(int(start), int(start) + extent)
        for start, extent in zip(starts, kind.shape, strict=True)
    )
    key = ("slice", tuple((part.start, part.stop) for part in place))
    return Step(
        lambda view: view.derive(key, kind.layout, lambda tensor: tensor[place]), op.operands
    )


@operation("ttg.memdesc_trans", attributes=("order",))
def _trans(op: Operation) -> Lowered:
    order, layout = integers(op, "order"), memdesc(result_type(op)).layout
    return Step(
        lambda view: view.derive(("trans", order), layout, lambda tensor: tensor.permute(order)),
        op.operands,
    )


@operation("ttg.memdesc_reshape")
def _memdesc_reshape(op: Operation) -> Lowered:
    kind = memdesc(result_type(op))
    return Step(lambda view: reshaped(view, kind.layout, kind.shape), op.operands)


@operation("ttg.memdesc_reinterpret")
def _reinterpret(op: Operation) -> Lowered:
    source, target = memdesc(operand_type(op)), memdesc(result_type(op))
    return Step(lambda view: reinterpret(view, source, target), op.operands)


@operation(
    "ttg.global_scratch_alloc",
    attributes=("nbytes", "alignment", "ttg.global_scratch_memory_offset"),
)
def _scratch(op: Operation) -> Lowered:
    size, alignment = integer(op, "nbytes"), integer(op, "alignment")
    return Step(lambda cta: cta.take_scratch(size, alignment), (), machine=True)


@operation("ttg.barrier", attributes=("addrSpace",))
def _thread_barrier(_op: Operation) -> Lowered:
    # Threads of a program are one on this rung.
    return Nothing()
