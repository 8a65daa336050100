"""Gradients of packed sequences: each against the reference of its own, in float64.

A case is several sequences of different lengths, some without queries or keys (``packed.py``).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.ir.expr import Extent, Input, InputDType, Lookup, Var, Variable
from flash4gen.ir.nodes import DROPOUT_STATE, EmptyRow, Lengths, Weights
from flash4gen.schedule.backward.heads import HeadLoop, head_loop
from flash4gen.validate.cases import Case, Layout
from flash4gen.validate.gradient_rung import call_of, run_gradients
from tests.ir.notation import expr
from tests.long_matrix import slow
from tests.validate.subjects import subject
from tests.validate.training import (
    assert_like_the_oracle,
    assert_right,
    compiled,
    in_float64,
    module_of,
    training,
    written,
)

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate.gradients import Call, Upstream

GAINS = Input("gains", InputDType.F32, (Extent.BATCH, Extent.HEADS))


SINK = Input("sinks", InputDType.F32, (Extent.HEADS,))


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
    "an input called as what it is": packed(
        sink=Lookup(SINK, (Variable(Var.H),)), inputs=(SINK,), mask="k <= q_end"
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


def call_in_float64(variant: Attention) -> tuple[Call, Upstream]:
    """Return arguments of several sequences, and gradients of the results."""
    return in_float64(variant, Case(name="cpu", batch=2, seq_q=7, seq_k=9))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_cpu_path_is_the_derivative_of_the_oracle(name: str, tmp_path: Path) -> None:
    assert_like_the_oracle(VARIANTS[name], *call_in_float64(VARIANTS[name]), tmp_path)


def test_autograd_of_the_formula_says_the_same(tmp_path: Path) -> None:
    """The CPU path computes derivatives that the compiler found; `_eager` is the formula itself."""
    module = module_of(EVERYTHING, tmp_path)
    call, given = call_in_float64(EVERYTHING)
    leaves = {name: x.detach() for name, x in call.by_name.items()}
    moving = [leaves[name].requires_grad_() for name in ("q", "k", "v", "gains")]
    found = run_gradients(EVERYTHING, module, call, given)
    out, lse = module._eager(**leaves)
    by_autograd = torch.autograd.grad((out, lse), moving, (given.out, given.second))
    for name, grad in zip(found, by_autograd, strict=True):
        torch.testing.assert_close(found[name], grad, rtol=1e-5, atol=1e-6)


def test_gradcheck(tmp_path: Path) -> None:
    variant = packed(score="5.0 * tanh(s / 5.0)", mask="k <= q_end", heads=2, kv_heads=1)
    trained = module_of(variant, tmp_path).trained
    random = torch.Generator().manual_seed(1)
    shapes = ((4, 2, 16), (6, 1, 16), (6, 1, 16))
    given = [torch.randn(*shape, generator=random, dtype=torch.float64) for shape in shapes]
    starts = {
        "cu_seqlens_q": torch.tensor([0, 1, 1, 4], dtype=torch.int32),
        "cu_seqlens_k": torch.tensor([0, 2, 3, 6], dtype=torch.int32),
    }
    function = partial(trained, **starts)
    assert torch.autograd.gradcheck(function, [x.requires_grad_() for x in given], atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_pytorch_finds_nothing_wrong_with_the_op(name: str, tmp_path: Path) -> None:
    variant = VARIANTS[name]
    module = module_of(variant, tmp_path)
    call, _ = call_of(variant, Case(name="op", seq_q=5, seq_k=6))
    given = [x.detach().requires_grad_() for x in (call.q, call.k, call.v)]
    inputs = [call.tensors[name] for name in (*variant.length_tensors, *_names(variant))]
    torch.library.opcheck(module._op, (*given, *inputs))


def _names(variant: Attention) -> tuple[str, ...]:
    return tuple(tensor.name for tensor in variant.inputs)


def test_a_training_step_compiles_to_one_graph(tmp_path: Path) -> None:
    module = module_of(EVERYTHING, tmp_path)
    call, _ = call_of(EVERYTHING, Case(name="step", seq_q=5, seq_k=6))
    given = [x.detach().requires_grad_() for x in (call.q, call.k, call.v)]

    def step(q: Any, k: Any, v: Any) -> Any:
        out, lse = module.trained(q * 2, k, v, **call.tensors)
        return out.float().square().sum() + lse.clamp(min=-10).sum()

    plain = torch.autograd.grad(step(*given), given)
    compiled_step = torch.compile(step, fullgraph=True, backend="aot_eager")
    for grad, other in zip(torch.autograd.grad(compiled_step(*given), given), plain, strict=True):
        torch.testing.assert_close(grad, other)


def test_starts_are_checked_as_without_gradients(tmp_path: Path) -> None:
    trained = module_of(VARIANTS["causal"], tmp_path).trained
    call, _ = call_of(VARIANTS["causal"], Case(name="starts", seq_q=5, seq_k=6))
    wrong = dict(call.tensors) | {"cu_seqlens_k": call.tensors["cu_seqlens_k"].long()}
    with pytest.raises(TypeError, match=r"cu_seqlens_k: expected dtype torch.int32"):
        trained(call.q.requires_grad_(), call.k, call.v, **wrong)
    falling = dict(call.tensors) | {"cu_seqlens_q": call.tensors["cu_seqlens_q"].flip(0)}
    with pytest.raises(ValueError, match=r"cu_seqlens_q: expected 0 to"):
        trained(call.q, call.k, call.v, **falling, check_lengths=True)


def test_heads_go_both_ways() -> None:
    """Those of ``everything`` one after the other, those of ``groups of three`` in one loop."""
    assert head_loop(EVERYTHING) is HeadLoop.APART
    assert head_loop(VARIANTS["groups of three"]) is HeadLoop.TOGETHER


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("everything", "rtx5090"),
        ("groups of three", "mi300x"),
        *slow(*((name, target) for name in VARIANTS for target in ("a100", "h100"))),
        # Triton 3.9 does not compile dropout with tiles this small for AMD.
        *slow(*((name, "mi355x") for name in VARIANTS if name != "dropout")),
    ],
)
def test_gradients_are_right(name: str, target: str, tmp_path: Path) -> None:
    fast = (name, target) == ("everything", "rtx5090")
    cases = CASES[:1] if fast else CASES
    assert_right(compiled(written(VARIANTS[name], target, tmp_path)), *cases)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["mi300x", "mi355x"])
def test_what_is_dropped_on_amd_has_no_gradient(target: str, tmp_path: Path) -> None:
    assert_right(subject(VARIANTS["dropout"], target, tmp_path), *CASES[:2])


FAULTS = {
    "rows of the sequences before": (
        "line = h.to(tl.int64) * total_q + q_start",
        "line = h.to(tl.int64) * total_q",
    ),
    "heads as far apart as a sequence is long": ("member * total_q", "member * seq_q"),
    "tiles that start elsewhere": (
        "slot - k_start // KEYS_TILE_K - b",
        "slot - k_start // KEYS_TILE_K",
    ),
    "lengths of the sequence before": (
        "tl.load(cu_ptr + b + 1) - start",
        "tl.load(cu_ptr + b) - start",
    ),
    "too few slots": ("k.shape[1] // KEYS_TILE_K.value + batch", "k.shape[1] // KEYS_TILE_K.value"),
}
QUICK = ("tiles that start elsewhere", "heads as far apart as a sequence is long")


@pytest.mark.parametrize("fault", [*QUICK, *slow(*(name for name in FAULTS if name not in QUICK))])
def test_a_fault_is_found(fault: str, tmp_path: Path) -> None:
    change = FAULTS[fault]
    found = compiled(written(VARIANTS["groups of three"], "rtx5090", tmp_path, change))
    with pytest.raises(AssertionError, match=r"gradient of [qkv]"):
        assert_right(found, CASES[0])


def test_sequences_of_nothing_have_gradients_of_nothing(tmp_path: Path) -> None:
    """No sequence, and sequences without a single query: what keys and inputs get is 0."""
    module = module_of(EVERYTHING, tmp_path)
    for case in (Case(name="none", batch=0, seq_q=3, seq_k=5), Case(name="q", seq_q=0, seq_k=5)):
        call, given = call_of(EVERYTHING, case)
        found = run_gradients(EVERYTHING, module, call, given)
        assert all(grad is not None and not grad.any() for grad in found.values())
        shapes = {name: None if grad is None else grad.shape for name, grad in found.items()}
        assert shapes == {name: call.by_name[name].shape for name in ("q", "k", "v", "gains")}
