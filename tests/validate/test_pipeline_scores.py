"""Tensors that the backward pipeline reads for each score, and sums of inputs beside it.

On the virtual GPU: numbers, orders of what is asynchronous, and which kernels are launched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import Pin
from flash4gen.validate.certificate import Status
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.validate.determinism import determinism_rung
from flash4gen.validate.execute import one_thread, poisoned_outputs
from flash4gen.validate.gradient_rung import call_of
from flash4gen.validate.structure import compile_rung, schedule_rung
from flash4gen.vgpu import virtual_gpu
from tests.validate.test_pipeline import LENGTHS, TWO_PARTS, built, pipelined
from tests.validate.training import FEW, assert_right

if TYPE_CHECKING:
    from pathlib import Path

CAUSAL = "k <= q_end"
WIDE = {"head_dim": 128, "value_dim": 128, "scale": 0.09}
PAIR = {"pins": (Pin("gradient_ctas", 2),)}
BIAS = "s + bias[h, q, k]"
TABLE = "table[h, min(max(k - q_end, -4), 4) + 4]"
EVERYTHING = "5.0 * tanh(s / 5.0) + slopes[h] * float(k - q_end) * 0.1 + bias[h, q, k]"

VARIANTS: dict[str, dict[str, Any]] = {
    "a bias": {"score": BIAS, "mask": CAUSAL},
    "a factor of each score": {"score": "s * bias[h, q, k]", "mask": CAUSAL},
    "a table of distances": {"score": f"s + {TABLE}", "mask": CAUSAL},
    "slopes of a table": {"score": f"s + slopes[h] * {TABLE}", "mask": CAUSAL},
    "a mask of the scores' own bias": {"score": BIAS, "mask": f"{CAUSAL} and bias[h, q, k] > 0.0"},
    "a mask": {"mask": f"{CAUSAL} and bias[h, q, k] > 0.0"},
    "a table of documents": {"score": "s + table[h, max(docs[b, k] - q_docs[b, q], 0)]"},
    "slopes beside a softcap": {
        "score": "5.0 * tanh(s / 5.0) + slopes[h] * float(k - q_end)",
        "mask": CAUSAL,
    },
    "by query": {"score": "s + temperature[h, q]"},
    "by key, capped": {"score": "5.0 * tanh((s + key_bias[h, k]) / 5.0)", "mask": CAUSAL},
    "a factor inside of a tanh": {"score": "tanh(s * slopes[h])"},
    "with what the pipeline sums": {
        "score": "s * temperature[h, q] + bias[h, q, k] + slopes[h] * float(k - q_end)",
        "mask": CAUSAL,
    },
    "192 and 128": {**TWO_PARTS, "score": BIAS, "mask": CAUSAL},
    "everything, wide": {**WIDE, "score": EVERYTHING, "mask": f"{CAUSAL} and q_end - k < 40"},
    "a pair": {**PAIR, "score": BIAS, "mask": CAUSAL},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_right(name: str, tmp_path: Path) -> None:
    found = built(pipelined(**VARIANTS[name]), tmp_path)
    assert schedule_rung(found, load_module(found.path)).failures == ()
    assert compile_rung(found).status is Status.PASSED
    assert_right(found, LENGTHS, FEW)


@pytest.mark.slow
@pytest.mark.parametrize("score", [BIAS, EVERYTHING])
def test_every_run_gives_the_same_bits_where_that_is_asked_for(score: str, tmp_path: Path) -> None:
    found = built(pipelined(score=score, mask=CAUSAL, deterministic=True), tmp_path)
    rung = determinism_rung(found, load_module(found.path), lambda _what: None)
    assert rung.status is Status.PASSED
    assert rung.details["deterministic"] is True


@pytest.mark.slow
def test_no_mutant_is_missed(tmp_path: Path) -> None:
    found = built(pipelined(score=f"s + {TABLE}", heads=1, kv_heads=1), tmp_path)
    rung = concurrency_rung(found, load_module(found.path), lambda _what: None, mutate=True)
    assert rung.status is Status.PASSED, rung.details
    score = rung.details["mutants"]
    assert isinstance(score, dict)
    assert score["missed"] == 0


@pytest.mark.slow
def test_a_kernel_beside_the_pipeline_runs_where_its_gradient_is_wanted(tmp_path: Path) -> None:
    found = built(pipelined(score=EVERYTHING, mask=CAUSAL), tmp_path)
    module = load_module(found.path)
    call, given = call_of(found.attention, FEW)
    for wanted, kernels in (
        ("bias", {"_bias_h_q_k_gradient_kernel"}),
        ("slopes", {"_query_sum_kernel"}),
        ("", set()),
    ):
        q = call.q.detach().requires_grad_()
        tensors = {
            name: x.detach().requires_grad_(name == wanted) for name, x in call.tensors.items()
        }
        with one_thread(), virtual_gpu(100) as gpu, poisoned_outputs():
            results = module.trained(q, call.k, call.v, **tensors)
            leaves = [q, *(x for x in tensors.values() if x.requires_grad)]
            torch.autograd.grad(results, leaves, (given.out, given.second))
        names = [launch.name for launch in gpu.launches]
        pipeline = ["_forward_kernel", "_rows_kernel", "_gradient_kernel", "_convert_kernel"]
        assert {*names} == {*pipeline} | kernels
