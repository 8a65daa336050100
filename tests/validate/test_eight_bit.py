"""8-bit elements, from the oracle to compiled kernels: what they mean, and that faults show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.expr import ALWAYS, Literal
from flash4gen.ir.nodes import DType, Lengths, Pin, Scales, Weights, descales
from flash4gen.validate.cases import Case, Layout, Values
from flash4gen.validate.execute import on_virtual_gpu, one_thread, run_case
from flash4gen.validate.inputs import make_inputs
from flash4gen.validate.oracle import attention_reference, working_precision
from tests.ir.notation import attention
from tests.validate.subjects import PINS, written

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate.execute import CaseResult

ARCH = {"h100": 90, "rtx4090": 89, "rtx5090": 120, "b200": 100}
TILES = tuple(replace(pin, value=32) if pin.name == "tile_k" else pin for pin in PINS)
SCALED = attention(
    name="scaled",
    dtype=DType.FP8_E4M3,
    out_dtype=DType.BF16,
    scales=Scales.PER_KV_HEAD,
    inputs=descales(Scales.PER_KV_HEAD),
    heads=4,
    kv_heads=2,
    mask="k <= q_end",
    pins=TILES,
)
"""The plain case: factors, groups, and rows that see one key alone."""

CASES = (
    Case(name="normal", batch=2, seq_q=70, seq_k=75),
    Case(name="rising", seq_q=33, seq_k=101, values=Values.RISING),
    Case(name="needles", seq_q=65, seq_k=65, values=Values.NEEDLES),
    Case(name="misaligned", batch=2, seq_q=13, seq_k=37, layout=Layout.MISALIGNED),
    Case(name="sliced", batch=2, seq_q=13, seq_k=37, layout=Layout.SLICED),
)


def results(
    variant: Attention, target: str, folder: Path, *changes: tuple[str, str]
) -> list[CaseResult]:
    rendered, _, path = written(variant, target, folder, *changes)
    module = load_module(path)
    with one_thread():
        runner = on_virtual_gpu(variant, module, ARCH[target])
        return [run_case(variant, module, rendered.text, case, runner) for case in CASES]


def failures(found: list[CaseResult]) -> list[str]:
    return [failure.reason for result in found for failure in result.failures]


# --- what is meant ---------------------------------------------------------------------------


def test_an_element_stands_for_itself_times_its_factor() -> None:
    inputs = make_inputs(SCALED, Case(name="here", batch=2, seq_q=9, seq_k=11))
    out, lse = attention_reference(SCALED, inputs.q, inputs.k, inputs.v, inputs.tensors)
    plain = replace(SCALED, dtype=DType.BF16, out_dtype=None, scales=None, inputs=())
    factors = {name: x.double()[:, None, :, None] for name, x in inputs.tensors.items()}
    q = inputs.q.double() * factors["descale_q"].repeat_interleave(2, 2)
    k, v = inputs.k.double() * factors["descale_k"], inputs.v.double() * factors["descale_v"]
    same_out, same_lse = attention_reference(plain, q, k, v)
    torch.testing.assert_close(out, same_out)
    torch.testing.assert_close(lse, same_lse)


def test_factors_of_cases_differ_and_are_above_0() -> None:
    tensors = make_inputs(SCALED, Case(name="here", batch=3, seq_q=1, seq_k=1)).tensors
    every = torch.cat([x.flatten() for x in tensors.values()])
    assert (every > 0).all()
    assert len({*every.tolist()}) == every.numel() == 18


def test_small_weights_keep_their_precision() -> None:
    """A weight of 2^-13 is rounded, not lost: without its scale e4m3 ends at 2^-9."""
    plain = replace(SCALED, scales=None, inputs=(), mask=ALWAYS)
    one = replace(plain, heads=1, kv_heads=1, scale=1.0)
    q, k = torch.zeros(1, 1, 1, 16), torch.zeros(1, 2, 1, 16)
    q[..., 0], k[0, 0, 0, 0] = 1.0, 9.0  # e^-9 = 2^-12.98
    v = torch.zeros(1, 2, 1, 16)
    v[0, 1] = 448.0
    q, k, v = (x.to(torch.float8_e4m3fn) for x in (q, k, v))
    truth, _ = attention_reference(one, q, k, v)
    found, _ = working_precision(one, q, k, v)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.double(), truth, rtol=2**-4, atol=0.0)


# --- kernels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", sorted(ARCH))
def test_kernels_keep_the_budget(target: str, tmp_path: Path) -> None:
    family = (Pin("family", "portable"),)
    variant = replace(SCALED, pins=family) if target == "b200" else SCALED
    assert failures(results(variant, target, tmp_path)) == []


@pytest.mark.parametrize(
    "variant",
    [
        replace(
            SCALED,
            score=attention(score="5.0 * tanh(s / 5.0)").score,
            lengths=Lengths.PACKED,
            out_dtype=DType.FP16,
        ),
        replace(SCALED, weights=Weights.SIGMOID),
        replace(SCALED, scales=None, inputs=(), sink=Literal(1.0)),
    ],
    ids=["packed softcap", "sigmoid", "sink, no factors"],
)
def test_variants_keep_it_too(variant: Attention, tmp_path: Path) -> None:
    assert failures(results(variant, "rtx5090", tmp_path)) == []


@pytest.mark.parametrize(
    "change",
    [
        ("descale / row_sum", "1.0 / row_sum"),
        ("(row_max * to_log2 - SHIFT + tl.log2", "(row_max * to_log2 + tl.log2"),
        ("to_log2 = TO_LOG2 * (descale_q_b_hkv * descale_k_b_hkv)", "to_log2 = TO_LOG2 * 1.0"),
        ("(finite * to_log2 - SHIFT)", "(finite * to_log2 - SHIFT - 1.0)"),
        ("(finite * to_log2 - SHIFT)", "(finite * to_log2 + 5.0)"),
        ("(ptr, stride_0, i0, i1):", "(ptr, stride_0, i1, i0):"),
    ],
    ids=["value factor", "lse", "score factor", "saturated", "underflow", "wrong factor"],
)
def test_faults_show(change: tuple[str, str], tmp_path: Path) -> None:
    assert failures(results(SCALED, "rtx5090", tmp_path, change)) != []
