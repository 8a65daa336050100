"""Bit-exact conversions and the few operations where torch's own rounding is not the hardware's.

Tensors in, tensors out, any shape. fp16, bf16 and fp32 conversions of torch round to nearest even
like `cvt.rn`; fp8 ones need the saturation of `cvt.rn.satfinite`, and `fma` one rounding, not two.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import FLOAT8, int_dtype


def convert_float(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert between float types, to nearest even; to fp8 with saturation to the largest finite.

    NaN stays NaN. Infinities saturate in fp8, as PTX's `satfinite` has it.
    """
    if dtype in FLOAT8:
        limit = torch.finfo(dtype).max
        wide = value if value.dtype is torch.float64 else value.float()
        return wide.clamp(-limit, limit).to(dtype)
    return value.to(dtype)


def convert_toward_zero(value: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert to a narrower float type, rounding toward zero; overflow gives the largest finite."""
    nearest = convert_float(value, dtype)
    too_far = nearest.to(value.dtype).abs() > value.abs()
    # One step toward zero is one less in the bit pattern, whatever the sign.
    pattern = nearest.view(int_dtype(dtype.itemsize)) - too_far.to(int_dtype(dtype.itemsize))
    return pattern.view(dtype)


def truncate_to_tf32(value: Tensor) -> Tensor:
    """Keep the 19 bits of fp32 that a tf32 matrix unit reads; it ignores the others."""
    return (value.view(torch.int32) & -0x2000).view(torch.float32)


def nearest_tf32(value: Tensor) -> Tensor:
    """Round fp32 to tf32 as `cvt.rna.tf32.f32`: to nearest, ties away from zero."""
    pattern = value.view(torch.int32)
    rounded = ((pattern + 0x1000) & -0x2000).view(torch.float32)
    return torch.where(value.isfinite(), rounded, value)


def fma(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Return `a * b + c` with a single rounding to the type of the operands.

    The product of two fp32 values is exact in fp64; the sum is rounded to odd there (Boldo and
    Melquiond, "Emulation of FMA and correctly rounded sums", 2008), so that the second rounding
    to the narrower type is the only one that counts. In fp64 the product is not exact: raise.
    Where torch's own loop over fp32 turns out to round once, it is taken instead.
    """
    if a.dtype is torch.float64 or (a.dtype is torch.float32 and _torch_fuses()):
        return torch.addcmul(c, a, b)
    return _rounded_once(a, b, c)


def _rounded_once(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    product, addend = a.double() * b.double(), c.double()
    total = product + addend
    part = total - product
    error = (product - (total - part)) + (addend - part)
    pattern = total.view(torch.int64)
    inexact = (error != 0) & total.isfinite() & (pattern & 1 == 0)
    # Odd neighbour on the side of the error: away from zero when the signs agree.
    step = torch.where((error > 0) == (total > 0), 1, -1)
    odd = torch.where(inexact, pattern + step, pattern).view(torch.float64)
    return odd.to(a.dtype)


@cache
def _torch_fuses() -> bool:
    """Whether `torch.addcmul` rounds once on this processor, whatever the strides.

    It is compiled to the processor's FMA where there is one. Sums that nearly cancel tell: what is
    left of them is mostly what a product that is rounded by itself has lost.
    """
    generator = torch.Generator().manual_seed(0)
    a, b, noise = torch.randn(3, 37, 53, generator=generator)
    narrow = [b, b[:1].expand_as(b), b[:, :1].expand_as(b), b[:1, :1].expand_as(b)]
    trials = [(x, y) for other in narrow for x, y in ((a, other), (other, a))]
    trials += [(x.T, y) for x, y in ((a, b.T), (a, b.T.contiguous()))]
    trials += [(a[:1, :length], b[:1, :length]) for length in range(1, 40)]
    for x, y in trials:
        near = -(x * y) * (1 + noise.view(-1)[: x.numel()].view(x.shape) * 2**-23)
        if not torch.equal(torch.addcmul(near, x, y), _rounded_once(x, y, near)):
            return False
    return all(
        torch.equal(torch.addcmul(c, a, d), _rounded_once(a, d, c))
        for c in narrow
        for d in ((1 + noise * 2**-23) / a, narrow[3] / a)
    )


def mulhi_unsigned(a: Tensor, b: Tensor) -> Tensor:
    """Return the upper 32 bits of the product of two i32 tensors read as unsigned."""
    low = 0xFFFFFFFF
    x, y = a.long() & low, b.long() & low
    # Split one factor in halves: each partial product stays below 2**48.
    high = x * (y >> 16)
    rest = (x * (y & 0xFFFF)) >> 16
    return ((high + rest) >> 16).to(torch.int32)


def reciprocal(x: Tensor) -> Tensor:
    """Return 1 / x of float32 numbers; subnormal ones become 0 (PTX ISA, rcp.approx.ftz.f32)."""
    return flushed(torch.reciprocal(flushed(x)))


def flushed(x: Tensor) -> Tensor:
    """Return float32 numbers with 0 for subnormal ones, of the same sign."""
    return torch.where(x.abs() < torch.finfo(torch.float32).smallest_normal, x * 0.0, x)
