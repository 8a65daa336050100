"""8-bit elements in the IR: their output, their factors, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flash4gen.diagnostics.text import render_text
from flash4gen.digest import canonical
from flash4gen.ir.expr import Extent
from flash4gen.ir.lower import analyse
from flash4gen.ir.nodes import Attention, DType, Scales, descales
from flash4gen.ir.printer import format_attention, format_expr
from flash4gen.ir.verify import verify
from flash4gen.source import SourceFile
from tests.ir.notation import attention


def lowered(body: str) -> Attention:
    found = analyse(SourceFile("a.attn", f"attention a {{ heads = 8 kv_heads = 2 {body} }}"))
    assert render_text(found.diagnostics) == ""
    return found.attentions[0]


def test_the_output_has_16_bits() -> None:
    assert lowered("dtype = fp8_e4m3 head_dim = 64").output is DType.BF16
    half = lowered("dtype = fp8_e4m3 out_dtype = fp16 head_dim = 64")
    assert (half.dtype, half.output) == (DType.FP8_E4M3, DType.FP16)
    assert lowered("dtype = fp16 head_dim = 64").output is DType.FP16


def test_factors_are_inputs_that_no_field_reads() -> None:
    item = lowered("dtype = fp8_e4m3 scales = per_kv_head head_dim = 64")
    assert [tensor.name for tensor in item.inputs] == ["descale_q", "descale_k", "descale_v"]
    assert {tensor.axes for tensor in item.inputs} == {(Extent.BATCH, Extent.KV_HEADS)}
    assert item.score_factor is not None
    assert format_expr(item.score_factor) == "descale_q[b, hkv] * descale_k[b, hkv]"
    assert item.value_factor is not None
    assert format_expr(item.value_factor) == "descale_v[b, hkv]"
    assert verify(item) == ()


def test_one_factor_serves_a_whole_tensor() -> None:
    item = lowered("dtype = fp8_e4m3 scales = per_tensor head_dim = 64")
    assert {tensor.axes for tensor in item.inputs} == {(1,)}
    assert item.value_factor is not None
    assert format_expr(item.value_factor) == "descale_v[0]"


def test_own_inputs_come_first() -> None:
    item = lowered(
        "dtype = fp8_e4m3 scales = per_tensor head_dim = 64 input m : f32[heads] score = s * m[h]"
    )
    assert item.inputs[0].name == "m"
    assert item.inputs[1:] == descales(Scales.PER_TENSOR)


def test_the_text_form_reads_back() -> None:
    item = lowered("dtype = fp8_e4m3 scales = per_kv_head head_dim = 64")
    again = analyse(SourceFile("b.attn", format_attention(item))).attentions[0]
    assert format_attention(again) == format_attention(item)


def test_what_does_without_keeps_its_digest() -> None:
    assert "scales" not in canonical(attention())
    assert "out_dtype" not in canonical(attention())


@pytest.mark.parametrize(
    ("changes", "violation"),
    [
        ({"dtype": DType.FP8_E4M3, "head_dim": 72, "out_dtype": DType.BF16}, "head_dim is 72"),
        ({"dtype": DType.FP8_E4M3}, "out has 8-bit elements"),
        ({"out_dtype": DType.FP16}, "fp16 has an output type of its own, or factors"),
        (
            {"dtype": DType.FP8_E4M3, "out_dtype": DType.BF16, "scales": Scales.PER_TENSOR},
            "the last three inputs are not the factors",
        ),
    ],
)
def test_violations(changes: dict[str, object], violation: str) -> None:
    (found, *_) = verify(replace(attention(), **changes))  # type: ignore[arg-type]
    assert violation in found
