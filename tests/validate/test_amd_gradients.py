"""Backward kernels for AMD: what was compiled for the target runs, and every gradient is right."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.nodes import DROPOUT_STATE, Weights
from flash4gen.render.module import render
from flash4gen.validate import Status, findings, validate_module
from flash4gen.validate.cases import Case
from flash4gen.validate.gradient_rung import gradient_result
from tests.ir.notation import expr
from tests.long_matrix import slow
from tests.validate.subjects import choice_for, subject
from tests.validate.training import SLOPES, training

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention

CASES = (
    Case(name="several tiles", batch=2, seq_q=149, seq_k=261),
    Case(name="less than a tile", seq_q=5, seq_k=3),
)

CAPPED = training(
    score="5.0 * tanh(s / 5.0)", mask="k <= q_end and q_end - k < 90", head_dim=64, value_dim=64
)

DROPPING = training(mask="k <= q_end")

VARIANTS: dict[str, Attention] = {
    "bias": training(
        score="5.0 * tanh(s / 5.0) + slopes[h] * float(k - q_end) * 0.1 + bias[h, q, k]",
        mask="k <= q_end",
        sink=expr("slopes[h]"),
    ),
    "deterministic": training(mask="k <= q_end", deterministic=True),
    "dropout": replace(DROPPING, dropout=0.3, inputs=(*DROPPING.inputs, *DROPOUT_STATE)),
    "full heads of 128": training(head_dim=128, value_dim=128, heads=2, kv_heads=2),
    "heads of 192": training(mask="k <= q_end", head_dim=192, value_dim=128),
    "heads of 256": training(head_dim=256, value_dim=256),
    "sigmoid weights": training(
        weights=Weights.SIGMOID, score="s * slopes[h]", mask="k <= q_end", inputs=(SLOPES,)
    ),
}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("bias", "mi300x"),
        ("sigmoid weights", "mi355x"),
        ("dropout", "mi355x"),
        *slow(*((name, target) for name in VARIANTS for target in ("mi300x", "mi355x"))),
    ],
)
def test_gradients_are_right(name: str, target: str, tmp_path: Path) -> None:
    found = subject(VARIANTS[name], target, tmp_path)
    assert all(kernel.facts.spill_bytes == 0 for kernel in found.artefact.kernels)
    assert all(kernel.facts.spill_bytes == 0 for kernel in found.artefact.backward)
    module = load_module(found.path)
    for case in CASES:
        result = gradient_result(found, module, case)
        assert not result.failures, result.failures


@pytest.mark.slow
@pytest.mark.parametrize("target", ["mi300x", "mi355x"])
def test_a_module_with_both_passes_climbs_every_rung(target: str, tmp_path: Path) -> None:
    certificate = validate_module(subject(CAPPED, target, tmp_path))
    assert certificate.passed, findings(certificate, None)
    for name in ("gradients", "determinism"):
        assert certificate.rung(name).status is Status.PASSED
    assert certificate.rung("device").status is Status.NOT_RUN


def test_quotients_are_products_with_reciprocals() -> None:
    gates = training(weights=Weights.SIGMOID, score="5.0 * tanh(s / 5.0)", mask="k <= q_end")
    for target, expected in (("mi300x", False), ("rtx5090", True)):
        text = render(gates, library.target(target), choice_for(gates, target)).text
        assert ("tl.sigmoid(x)" in text) is expected
        assert ("2.0 / (1.0 + tl.exp2" in text) is expected
        # Triton is told no size on AMD, where it would specialise on it.
        assert (text.count("*_any_size(") == 3) is not expected
