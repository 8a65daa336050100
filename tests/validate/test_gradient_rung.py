"""The rung `gradients`: backward kernels on the virtual GPU pass it, and broken ones do not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import Weights
from flash4gen.validate.cases import Case
from flash4gen.validate.certificate import Status
from flash4gen.validate.gradient_rung import gradient_cases, gradient_result, gradients_rung
from tests.long_matrix import slow
from tests.validate.training import EVERYTHING, compiled, training, written

if TYPE_CHECKING:
    from pathlib import Path

CASE = Case(name="several tiles", seq_q=71, seq_k=53)


def test_every_gradient_of_every_case_is_right(tmp_path: Path) -> None:
    subject = compiled(written(EVERYTHING, "rtx5090", tmp_path))
    assert all(kernel.facts.spill_bytes == 0 for kernel in subject.artefact.backward)
    told: list[str] = []
    rung = gradients_rung(subject, load_module(subject.path), told.append)
    assert rung.status is Status.PASSED, rung.failures
    assert subject.choice.backward is not None
    cases = gradient_cases(EVERYTHING, subject.choice.backward.schedule)
    assert told == [case.name for case in cases]


@pytest.mark.parametrize("target", ["h100", *slow("a100", "b200")])
def test_other_targets_compute_the_same(target: str, tmp_path: Path) -> None:
    variant = training(score="5.0 * tanh(s / 5.0)", mask="k <= q_end and q_end - k < 40")
    subject = compiled(written(variant, target, tmp_path))
    # Where the forward pass folds the scale into its softcap, the backward pass does not.
    assert ("_softmax_capped" in subject.rendered.text) == (target in ("h100", "b200"))
    result = gradient_result(subject, load_module(subject.path), CASE)
    assert not result.failures, result.failures


@pytest.mark.parametrize(("score", "more"), [("s * slopes[h]", {"slopes"}), ("s", set())])
def test_sigmoid_weights(score: str, more: set[str], tmp_path: Path) -> None:
    variant = training(weights=Weights.SIGMOID, score=score, mask="k <= q_end")
    subject = compiled(written(variant, "rtx5090", tmp_path))
    result = gradient_result(subject, load_module(subject.path), CASE)
    assert not result.failures, result.failures
    assert set(result.found) == {"q", "k", "v"} | more


@pytest.mark.parametrize(
    ("right", "wrong", "gradient"),
    [
        ("return p * (dp - delta)", "return p * dp", "gradient of q"),
        *slow(
            ("dk * SCALE,", "dk,", "gradient of k"),
            ("tl.range(GROUP * (length_a", "tl.range(1 * (length_a", "gradient of v"),
            # The base of gradients starts from what is stored: that is looked at as well.
            ("tl.log2(row_sum))", "tl.log2(row_sum) + 0.1)", ": lse"),
        ),
    ],
)
def test_a_broken_kernel_is_found(right: str, wrong: str, gradient: str, tmp_path: Path) -> None:
    variant = training(mask="k <= q_end")
    try:
        subject = written(variant, "rtx5090", tmp_path, (right, wrong))
    except AssertionError:
        pytest.fail(f"the templates no longer print {right!r}")
    subject = replace(subject, artefact=compiled(subject).artefact)
    result = gradient_result(subject, load_module(subject.path), CASE)
    assert any(gradient in failure.reason for failure in result.failures)
