"""The error budget: what keeps it, what does not, and what no budget excuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from flash4gen.ir.nodes import Weights
from flash4gen.validate.tolerance import (
    GROUP,
    compare,
    lse_allowance,
    lse_budget,
    output_budget,
)
from tests.ir.notation import attention

REF = torch.linspace(-3, 3, 2 * 8 * 2 * 64, dtype=torch.float64).view(2, 8, 2, 64)
BASE = REF.half()


def test_rounding_once_keeps_the_budget_and_three_roundings_do_not() -> None:
    budget = output_budget(REF, BASE)
    assert compare(BASE, REF, budget, "out").problems == ()
    ulp = torch.tensor(2.0**-9)  # of numbers from 2 to 4 in float16
    off = BASE.clone()
    off[1, 7, 1, 63] += 3 * ulp
    found = compare(off, REF, budget, "out")
    assert found.ratio > 1
    assert "first [1, 7, 1, 63]" in found.problems[0]


def test_large_numbers_elsewhere_excuse_nothing() -> None:
    ref = REF.clone()
    ref[0, :, 0] *= 1000
    off = ref.half()
    off[1, 0, 1, 0] += 0.1
    assert compare(off, ref, output_budget(ref, ref.half()), "out").problems


def test_the_budget_is_shared_by_at_least_256_numbers() -> None:
    budget = output_budget(REF, BASE)
    assert GROUP == 256
    assert (budget[0, 0:4, 0] == budget[0, 0, 0, 0]).all()
    assert (budget[0, 4:8, 0] == budget[0, 4, 0, 0]).all()
    assert budget.shape == REF.shape


def test_the_budget_is_the_rule_of_flash_attentions_tests() -> None:
    ref, base = REF[:1, :2, :1], BASE[:1, :2, :1]  # fewer than 256 numbers: one group
    rounded = ref.half()
    wobble = (rounded + 0.3 - 0.3 - rounded).abs().max().double()
    expected = 2 * (base.double() - ref).abs().max() + 2 * wobble
    assert torch.allclose(output_budget(ref, base), expected, rtol=1e-12)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_missing_number_is_a_fault(wrong: float) -> None:
    off = BASE.clone()
    off[0, 3, 1, 5] = wrong
    found = compare(off, REF, output_budget(REF, BASE), "out")
    assert found.error == math.inf
    assert "the reference is finite there" in found.problems[0]


@pytest.mark.parametrize("special", [math.nan, -math.inf])
def test_nan_and_infinity_stand_where_the_reference_has_them(special: float) -> None:
    ref = REF.clone()
    ref[1, 2] = special
    budget = output_budget(ref, ref.half())
    assert compare(ref.half(), ref, budget, "out").problems == ()
    other = compare(torch.where(ref.isfinite(), ref, 0.0).half(), ref, budget, "out")
    assert "the reference is not finite there" in other.problems[0]


def test_a_baseline_that_overflows_proves_nothing() -> None:
    base = BASE.clone()
    base[0, 0, 0, 0] = math.inf
    assert "overflows" in compare(BASE, REF, output_budget(REF, base), "out").problems[0]


def test_another_shape_is_a_fault() -> None:
    assert compare(BASE[:1], REF, output_budget(REF, BASE), "out").problems


def test_nothing_to_compare_is_fine() -> None:
    empty = REF[:0]
    assert compare(BASE[:0], empty, output_budget(empty, BASE[:0]), "out").ratio == 0
    assert lse_budget(empty, BASE[:0], 0.0) == 0


def test_a_plain_lse_may_be_off_by_two_roundings_of_its_size() -> None:
    variant = attention(heads=1, kv_heads=1, scale=1.0)
    q, k = torch.zeros(1, 1, 1, 16), torch.zeros(1, 1, 1, 16)
    q[..., 0], k[..., 0] = 10.0, 10.0  # one score: 100, in base 2: 144
    allowance = lse_allowance(variant, q, k, torch.full((1, 1, 1), 100.0))
    assert allowance == 2 * 2.0**-16  # the last place of numbers from 128 to 256 in float32


def test_a_softcap_multiplies_the_error_of_its_tanh() -> None:
    q, k = torch.zeros(1, 1, 4, 16), torch.zeros(1, 1, 2, 16)
    lse = torch.zeros(1, 4, 1)
    plain = lse_allowance(attention(), q, k, lse)
    capped = lse_allowance(attention(score="50.0 * tanh(s / 50.0)"), q, k, lse)
    assert capped - plain == pytest.approx(50 * 2.0**-22)


def test_the_budget_of_a_sum_of_sigmoids_does_not_hide_a_lost_key() -> None:
    """One weight of a half among 500 is far more than the sum may be off by."""
    variant = replace(attention(heads=1, kv_heads=1), weights=Weights.SIGMOID)
    q, k = torch.randn(1, 1, 1, 16), torch.randn(1, 500, 1, 16)
    total = torch.full((1, 1, 1), 250.0, dtype=torch.float64)
    assert 0 < lse_allowance(variant, q, k, total) < 1e-3
