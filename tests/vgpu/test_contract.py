"""Products fused into sums: the virtual GPU rounds once where the GPU's own code does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from flash4gen.vgpu import virtual_gpu
from flash4gen.vgpu.numerics import fma

ROWS, COLUMNS = 16, 64


@triton.jit
def _first(x, y, out):  # type: ignore[no-untyped-def]
    i = tl.arange(0, 64)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(out + i, a * b - b)


@triton.jit
def _second(x, y, out):  # type: ignore[no-untyped-def]
    i = tl.arange(0, 64)
    a, b = tl.load(x + i), tl.load(y + i)
    tl.store(out + i, b - a * b)


@triton.jit
def _fewer_uses(x, y, out):  # type: ignore[no-untyped-def]
    i = tl.arange(0, 64)
    a, b = tl.load(x + i), tl.load(y + i)
    common = a * b
    tl.store(out + i, common - b * b)
    tl.store(out + 64 + i, common)


@triton.jit
def _spread(x, y, out):  # type: ignore[no-untyped-def]
    i, j = tl.arange(0, 16), tl.arange(0, 64)
    a, b = tl.load(x + i), tl.load(y + j)
    tl.store(out + i[:, None] * 64 + j, b - (a * a)[:, None])


def ran(kernel: Any, x: Tensor, y: Tensor, size: int, *, fused: bool) -> tuple[Tensor, str]:
    """Run a kernel and return what it wrote, and its PTX."""
    out = torch.empty(size)
    with virtual_gpu(80) as gpu:
        kernel[(1,)](x, y, out, enable_fp_fusion=fused)
    return out, gpu.launches[0].asm["ptx"]


@pytest.fixture
def numbers() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, generator=generator), torch.randn(64, generator=generator)


def test_of_either_operand(numbers: tuple[Tensor, Tensor]) -> None:
    a, b = numbers
    for kernel, expected in ((_first, fma(a, b, -b)), (_second, fma(-a, b, b))):
        out, ptx = ran(kernel, a, b, 64, fused=True)
        assert torch.equal(out, expected)
        assert "fma.rn.f32" in ptx


def test_only_where_the_compiler_may(numbers: tuple[Tensor, Tensor]) -> None:
    a, b = numbers
    out, ptx = ran(_first, a, b, 64, fused=False)
    assert torch.equal(out, a * b - b)
    assert not torch.equal(out, fma(a, b, -b))
    assert "fma.rn.f32" not in ptx


def test_of_two_products_the_one_with_fewer_uses(numbers: tuple[Tensor, Tensor]) -> None:
    a, b = numbers
    out, ptx = ran(_fewer_uses, a, b, 128, fused=True)
    assert torch.equal(out[:64], fma(-b, b, a * b))
    assert torch.equal(out[64:], a * b)
    assert "mul.f32" in ptx


def test_a_product_that_is_the_same_along_a_row(numbers: tuple[Tensor, Tensor]) -> None:
    a, b = numbers
    out, ptx = ran(_spread, a, b, ROWS * COLUMNS, fused=True)
    x = a[:ROWS, None].expand(ROWS, COLUMNS)
    assert torch.equal(out.view(ROWS, COLUMNS), fma(-x, x, b.expand(ROWS, COLUMNS)))
    assert "mul.f32" not in ptx
