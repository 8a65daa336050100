"""Conversions against exact rational arithmetic, bit for bit."""

from __future__ import annotations

import math
from bisect import bisect_left
from fractions import Fraction
from itertools import pairwise

import pytest
import torch

from flash4gen.vgpu.numerics import (
    convert_float,
    convert_toward_zero,
    fma,
    mulhi_unsigned,
    nearest_tf32,
    truncate_to_tf32,
)

FP8 = [torch.float8_e4m3fn, torch.float8_e5m2]


def finite_values(dtype: torch.dtype) -> list[Fraction]:
    """All finite non-negative values of an 8-bit type, in the order of their bit patterns."""
    values = torch.arange(128, dtype=torch.uint8).view(dtype).float()
    return [Fraction(value) for value in values.tolist() if value == value and value < 1e30]


def nearest_even(value: Fraction, table: list[Fraction]) -> int:
    """The bit pattern of the nearest entry; of two, the even one; beyond the last, the last."""
    above = bisect_left(table, value)
    if above == len(table):
        return len(table) - 1
    if above == 0 or table[above] == value:
        return above
    down, up = value - table[above - 1], table[above] - value
    return above if up < down or (up == down and above % 2 == 0) else above - 1


@pytest.mark.parametrize("dtype", FP8)
@pytest.mark.parametrize("source", [torch.float32, torch.float16, torch.bfloat16])
def test_fp8_is_rounded_to_nearest_even_and_saturates(
    dtype: torch.dtype, source: torch.dtype
) -> None:
    table = finite_values(dtype)
    ties = [float((a + b) / 2) for a, b in pairwise(table)]
    random = (torch.randn(2000) * torch.logspace(-6, 5, 2000)).abs().tolist()
    edges = [float(table[-1]) * factor for factor in (1.01, 1.04, 1.06, 1.07, 1.3)]
    x = torch.tensor(ties + random + edges).to(source)
    x = x[x.isfinite()]
    expected = torch.tensor([nearest_even(Fraction(v), table) for v in x.double().tolist()])
    assert torch.equal(convert_float(x, dtype).view(torch.uint8).long(), expected)
    assert torch.equal(convert_float(-x, dtype).view(torch.uint8).long(), expected + 128)


@pytest.mark.parametrize("dtype", FP8)
def test_fp8_of_infinity_is_the_largest_value_and_of_nan_is_nan(dtype: torch.dtype) -> None:
    x = torch.tensor([float("inf"), float("-inf"), float("nan")])
    low, high, none = convert_float(x, dtype).float().tolist()
    assert (low, high) == (torch.finfo(dtype).max, torch.finfo(dtype).min)
    assert none != none


def test_rounding_toward_zero_never_grows() -> None:
    x = torch.cat([torch.randn(5000) * torch.logspace(-8, 4.9, 5000), torch.tensor([1e9, -1e9])])
    for dtype in (torch.float16, torch.bfloat16):
        down = convert_toward_zero(x, dtype)
        away = down.view(torch.int16) + 1  # the next pattern is the next larger magnitude
        assert bool((down.double().abs() <= x.double().abs()).all())
        assert bool((away.view(dtype).double().abs() > x.double().abs())[:-2].all())


def test_fma_rounds_once() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(4000), torch.randn(4000)
    c = -(a * b) * (1 + torch.randint(-3, 4, (4000,)) * 2.0**-23)
    # fp64 alone rounds this one twice: the sum is a hair beyond a tie of fp32.
    a[0], b[0], c[0] = 1 + 2**-12, 1 + 2**-12, 2.0**-60
    exact = [
        Fraction(x) * Fraction(y) + Fraction(z)
        for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    ]
    assert [round_to_single(value) for value in exact] == fma(a, b, c).tolist()


def round_to_single(value: Fraction) -> float:
    """Round a rational to fp32, to nearest even, by integer arithmetic."""
    if value == 0:
        return 0.0
    exponent = max(-149, math.frexp(value)[1] - 24)
    return float(round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent)


def test_tf32_keeps_ten_bits_of_fraction() -> None:
    x = torch.tensor([1 + 2**-10, 1 + 2**-11, 1 + 2**-11 + 2**-20, -1 - 2**-11])
    assert truncate_to_tf32(x).tolist() == [1 + 2**-10, 1.0, 1.0, -1.0]
    assert nearest_tf32(x).tolist() == [1 + 2**-10, 1 + 2**-10, 1 + 2**-10, -1 - 2**-10]


def test_upper_half_of_a_product() -> None:
    a = torch.randint(-(2**31), 2**31, (500,)).int()
    b = torch.randint(-(2**31), 2**31, (500,)).int()
    product = [(x % 2**32) * (y % 2**32) >> 32 for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert [value % 2**32 for value in mulhi_unsigned(a, b).tolist()] == product
