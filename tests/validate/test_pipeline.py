"""Gradients of the warp-specialised pipeline on the virtual GPU: masks, scores, widths of heads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import DType, Pin, Weights
from flash4gen.schedule.backward.pipeline.model import PipelineSchedule
from flash4gen.validate.cases import Case, Values
from flash4gen.validate.certificate import Status
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.validate.gradient_rung import gradient_result
from flash4gen.validate.structure import compile_rung, schedule_rung
from tests.ir.notation import expr
from tests.validate.subjects import subject
from tests.validate.training import FEW, SLOPES, assert_right, training

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate import Subject

LENGTHS = Case(name="several tiles", seq_q=150, seq_k=300)
"""Two query tiles, three key tiles, the last of each with a rest."""


def pipelined(**changes: Any) -> Attention:
    """Return a small variant whose gradients the pipeline computes."""
    small = {"heads": 2, "kv_heads": 1, "head_dim": 64, "value_dim": 64, "scale": 0.125}
    return training(**{**small, "pins": (), **changes})


def built(variant: Attention, folder: Path) -> Subject:
    found = subject(variant, "b200", folder)
    assert found.choice.backward is not None
    assert isinstance(found.choice.backward.schedule, PipelineSchedule)
    return found


def test_a_causal_layer_keeps_its_plan_and_is_right(tmp_path: Path) -> None:
    found = built(pipelined(mask="k <= q_end"), tmp_path)
    module = load_module(found.path)
    assert schedule_rung(found, module).status is Status.PASSED
    assert compile_rung(found).status is Status.PASSED
    result = gradient_result(found, module, LENGTHS)
    assert not result.failures, result.failures
    assert set(result.found) == {"q", "k", "v"}


TWO_PARTS = {"head_dim": 192, "value_dim": 128, "scale": 0.07}
"""Heads of more columns than a product has lanes."""

SIGMOID = {"weights": Weights.SIGMOID, "score": "s - 2.0"}
PAIR = (Pin("gradient_ctas", 2),)

ALL_TENSORS = {
    "score": "s * temperature[h, q] + slopes[h] * float(k - q_end)",
    "mask": "k <= q_end and docs[b, q_end] == docs[b, k]",
}

VARIANTS: dict[str, dict[str, Any]] = {
    "no mask": {},
    "a window": {"mask": "k <= q_end and q_end - k < 40"},
    "two ranges": {"mask": "k <= q_end and q_end - k < 40 or k < 4"},
    "no range": {"mask": "k % 3 == 0 or k == q"},
    "its head": {"mask": "k <= q_end and q_end - k < 30 + 60 * h"},
    "softcap": {"mask": "k <= q_end", "score": "5.0 * tanh(s / 5.0)"},
    "a score that bends": {"score": "max(s, 0.1 * s)"},
    "positions": {"mask": "k <= q_end", "score": "s - 0.1 * abs(float(q_end - k))"},
    "a slope of positions": {"score": "s * float(k - q)"},
    "heads": {"score": "s * float(h + 1)"},
    "fp16": {"dtype": DType.FP16, "mask": "k <= q_end"},
    "wide": {"head_dim": 128, "value_dim": 128, "scale": 0.09, "mask": "k <= q_end"},
    "widths": {"head_dim": 128, "value_dim": 64, "scale": 0.09},
    "192 and 128": {**TWO_PARTS, "mask": "k <= q_end"},
    "192 and 128, softcap": {
        **TWO_PARTS,
        "mask": "k <= q_end and q_end - k < 40",
        "score": "5.0 * tanh(s / 5.0)",
    },
    "192 and 128, slopes": {
        **TWO_PARTS,
        "mask": "k <= q_end",
        "score": "s + slopes[h] * float(k - q_end)",
    },
    "192 and 128, a bias of keys": {**TWO_PARTS, "score": "s + key_bias[h, k]"},
    "192 and 128, documents": {**TWO_PARTS, "mask": "docs[b, q] == docs[b, k]"},
    "192 and 128, all tensors": {**TWO_PARTS, **ALL_TENSORS},
    "odd widths": {"head_dim": 96, "value_dim": 80},
    "one head each": {"heads": 2, "kv_heads": 2, "mask": "k <= q_end"},
    "slopes": {"mask": "k <= q_end", "score": "s + slopes[h] * float(k - q_end)"},
    "a bias of keys": {"score": "s + key_bias[h, k]"},
    "temperatures": {"mask": "k <= q_end", "score": "s * temperature[h, q]"},
    "factors of heads": {"score": "s * slopes[h]"},
    "documents": {"mask": "docs[b, q] == docs[b, k]"},
    "all of them, wide": {"head_dim": 128, "value_dim": 128, **ALL_TENSORS},
    "two ranges and tensors": {
        "score": "s * temperature[h, q] + slopes[h] * float(k - q_end)",
        "mask": "k <= q_end and q_end - k < 40 or k < 4",
        "sink": expr("slopes[h]"),
    },
    "sigmoid": {**SIGMOID, "mask": "k <= q_end"},
    "sigmoid, no mask, wide": {**SIGMOID, "head_dim": 128, "value_dim": 128, "scale": 0.09},
    "sigmoid, softcap and a window": {
        **SIGMOID,
        "mask": "k <= q_end and q_end - k < 40",
        "score": "30.0 * tanh(s / 30.0) - 2.0",
    },
    "sigmoid, a constant slope": {**SIGMOID, "score": "s * 0.3 - 1.0"},
    "sigmoid, slopes": {
        **SIGMOID,
        "mask": "k <= q_end",
        "score": "s - slopes[h] * float(q_end - k)",
    },
    "sigmoid, a constant slope and slopes": {
        **SIGMOID,
        "score": "s * 0.3 - slopes[h] * abs(float(q_end - k))",
    },
    "sigmoid, a bias of keys and documents": {
        **SIGMOID,
        "score": "s + key_bias[h, k]",
        "mask": "docs[b, q] == docs[b, k]",
    },
    "sigmoid, 192 and 128": {**SIGMOID, **TWO_PARTS, "mask": "k <= q_end"},
    "sigmoid, a pair": {**SIGMOID, "pins": PAIR, "mask": "k <= q_end"},
    "sigmoid, a pair, 192 and 128": {**SIGMOID, **TWO_PARTS, "pins": PAIR},
    "a sink": {"mask": "k <= q_end", "inputs": (SLOPES,), "sink": expr("slopes[h]")},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_right(name: str, tmp_path: Path) -> None:
    found = built(pipelined(**VARIANTS[name]), tmp_path)
    assert_right(found, LENGTHS, FEW)


@pytest.mark.slow
def test_dominant_scores_of_a_sigmoid_are_rounded_as_those_of_the_formula(tmp_path: Path) -> None:
    """Gradients of scores have 16 bits: times another constant they would round otherwise."""
    found = built(pipelined(**VARIANTS["sigmoid, softcap and a window"]), tmp_path)
    assert_right(found, Case(name="dominant", seq_q=67, seq_k=133, values=Values.DOMINANT))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["192 and 128", "192 and 128, documents", "sigmoid"])
def test_no_mutant_of_the_pipeline_is_missed(name: str, tmp_path: Path) -> None:
    found = built(pipelined(**VARIANTS[name], **{"heads": 1, "kv_heads": 1}), tmp_path)
    rung = concurrency_rung(found, load_module(found.path), lambda _what: None, mutate=True)
    assert rung.status is Status.PASSED, rung.details
    score = rung.details["mutants"]
    assert isinstance(score, dict)
    assert score["missed"] == 0
