"""AMD's buffer operations: a scalar pointer, and a tensor of 32-bit offsets in elements.

Triton makes them of loads and stores where it knows that a tensor has no more than 2 GiB. Masked
elements read as 0 unless there is something else (CDNA 3 ISA, buffer addressing: a lane whose
address is out of range reads 0 and writes nothing; Triton moves masked lanes there).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import torch_dtype
from flash4gen.vgpu.lowering import (
    Lowered,
    Step,
    operand_type,
    operation,
    result_type,
    unsupported,
)
from flash4gen.vgpu.ops.memory_ops import arguments, memdesc
from flash4gen.vgpu.parse.tree import Operand, Operation, PointerType, ScalarType

if TYPE_CHECKING:
    from flash4gen.vgpu.cta import Cta
    from flash4gen.vgpu.onchip import View

# Hints: to the cache, to the width of an access; and a stride that is a hint to the cache too.
_HINTS = ("cacheModifier", "cache", "contiguity")
_LABELS = frozenset({"mask", "other", "into", "stride"})


def _offsets(op: Operation) -> Operand:
    if len(op.subscripts) != 1 or not set(op.labelled) <= _LABELS:
        raise unsupported(f"{op.name} in this form is not supported")
    ((offsets,),) = op.subscripts.values()
    return offsets


def _dtype(op: Operation) -> torch.dtype:
    kind = operand_type(op)
    if not isinstance(kind, PointerType) or kind.element == ScalarType("i1"):
        raise unsupported(f"{op.name} at {kind} is not supported")
    return torch_dtype(kind.element)


def _addresses(pointer: int, offsets: Tensor, dtype: torch.dtype) -> Tensor:
    return pointer + offsets.long() * dtype.itemsize


def _gather(
    cta: Cta, address: Tensor, mask: Tensor | None, other: Tensor | None, dtype: torch.dtype
) -> Tensor:
    if mask is not None and other is None:
        other = torch.zeros(address.shape, dtype=dtype)
    return cta.load(address, mask, other, dtype)


@operation("amdg.buffer_load", attributes=_HINTS)
def _load(op: Operation) -> Lowered:
    dtype, offsets = _dtype(op), _offsets(op)
    pointer, mask, other = arguments(op, 3)

    def load(cta: Cta, pointer: int, offsets: Tensor, mask: Any, other: Any) -> Tensor:
        return _gather(cta, _addresses(pointer, offsets, dtype), mask, other, dtype)

    return Step(load, (pointer, offsets, mask, other), machine=True)


@operation("amdg.buffer_store", attributes=_HINTS)
def _store(op: Operation) -> Lowered:
    dtype, offsets = _dtype(op), _offsets(op)
    value, pointer, mask = arguments(op, 3)

    def store(cta: Cta, value: Tensor, pointer: int, offsets: Tensor, mask: Any) -> None:
        cta.store(_addresses(pointer, offsets, dtype), value, mask)

    return Step(store, (value, pointer, offsets, mask), machine=True)


@operation("amdg.buffer_load_to_local", attributes=_HINTS)
def _copy(op: Operation) -> Lowered:
    dtype, offsets = torch_dtype(memdesc(result_type(op))), _offsets(op)
    (pointer,) = arguments(op, 1)
    target, mask, other = (op.labelled.get(name, (None,))[0] for name in ("into", "mask", "other"))

    def copy(cta: Cta, pointer: int, offsets: Tensor, target: View, mask: Any, other: Any) -> None:
        address = _addresses(pointer, offsets, dtype)
        cta.copy(target, lambda: _gather(cta, address, mask, other, dtype))

    return Step(copy, (pointer, offsets, target, mask, other), machine=True)
