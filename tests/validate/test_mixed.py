"""Portable gradients beside a warp-specialised forward kernel: as an op, and on the virtual GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import DType, EmptyRow, Lengths, Weights
from flash4gen.validate.cases import Case, Layout
from flash4gen.validate.certificate import Status
from flash4gen.validate.determinism import determinism_rung
from flash4gen.validate.execute import one_thread, poisoned_outputs
from flash4gen.validate.gradient_rung import call_of, run_gradients
from flash4gen.validate.gradients import reference_gradients, working_gradients
from flash4gen.validate.structure import compile_rung, schedule_rung
from flash4gen.validate.tolerance import compare, output_budget
from flash4gen.vgpu import virtual_gpu
from tests.ir.notation import expr
from tests.validate.subjects import subject
from tests.validate.training import FEW, SLOPES, assert_right, training, written

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate import Subject

CASE = Case(name="several small tiles", seq_q=40, seq_k=70)
LENGTHS = Case(name="several tiles", seq_q=150, seq_k=300)
STRIDED = Case(name="strided", seq_q=13, seq_k=70, layout=Layout.DIM_STRIDED)


def mixed(**changes: Any) -> Attention:
    """Return a small variant whose gradients the pipeline does not compute."""
    small = {"heads": 2, "kv_heads": 1, "head_dim": 32, "value_dim": 32, "scale": 0.2}
    return training(**{**small, "pins": (), **changes})


EVERYTHING = mixed(
    score="5.0 * tanh(s / 5.0) + slopes[h] * float(k - q_end) * 0.1 + bias[h, q, k]",
    mask="k <= q_end and q_end - k < 40",
    sink=expr("slopes[h]"),
)


@pytest.mark.slow
def test_pytorch_finds_nothing_wrong_with_the_op(tmp_path: Path) -> None:
    variant = mixed(score="s * slopes[h]")
    module = load_module(written(variant, "b200", tmp_path).path)
    call, _ = call_of(variant, Case(name="op", seq_q=5, seq_k=6))
    given = [x.detach().requires_grad_() for x in (call.q, call.k, call.v)]
    torch.library.opcheck(module._op, (*given, *call.tensors.values()))


def test_the_cpu_path_is_the_derivative_of_the_oracle(tmp_path: Path) -> None:
    call, given = call_of(EVERYTHING, Case(name="cpu", batch=2, seq_q=7, seq_k=9))
    reference = reference_gradients(EVERYTHING, call, given)
    module = load_module(written(EVERYTHING, "b200", tmp_path).path)
    found = run_gradients(EVERYTHING, module, call, given)
    assert found.keys() == {"q", "k", "v", "slopes", "bias"}
    for argument, grad in found.items():
        assert grad is not None
        error = (grad.double() - reference[argument]).abs().max()
        assert error <= 1e-2 * reference[argument].abs().max(), argument


@pytest.mark.slow
def test_portable_kernels_take_what_the_forward_pass_has_stored(tmp_path: Path) -> None:
    """Results of the CPU path, gradients by kernels that are compiled for a B200."""
    variant = mixed(mask="k <= q_end")
    module = load_module(written(variant, "b200", tmp_path).path)
    call, given = call_of(variant, CASE)
    leaves = [x.detach().requires_grad_() for x in (call.q, call.k, call.v)]
    results = module.trained(*leaves)
    with one_thread(), virtual_gpu(100) as gpu, poisoned_outputs():
        grads = torch.autograd.grad(results, leaves, (given.out, given.second))
    assert [launch.name for launch in gpu.launches] == [
        "_rows_kernel",
        "_query_gradient_kernel",
        "_key_gradient_kernel",
    ]
    reference = reference_gradients(variant, call, given)
    out, lse = (x.detach() for x in results)
    base = working_gradients(variant, call, (out, lse), given)
    for name, grad in zip("qkv", grads, strict=True):
        budget = output_budget(reference[name], base[name])
        assert compare(grad, reference[name], budget, name).problems == ()


def built(variant: Attention, folder: Path) -> Subject:
    found = subject(variant, "b200", folder)
    assert found.choice.mixed
    return found


VARIANTS: dict[str, dict[str, Any]] = {
    "causal": {"mask": "k <= q_end"},
    "fp16 without a mask": {"dtype": DType.FP16},
    "two ranges": {"mask": "k <= q_end and q_end - k < 40 or k < 4"},
    "positions": {"mask": "k <= q_end", "score": "s - 0.1 * abs(float(q_end - k))"},
    "a score that bends": {"score": "max(s, 0.1 * s)"},
    "documents": {"mask": "docs[b, q] == docs[b, k]"},
    "widths": {"head_dim": 24, "value_dim": 16, "mask": "k <= q_end"},
    "256 columns": {"head_dim": 256, "value_dim": 256, "scale": 0.0625, "mask": "k <= q_end"},
    "192 and 128, more than fits": {
        "head_dim": 192,
        "value_dim": 128,
        "scale": 0.07,
        "score": "s * temperature[h, q]",
        "mask": "docs[b, q] == docs[b, k] and q_docs[b, q] < 4",
    },
    "a bias": {"score": "s + bias[h, q, k]"},
    "sigmoid weights": {
        "weights": Weights.SIGMOID,
        "score": "s - 3.0",
        "mask": "k <= q_end",
    },
    "a sink": {"mask": "k <= q_end", "inputs": (SLOPES,), "sink": expr("2.0 * tanh(slopes[h])")},
    "rows of NaN": {"empty_row": EmptyRow.NAN, "mask": "k < q - 3"},
    "equal lengths": {"lengths": Lengths.EQUAL, "mask": "k <= q and q - k < 50"},
    "nothing visible": {"mask": "k < 0"},
    "packed": {"lengths": Lengths.PACKED, "mask": "k <= q_end"},
    "packed, a tensor": {
        "lengths": Lengths.PACKED,
        "score": "s * gains[b, h]",
        "mask": "k <= q_end",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_both_passes_are_right(name: str, tmp_path: Path) -> None:
    found = built(mixed(**VARIANTS[name]), tmp_path)
    assert schedule_rung(found, load_module(found.path)).status is Status.PASSED
    assert compile_rung(found).status is Status.PASSED
    lengths = LENGTHS
    if found.attention.lengths is Lengths.EQUAL:
        lengths = Case(name="several tiles", seq_q=300, seq_k=300)
        assert_right(found, lengths)
        return
    assert_right(found, lengths, FEW, STRIDED)


@pytest.mark.slow
def test_everything_at_once_is_right_and_the_same_in_every_run(tmp_path: Path) -> None:
    found = built(EVERYTHING, tmp_path)
    assert_right(found, LENGTHS, FEW)
    rung = determinism_rung(found, load_module(found.path), lambda _what: None)
    assert rung.status is Status.PASSED
    assert rung.details["deterministic"] is True
