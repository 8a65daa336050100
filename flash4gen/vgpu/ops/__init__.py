"""The operations, by dialect; importing this package registers all of them."""

from __future__ import annotations

from flash4gen.vgpu.ops import (
    arith,
    assembly,
    async_ops,
    buffer_ops,
    elementwise,
    math_ops,
    memory_ops,
    scaled_product,
    shape,
    tensor_core,
)

__all__ = [
    "arith",
    "assembly",
    "async_ops",
    "buffer_ops",
    "elementwise",
    "math_ops",
    "memory_ops",
    "scaled_product",
    "shape",
    "tensor_core",
]
