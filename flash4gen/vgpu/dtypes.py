"""TTGIR element types as torch dtypes, and integer wrap-around for scalars.

A tensor in registers is a torch tensor of the element's dtype (`i1` is bool, a pointer is its
64-bit address); a scalar is a Python int, float or bool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.parse.tree import (
    DescriptorType,
    MemDescType,
    PointerType,
    ScalarType,
    TensorType,
    Type,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_DTYPES = {
    "i1": torch.bool,
    "i8": torch.int8,
    "i16": torch.int16,
    "i32": torch.int32,
    "i64": torch.int64,
    # Only boxes of TMA descriptors have a sign; what is moved are bits.
    "ui8": torch.int8,
    "ui16": torch.int16,
    "ui32": torch.int32,
    "ui64": torch.int64,
    "index": torch.int64,
    "f16": torch.float16,
    "bf16": torch.bfloat16,
    "f32": torch.float32,
    "f64": torch.float64,
    "f8E4M3FN": torch.float8_e4m3fn,
    "f8E5M2": torch.float8_e5m2,
}
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_SAME_SIZE_INT = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def element(kind: Type) -> Type:
    """Return the element type of a tensor-like type, or the type itself."""
    if isinstance(kind, (TensorType, MemDescType, DescriptorType)):
        return kind.element
    return kind


def torch_dtype(kind: Type) -> torch.dtype:
    """Return the dtype that stores elements of `kind`; raises `FaultError` if there is none."""
    inner = element(kind)
    if isinstance(inner, PointerType):
        return torch.int64
    if isinstance(inner, ScalarType) and inner.name in _DTYPES:
        return _DTYPES[inner.name]
    raise FaultError(FindingKind.UNSUPPORTED, f"values of type {inner} are not supported")


def int_dtype(bytes_: int) -> torch.dtype:
    """Return the signed integer dtype of that many bytes."""
    return _SAME_SIZE_INT[bytes_]


def bits(kind: Type) -> int:
    """Return the width of an element of `kind`; `i1` has one bit, a pointer 64."""
    dtype = torch_dtype(kind)
    return 1 if dtype is torch.bool else dtype.itemsize * 8


def is_tensor(kind: Type) -> bool:
    """Whether values of this type are torch tensors."""
    return isinstance(kind, TensorType)


def is_float(kind: Type) -> bool:
    """Whether the elements are floating point."""
    return torch_dtype(kind).is_floating_point


def wrapper(kind: Type) -> Callable[[int], Any]:
    """Return the function that wraps a Python int to the width of a scalar integer type."""
    width = bits(kind)
    if width == 1:
        return lambda value: bool(value & 1)
    mask, sign = (1 << width) - 1, 1 << (width - 1)
    return lambda value: ((value + sign) & mask) - sign


def unsigned(kind: Type) -> Callable[[int], int]:
    """Return the function that reads a scalar of an integer type as unsigned."""
    mask = (1 << bits(kind)) - 1
    return lambda value: int(value) & mask


def as_scalar(value: torch.Tensor, kind: Type) -> Any:
    """Return a one-element tensor as the Python scalar of its type."""
    if value.dtype in FLOAT8:
        value = value.float()
    if value.dtype.is_floating_point:
        return value.item()
    return wrapper(kind)(int(value.item()))
