"""Gradients whose products two CTAs share: their numbers, their plan, and what cannot be shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import DType, Pin
from flash4gen.schedule.backward.pipeline.model import PipelineSchedule
from flash4gen.validate.cases import Case
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
"""Two query tiles, the second of which is the first CTA's alone; the last keys are the second's."""

NARROW = {"head_dim": 64, "value_dim": 64, "scale": 0.125}
WIDE = {"head_dim": 128, "value_dim": 128, "scale": 0.09}
TWO_PARTS = {"head_dim": 192, "value_dim": 128, "scale": 0.07}
"""Heads of more columns than a product has lanes in one CTA: steps have 64 queries."""

SIZES = {"64": NARROW, "128": WIDE, "192 and 128": TWO_PARTS}
CAUSAL = {"mask": "k <= q_end"}
DOCUMENTS = "k <= q_end and docs[b, q_end] == docs[b, k]"
SLOPED = "s + slopes[h] * float(k - q_end)"


def shared(**changes: Any) -> Attention:
    """Return a small variant whose gradients a pair of CTAs computes."""
    small = {"heads": 2, "kv_heads": 1, "pins": (Pin("gradient_ctas", 2),), **NARROW}
    return training(**{**small, **changes})


def built(variant: Attention, folder: Path) -> Subject:
    found = subject(variant, "b200", folder)
    assert found.choice.backward is not None
    assert isinstance(found.choice.backward.schedule, PipelineSchedule)
    assert found.choice.backward.schedule.ctas == 2
    return found


def text_of(found: Subject, kind: str) -> str:
    """Return what Triton made of the gradient's kernel."""
    one = next(item for item in found.artefact.backward if item.kernel == "_gradient_kernel")
    return str(getattr(one, kind))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_pair_keeps_its_plan_and_is_right(size: str, tmp_path: Path) -> None:
    found = built(shared(**SIZES[size], **CAUSAL), tmp_path)
    module = load_module(found.path)
    assert schedule_rung(found, module).status is Status.PASSED
    assert compile_rung(found).status is Status.PASSED
    assert "tcgen05.mma.cta_group::2" in text_of(found, "ptx")
    assert "tcgen05.mma.cta_group::1" not in text_of(found, "ptx")
    assert "st.shared::cluster" in text_of(found, "ptx")
    result = gradient_result(found, module, LENGTHS)
    assert not result.failures, result.failures
    assert set(result.found) == {"q", "k", "v"}


VARIANTS: dict[str, dict[str, Any]] = {
    "no mask": {},
    "a window": {"mask": "k <= q_end and q_end - k < 40"},
    "two ranges": {"mask": "k <= q_end and q_end - k < 40 or k < 4"},
    "no range": {"mask": "k % 3 == 0 or k == q"},
    "softcap": {**CAUSAL, "score": "5.0 * tanh(s / 5.0)"},
    "positions": {**CAUSAL, "score": "s - 0.1 * abs(float(q_end - k))"},
    "fp16": {"dtype": DType.FP16, **CAUSAL},
    "wide": {**WIDE, "mask": "k <= q_end and q_end - k < 40"},
    "widths": {"head_dim": 128, "value_dim": 64, "scale": 0.09},
    "odd widths": {"head_dim": 96, "value_dim": 80},
    "one head each": {"kv_heads": 2, **CAUSAL},
    "slopes": {**CAUSAL, "score": SLOPED},
    "temperatures": {**CAUSAL, "score": "s * temperature[h, q]"},
    "documents": {"mask": "docs[b, q] == docs[b, k]"},
    "two ranges and tensors": {
        "score": "s * temperature[h, q] + slopes[h] * float(k - q_end)",
        "mask": "k <= q_end and q_end - k < 40 or k < 4",
        "sink": expr("slopes[h]"),
    },
    "a sink": {**CAUSAL, "inputs": (SLOPES,), "sink": expr("slopes[h]")},
    "128, softcap": {**WIDE, **CAUSAL, "score": "5.0 * tanh(s / 5.0)"},
    "128, slopes": {**WIDE, **CAUSAL, "score": SLOPED},
    "128, temperatures": {**WIDE, **CAUSAL, "score": "s * temperature[h, q]"},
    "128, slopes and documents": {**WIDE, "mask": DOCUMENTS, "score": SLOPED},
    "128, odd widths": {"head_dim": 80, "value_dim": 96, "mask": DOCUMENTS},
    "128, in turns": {**WIDE, "mask": DOCUMENTS, "score": SLOPED, "deterministic": True},
    "128, all tensors": {
        **WIDE,
        "score": "s * temperature[h, q] + slopes[h] * float(k - q_end)",
        "mask": DOCUMENTS,
        "sink": expr("slopes[h]"),
    },
    "192 and 128": TWO_PARTS,
    "192 and 128, softcap": {
        **TWO_PARTS,
        "mask": "k <= q_end and q_end - k < 40",
        "score": "5.0 * tanh(s / 5.0)",
    },
    "192 and 128, pairs in both passes": {
        **TWO_PARTS,
        "pins": (Pin("ctas", 2), Pin("gradient_ctas", 2)),
    },
    "192 and 128, two ranges": {**TWO_PARTS, "mask": "k <= q_end and q_end - k < 40 or k < 4"},
    "192 and 128, no range": {**TWO_PARTS, "mask": "k % 3 == 0 or k == q"},
    "192 and 128, positions": {
        **TWO_PARTS,
        **CAUSAL,
        "score": "s - 0.1 * abs(float(q_end - k))",
    },
    "192 and 128, one head each": {**TWO_PARTS, "kv_heads": 2, "dtype": DType.FP16, **CAUSAL},
    "192 and 128, slopes": {
        **TWO_PARTS,
        **CAUSAL,
        "score": "s + slopes[h] * float(k - q_end)",
    },
    "192 and 128, documents": {**TWO_PARTS, "mask": "docs[b, q] == docs[b, k]"},
    "192 and 128, all tensors": {
        **TWO_PARTS,
        "score": "s * temperature[h, q] + slopes[h] * float(k - q_end)",
        "mask": DOCUMENTS,
        "sink": expr("slopes[h]"),
    },
    "192 and 128, more of a query than one CTA has room for": {
        **TWO_PARTS,
        "score": "s * temperature[h, q]",
        "mask": "k <= q_end and (docs[b, q_end] == docs[b, k] or q_docs[b, q] == docs[b, k])",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_of_a_pair_are_right(name: str, tmp_path: Path) -> None:
    found = built(shared(**VARIANTS[name]), tmp_path)
    assert_right(found, LENGTHS, FEW)


BROKEN = {
    **{name: {**size, **CAUSAL} for name, size in SIZES.items()},
    "128, documents": {**WIDE, "mask": DOCUMENTS},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BROKEN)
def test_no_mutant_of_a_pair_is_missed(name: str, tmp_path: Path) -> None:
    found = built(shared(**{**BROKEN[name], "heads": 1, "kv_heads": 1}), tmp_path)
    rung = concurrency_rung(found, load_module(found.path), lambda _what: None, mutate=True)
    assert rung.status is Status.PASSED, rung.details
    score = rung.details["mutants"]
    assert isinstance(score, dict)
    assert score["missed"] == 0
