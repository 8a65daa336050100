"""The budget of 8-bit weights: right roundings need at most 60 % of it, coarser ones do not.

The kernels here are written in float64, tile after tile with a running maximum, so that nothing but
how weights are rounded differs from the truth.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

import pytest
import torch

from flash4gen.ir.nodes import DType
from flash4gen.validate.cases import Case, Values
from flash4gen.validate.execute import truth_of
from flash4gen.validate.inputs import Inputs, make_inputs
from flash4gen.validate.oracle import WEIGHT_SCALES
from tests.ir.notation import attention

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from flash4gen.validate.execute import Truth

Rounding: TypeAlias = "Callable[[Tensor], Tensor]"
WIDE = replace(
    attention(dtype=DType.FP8_E4M3, out_dtype=DType.BF16, heads=2, kv_heads=1, mask="k <= q_end"),
    head_dim=64,
    value_dim=64,
    scale=0.125,
)
CASES = {
    "normal": Case(name="normal", batch=2, seq_q=70, seq_k=75),
    "rising": Case(name="rising", seq_q=33, seq_k=101, values=Values.RISING),
    "needles": Case(name="needles", seq_q=65, seq_k=65, values=Values.NEEDLES),
    "long": Case(name="long", seq_q=200, seq_k=260),
}
LARGEST = WEIGHT_SCALES[DType.FP8_E4M3][0]


def nearest(x: Tensor) -> Tensor:
    """Round as the kernels do."""
    return x.to(torch.float8_e4m3fn).double()


def cut_off(x: Tensor) -> Tensor:
    """Drop what is below the last bit."""
    unit = 2.0 ** (torch.floor(torch.log2(x.clamp_min(1e-30))) - 3)
    return torch.floor(x / unit) * unit


def one_bit_less(x: Tensor) -> Tensor:
    """Round to the other type of 8 bits, which has two bits of mantissa."""
    return x.to(torch.float8_e5m2).double()


@cache
def judged(name: str) -> tuple[Inputs, Truth]:
    inputs = make_inputs(WIDE, CASES[name])
    return inputs, truth_of(WIDE, inputs)


def ratio(name: str, rounding: Rounding, tile: int, *, backwards: bool) -> float:
    """Return the worst error over its budget of a kernel that rounds weights in a certain way."""
    inputs, truth = judged(name)
    out = torch.empty_like(truth.out)
    for b in range(out.shape[0]):
        for h in range(WIDE.heads):
            scores = inputs.q[b, :, h].double() @ inputs.k[b, :, 0].double().T * WIDE.scale
            seq_q, seq_k = scores.shape
            hidden = torch.ones_like(scores, dtype=torch.bool).triu(seq_k - seq_q + 1)
            scores = scores.masked_fill(hidden, -math.inf)
            out[b, :, h] = online(scores, inputs.v[b, :, 0].double(), rounding, tile, backwards)
    rounded = out.bfloat16()
    return truth.compare(rounded, truth.lse.float())[0].ratio


def online(scores: Tensor, v: Tensor, rounding: Rounding, tile: int, backwards: bool) -> Tensor:
    starts = range(0, scores.shape[1], tile)
    peak = torch.full((len(scores), 1), -math.inf, dtype=torch.float64)
    total, acc = torch.zeros_like(peak), scores.new_zeros(len(scores), v.shape[1])
    for start in reversed(starts) if backwards else starts:
        part = scores[:, start : start + tile]
        higher = torch.maximum(peak, part.amax(1, keepdim=True))
        finite = higher.clamp_min(-1e30)
        weights, kept = torch.exp(part - finite), torch.exp(peak - finite)
        total = total * kept + weights.sum(1, keepdim=True)
        acc = acc * kept + rounding(weights * LARGEST) @ v[start : start + tile] / LARGEST
        peak = higher
    return acc / total


@pytest.mark.parametrize("tile", [16, 64, 128])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_right_roundings_need_little_more_than_half(name: str, tile: int, backwards: bool) -> None:
    assert ratio(name, nearest, tile, backwards=backwards) < 0.6


@pytest.mark.parametrize("rounding", [cut_off, one_bit_less])
@pytest.mark.parametrize("tile", [16, 64, 128])
def test_coarser_ones_break_it(rounding: Rounding, tile: int) -> None:
    assert max(ratio(name, rounding, tile, backwards=True) for name in CASES) > 1
