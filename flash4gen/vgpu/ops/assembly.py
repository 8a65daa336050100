"""Inline assembly that generated kernels use, each block registered with its meaning.

The blocks are pure and work element by element. The text is that of the templates; a kernel whose
text differs in a single instruction is refused, because nobody has said what it means.
"""

from __future__ import annotations

import torch
from torch import Tensor

from flash4gen.vgpu.numerics import flushed, fma
from flash4gen.vgpu.ops.elementwise import register_asm

EXP2 = """{
    .reg .b64 y, c256, magic, floor, rest, p, c;
    .reg .f32 y0, y1;
    .reg .b32 n0, n1, p0, p1;
    fma.rn.ftz.sat.f32 y0, $2, $4, $6;
    fma.rn.ftz.sat.f32 y1, $3, $5, $7;
    mov.b64 y, {y0, y1};
    mov.b64 c256, {0f43800000, 0f43800000};
    mov.b64 magic, {0f4B3FFF81, 0f4B3FFF81};
    fma.rm.ftz.f32x2 floor, y, c256, magic;
    sub.rn.ftz.f32x2 rest, magic, floor;
    fma.rn.ftz.f32x2 rest, y, c256, rest;
    mov.b64 p, {0f3D9DF09D, 0f3D9DF09D};
    mov.b64 c, {0f3E6906A4, 0f3E6906A4};
    fma.rn.ftz.f32x2 p, p, rest, c;
    mov.b64 c, {0f3F31F519, 0f3F31F519};
    fma.rn.ftz.f32x2 p, p, rest, c;
    mov.b64 c, {0f3F800000, 0f3F800000};
    fma.rn.ftz.f32x2 p, p, rest, c;
    mov.b64 {n0, n1}, floor;
    mov.b64 {p0, p1}, p;
    shl.b32 n0, n0, 23;
    shl.b32 n1, n1, 23;
    add.s32 $0, n0, p0;
    add.s32 $1, n1, p1;
}"""
"""2^(256 · sat(x · scale + shift) − 127) for two numbers: Cody and Waite, degree 3."""

NARROW_EXP2 = EXP2.replace("c256", "c254").replace("0f43800000", "0f437E0000")
"""2^(254 · sat(x · scale + shift) − 127): no larger than 2^127."""

BITS_BELOW = "{ .reg .b32 n; max.s32 n, $1, 0; shl.b32 n, 1, n; sub.s32 $0, n, 1; }"
"""The lowest bits of a word; PTX ISA, shl: amounts above 31 are clamped, and give 0."""

MULTIPLY_ADD = """{
    .reg .b64 x, y, z;
    mov.b64 x, {$2, $3};
    mov.b64 y, {$4, $5};
    mov.b64 z, {$6, $7};
    fma.rn.ftz.f32x2 x, x, y, z;
    mov.b64 {$0, $1}, x;
}"""
"""x · y + z for two numbers, each rounded once."""

TANH = "tanh.approx.f32 $0, $1;"

ANEW = "mov.b32 $0, $1;"
"""A number as it is, of which the compiler knows nothing any more."""

_POLYNOMIAL = (
    torch.tensor(0.077119089663028717041015625),
    torch.tensor(0.227564394474029541015625),
    torch.tensor(0.695146143436431884765625),
    torch.tensor(1.0),
)
_BIAS = 127
_TANH_BITS = 11
_FRAGMENT = 32
# By its number, a bit of a word; and all bits below it, with 32 for all of them.
_BIT = (torch.ones(_FRAGMENT, dtype=torch.int64) << torch.arange(_FRAGMENT)).to(torch.int32)
_BELOW = torch.cat([_BIT - 1, torch.tensor([-1], dtype=torch.int32)])


def select(width: int = _FRAGMENT) -> str:
    """Return the block that keeps the numbers whose bits are set, and makes the others −inf."""
    lines = ["{ .reg .pred keep; .reg .b32 bit;"]
    for i in range(width):
        lines.append(f"and.b32 bit, ${2 * width}, {1 << i};")
        lines.append("setp.ne.u32 keep, bit, 0;")
        lines.append(f"selp.f32 ${i}, ${width + i}, 0fFF800000, keep;")
    return " ".join([*lines, "}"])


def exp2(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return what the block ``EXP2`` gives, bit for bit."""
    return _exp2(x, scale, shift, 256)


def narrow_exp2(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return what the block ``NARROW_EXP2`` gives, bit for bit."""
    return _exp2(x, scale, shift, 254)


def _exp2(x: Tensor, scale: Tensor, shift: Tensor, span: int) -> Tensor:
    # PTX ISA, fma: .sat makes NaN 0.
    y = fma(x, scale, shift).nan_to_num_(nan=0.0).clamp_(0.0, 1.0)
    # A power of two shifts a float32. Otherwise it has 32 bits at most after the product with the
    # span, and the multiply-adds round what is left of it.
    exact = (y if span & span - 1 == 0 else y.double()).mul_(span)
    whole = exact.floor()
    rest = exact.sub_(whole).float()
    p, *coefficients = (coefficient.expand_as(rest) for coefficient in _POLYNOMIAL)
    for coefficient in coefficients:
        p = fma(p, rest, coefficient.contiguous())
    exponent = whole.to(torch.int32).sub_(_BIAS).bitwise_left_shift_(23)
    return exponent.add_(p.view(torch.int32)).view(torch.float32)


def bits_below(end: Tensor) -> Tensor:
    """Return the bits 0 to end − 1."""
    return _BELOW[end.clamp(0, _FRAGMENT).long()]


def selected(x: Tensor, bits: Tensor) -> Tensor:
    """Return x, with −inf where the bit of the column is not set; 32 columns to a word."""
    own = _BIT[torch.arange(x.shape[-1]) % _FRAGMENT]
    return torch.where(bits & own != 0, x, -torch.inf)


def multiply_add(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Return x · y + z rounded once; subnormal numbers are 0 (PTX ISA, fma with .ftz)."""
    return flushed(fma(flushed(x), flushed(y), flushed(z)))


def tanh(x: Tensor) -> Tensor:
    """Return tanh to 11 bits, the relative error that the PTX ISA allows ``tanh.approx.f32``.

    The hardware's own errors are not published; this rounding makes them no smaller.
    """
    exact = x.double().tanh()
    mantissa, exponent = torch.frexp(exact)
    return torch.ldexp((mantissa * 2**_TANH_BITS).round() / 2**_TANH_BITS, exponent).float()


register_asm(EXP2, exp2)
register_asm(NARROW_EXP2, narrow_exp2)
register_asm(BITS_BELOW, bits_below)
register_asm(select(), selected)
register_asm(TANH, tanh)
register_asm(ANEW, torch.clone)
register_asm(MULTIPLY_ADD, multiply_add)
