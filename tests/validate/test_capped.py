"""Weights without a running maximum, compiled: the error rule is kept as it is, also by one key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import DType
from flash4gen.validate.cases import Case, Values
from flash4gen.validate.execute import on_virtual_gpu, one_thread, run_case
from tests.ir.notation import attention
from tests.validate.subjects import PINS, written

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.validate.execute import CaseResult

ARCH = {"h100": 90, "b200": 100}
VARIANT = attention(
    name="capped",
    dtype=DType.BF16,
    heads=4,
    kv_heads=2,
    score="50.0 * tanh(s / 50.0)",
    mask="k <= q_end and k % 7 != 3",
    pins=PINS,
)
CASES = (
    Case(name="normal", seq_q=70, seq_k=75),
    Case(name="rising", seq_q=33, seq_k=101, values=Values.RISING),
    Case(name="one dominant key", seq_q=65, seq_k=65, values=Values.DOMINANT),
)


def results(target: str, folder: Path, *changes: tuple[str, str]) -> list[CaseResult]:
    rendered, _, path = written(VARIANT, target, folder, *changes)
    assert "_softmax_capped" in rendered.text
    module = load_module(path)
    with one_thread():
        runner = on_virtual_gpu(VARIANT, module, ARCH[target])
        return [run_case(VARIANT, module, rendered.text, case, runner) for case in CASES]


@pytest.mark.parametrize("target", ARCH)
def test_the_error_rule_is_kept(target: str, tmp_path: Path) -> None:
    for result in results(target, tmp_path):
        assert not result.failures, result


def test_a_dominant_key_needs_the_sum_of_rounded_weights(tmp_path: Path) -> None:
    change = ("1.0 / rounded_sum", "1.0 / row_sum")
    failed = [it.case.name for it in results("h100", tmp_path, change) if it.failures]
    assert "one dominant key" in failed
