"""Faults in reading tensors, in sinks and in packed sequences: each one is found out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import Lengths, Weights
from flash4gen.validate import Status
from flash4gen.validate.function import function_rung
from tests.ir.notation import attention, expr
from tests.long_matrix import slow
from tests.validate.subjects import PINS, subject

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention

READS = attention(
    name="reads",
    heads=2,
    kv_heads=1,
    score="s * slopes[h] + bias[h, q, k] + table[h, k - q + 4]",
    mask="q_docs[b, q] == docs[b, k]",
    pins=PINS,
)
SUNK = replace(
    attention(name="sunk", heads=2, kv_heads=1, score="s * slopes[h]", pins=PINS),
    sink=expr("slopes[h]"),
)
SIGMOID = attention(
    name="gates", heads=2, kv_heads=1, mask="k <= q_end", weights=Weights.SIGMOID, pins=PINS
)
PACKED = attention(
    name="packed", heads=2, kv_heads=1, mask="k <= q_end", lengths=Lengths.PACKED, pins=PINS
)

FAULTS: list[tuple[Attention, str, str]] = [
    (READS, "inside = (i1 >= 0) & (i1 < 9)", "inside = (i1 >= 0) & (i1 < 8)"),
    (READS, "docs_ptr, docs_stride_0, seq_k, b, keys", "docs_ptr, docs_stride_0, seq_k, 0, keys"),
    (SUNK, "sink = sink * 1.4426950408889634", "sink = sink * TO_LOG2 * SCALE"),
    (SIGMOID, "tl.exp2(x * -TO_LOG2)", "tl.exp2(x * -1.0)"),
    (PACKED, "<= slot", "< slot"),
]
MORE_FAULTS: list[tuple[Attention, str, str]] = [
    (READS, "ptr + i0 * stride_0 + i1 * stride_1 + i2", "ptr + i0 * stride_0 + i2 * stride_1 + i1"),
    (READS, "_read_slopes(slopes_ptr, h)", "_read_slopes(slopes_ptr, hkv)"),
    (READS, "_with_rows(bias)", "bias"),
    (SUNK, "tl.exp2(sink - top)", "0.0"),
    (SIGMOID, "row_sum + tl.sum(p, 1)", "tl.sum(p, 1)"),
    (PACKED, "seq_q = tl.load(cu_q_ptr + b + 1) - q_start", "seq_q = total_q - q_start"),
    (PACKED, "total_q // TILE_Q.value + batch", "triton.cdiv(total_q, TILE_Q.value)"),
    (PACKED, "k_start = tl.load(cu_k_ptr + b)", "k_start = tl.load(cu_q_ptr + b)"),
]


@pytest.mark.parametrize(
    "variant", [READS, PACKED, *slow(SUNK, SIGMOID)], ids=lambda item: item.name
)
def test_without_a_fault_all_is_well(variant: Attention, tmp_path: Path) -> None:
    made = subject(variant, "a100", tmp_path)
    rung = function_rung(made, load_module(made.path), lambda _: None)
    assert rung.status is Status.PASSED, rung.summary


@pytest.mark.parametrize(("variant", "right", "wrong"), [*FAULTS, *slow(*MORE_FAULTS)])
def test_a_fault_is_found(variant: Attention, right: str, wrong: str, tmp_path: Path) -> None:
    made = subject(variant, "a100", tmp_path, (right, wrong))
    rung = function_rung(made, load_module(made.path), lambda _: None)
    assert rung.status is Status.FAILED
