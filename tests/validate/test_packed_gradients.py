"""Gradients of packed sequences: each against the reference of its own, in float64.

A case is several sequences of different lengths, some without queries or keys (``packed.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.ir.expr import Extent, Input, InputDType
from flash4gen.ir.nodes import DROPOUT_STATE, EmptyRow, Lengths, Weights
from flash4gen.schedule.backward.heads import HeadLoop
from flash4gen.schedule.backward.model import as_loops
from flash4gen.validate.cases import Case, Layout
from flash4gen.validate.gradient_rung import call_of, run_gradients
from flash4gen.validate.gradients import Call, Upstream, reference_gradients
from tests.ir.notation import expr
from tests.long_matrix import slow
from tests.validate.training import assert_right, compiled, module_of, training, written

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention

GAINS = Input("gains", InputDType.F32, (Extent.BATCH, Extent.HEADS))


def packed(**changes: Any) -> Attention:
    return training(lengths=Lengths.PACKED, **changes)


EVERYTHING = packed(
    score="5.0 * tanh(s / 5.0) * gains[b, h] + gains[b, h] * float(k - q_end) * 0.1",
    mask="k <= q_end and q_end - k < 40",
    sink=expr("gains[b, h]"),
)
"""Groups, a score with a derivative, an input for each sequence, a sink, a mask with two edges."""

VARIANTS = {
    "plain": packed(),
    "causal": packed(mask="k <= q_end"),
    "causal from the start": packed(mask="k <= q"),
    "two ranges": packed(mask="k < 4 or (k <= q_end and q_end - k < 24)"),
    "empty rows": packed(mask="k < q - 3", empty_row=EmptyRow.NAN),
    "nothing visible": packed(mask="k < 0"),
    "one head each": packed(heads=3, kv_heads=3, mask="k <= q_end"),
    "groups of three": packed(heads=6, kv_heads=2, mask="k <= q_end and q_end - k < 40"),
    "everything": EVERYTHING,
    "sigmoid": packed(weights=Weights.SIGMOID, score="s * gains[b, h] - 1.0", mask="k <= q"),
    "an input per group": packed(score="s * group_gains[hkv]", mask="k <= q_end"),
    "an input per sequence": packed(score="s * entry_gains[b]", mask="k <= q_end"),
    "a sink that knows lengths": packed(
        sink=expr("tanh(gains[b, h]) * float(seq_k - seq_q) * 0.1"), inputs=(GAINS,)
    ),
    "constant sink": packed(sink=expr("0.0"), mask="k <= q_end"),
    "dropout": packed(mask="k <= q_end", dropout=0.25, inputs=DROPOUT_STATE),
    "widths": packed(head_dim=32, value_dim=24, scale=0.1, mask="k <= q_end"),
}

CASES = (
    Case(name="several tiles", seq_q=71, seq_k=53),
    Case(name="less than a tile", seq_q=5, seq_k=9),
    Case(name="no keys", seq_q=3, seq_k=0),
    Case(name="strided", batch=2, seq_q=13, seq_k=33, layout=Layout.DIM_STRIDED),
)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("everything", "rtx5090"),
        ("groups of three", "mi300x"),
        *slow(*((name, target) for name in VARIANTS for target in ("a100", "h100", "mi355x"))),
    ],
)
def test_gradients_are_right(name: str, target: str, tmp_path: Path) -> None:
    assert_right(compiled(written(VARIANTS[name], target, tmp_path)), *CASES)
