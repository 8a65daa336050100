"""Norms and output expressions that are trained with: PyTorch's, around the kernels of a core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.core import core, is_surrounded
from flash4gen.ir.expr import (
    Apply,
    Expr,
    Extent,
    Input,
    InputDType,
    Literal,
    Lookup,
    Op,
    Var,
    Variable,
)
from flash4gen.ir.nodes import Lengths, Norm, Pass
from flash4gen.schedule.backward.choose import no_backward
from flash4gen.schedule.choose import AROUND, choose
from flash4gen.schedule.model import Choice
from flash4gen.validate.cases import Case
from flash4gen.validate.gradient_rung import call_of, gradient_result, run_gradients
from flash4gen.validate.surrounded import noted_outputs
from tests.long_matrix import slow
from tests.validate.training import (
    FEW,
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


ONE = Literal(1.0)
WEIGHT = Input("w", InputDType.F32, (16,))
OF_GROUP = Input("u", InputDType.BF16, (Extent.KV_HEADS, 16))
GATE = Input("gate", InputDType.BF16, (Extent.BATCH, Extent.SEQ_Q, Extent.HEADS, 16))
BY_HEAD = Input("by_head", InputDType.F32, (Extent.HEADS, 3))


def read(tensor: Input, *indices: Expr | Var) -> Lookup:
    return Lookup(tensor, tuple(Variable(it) if isinstance(it, Var) else it for it in indices))


def gated(by: Expr) -> Apply:
    return Apply(Op.MUL, (Variable(Var.OUT), Apply(Op.SIGMOID, (by,))))


BY_PLACE = read(WEIGHT, Var.D)
ELEMENT = read(GATE, Var.B, Var.Q, Var.H, Var.D)
OF_HEAD = read(BY_HEAD, Var.H, Literal(1))
OUTSIDE = read(BY_HEAD, Apply(Op.ADD, (Variable(Var.H), Literal(1))), Literal(2))
"""The head after this one: the last one reads 0."""

NORMED: dict[str, Any] = {
    "q_norm": Norm(1e-6, Apply(Op.ADD, (ONE, BY_PLACE))),
    "k_norm": Norm(0.5, read(OF_GROUP, Var.HKV, Var.D)),
    "inputs": (WEIGHT, OF_GROUP),
}
VARIANTS = {
    "norms": training(mask="k <= q_end", **NORMED),
    "a norm of queries": training(q_norm=Norm(0.1, ONE)),
    "a norm of keys": training(k_norm=Norm(0.1, BY_PLACE), inputs=(WEIGHT,)),
    "a gate": training(epilogue=gated(ELEMENT), inputs=(GATE,)),
    "a gate of heads": training(epilogue=gated(OF_HEAD), inputs=(BY_HEAD,)),
    "outside": training(epilogue=gated(OUTSIDE), inputs=(BY_HEAD,)),
    "places": training(epilogue=Apply(Op.DIV, (Variable(Var.OUT), Apply(Op.TO_FLOAT, (
        Apply(Op.ADD, (Variable(Var.Q), Variable(Var.SEQ_K))),))))),
    "no output": training(epilogue=ELEMENT, inputs=(GATE,)),
    "all": training(
        score="5.0 * tanh(s / 5.0)", mask="k <= q_end", epilogue=gated(ELEMENT),
        **NORMED | {"inputs": (WEIGHT, OF_GROUP, GATE)},
    ),
}  # fmt: skip
EVERY_HEAD = VARIANTS["all"]


def test_a_core_has_no_norms_and_no_tensors_of_theirs() -> None:
    inner = core(EVERY_HEAD)
    assert is_surrounded(EVERY_HEAD)
    assert not is_surrounded(inner)
    assert (inner.q_norm, inner.k_norm, inner.epilogue, inner.inputs) == (None, None, None, ())
    assert core(inner) is inner


def test_a_tensor_that_the_score_reads_too_stays() -> None:
    variant = training(
        score="s * slopes[h]",
        epilogue=gated(read(Input("slopes", InputDType.F32, (Extent.HEADS,)), Var.H)),
    )
    assert core(variant).inputs == variant.inputs != ()


def test_a_forward_pass_alone_is_whole() -> None:
    alone = training(passes=(Pass.FORWARD,), **NORMED)
    assert core(alone) is alone


@pytest.mark.parametrize("name", VARIANTS)
def test_the_cpu_path_is_the_derivative_of_the_oracle(name: str, tmp_path: Path) -> None:
    assert_like_the_oracle(VARIANTS[name], *in_float64(VARIANTS[name], FEW), tmp_path)


def test_all_that_moves_the_result_has_a_gradient(tmp_path: Path) -> None:
    found = run_gradients(EVERY_HEAD, module_of(EVERY_HEAD, tmp_path), *in_float64(EVERY_HEAD, FEW))
    assert set(found) == {"q", "k", "v", "w", "u", "gate"}
    assert all(grad is not None and grad.abs().max() > 0 for grad in found.values())
    text = (tmp_path / "trained.py").read_text()
    assert "It is differentiable in q, k, v, w, u and gate, once." in text


def test_packed_sequences_are_normalised_as_well(tmp_path: Path) -> None:
    variant = training(lengths=Lengths.PACKED, mask="k <= q_end", **NORMED)
    assert_like_the_oracle(variant, *in_float64(variant, FEW), tmp_path)


def test_packed_rows_that_read_their_places_are_refused() -> None:
    gate = Input("gate", InputDType.F32, (Extent.BATCH, Extent.HEADS))
    variant = training(
        lengths=Lengths.PACKED, epilogue=gated(read(gate, Var.B, Var.H)), inputs=(gate,)
    )
    refusal = no_backward(variant)
    assert refusal is not None
    assert "places in packed sequences" in refusal.message
    assert "in PyTorch" in refusal.helps[0]


def test_a_training_step_compiles_to_one_graph(tmp_path: Path) -> None:
    module = module_of(EVERY_HEAD, tmp_path)
    call, _ = call_of(EVERY_HEAD, FEW)
    given = [x.detach().requires_grad_() for x in call.by_name.values()]
    names = [tensor.name for tensor in EVERY_HEAD.inputs]

    def step(q: Any, k: Any, v: Any, *others: Any) -> Any:
        out, lse = module.trained(q * 2, k, v, **dict(zip(names, others, strict=True)))
        return out.float().square().sum() + lse.clamp(min=-10).sum()

    plain = torch.autograd.grad(step(*given), given)
    traced = torch.compile(step, fullgraph=True, backend="aot_eager")
    for grad, other in zip(torch.autograd.grad(traced(*given), given), plain, strict=True):
        torch.testing.assert_close(grad, other)


def test_what_does_not_fit_is_named_before_it_is_normalised(tmp_path: Path) -> None:
    module = module_of(EVERY_HEAD, tmp_path)
    call, _ = call_of(EVERY_HEAD, FEW)
    tensors = dict(call.tensors)
    with pytest.raises(ValueError, match=r"^q: expected shape"):
        module.trained(call.q[..., :8], call.k, call.v, **tensors)
    with pytest.raises(ValueError, match=r"^w: expected shape \[16\] = \[16\], got \[15\]"):
        module.trained(call.q, call.k, call.v, **tensors | {"w": tensors["w"][1:]})
    with pytest.raises(TypeError, match=r"^gate: expected dtype"):
        module.trained(call.q, call.k, call.v, **tensors | {"gate": tensors["gate"].float()})


CASES = (
    FEW,
    Case(name="several tiles", seq_q=71, seq_k=53),
    Case(name="no keys", seq_q=3, seq_k=0),
)


@pytest.mark.parametrize("target", ["rtx5090", *slow("h100", "mi300x")])
def test_kernels_of_the_core_give_gradients_of_all(target: str, tmp_path: Path) -> None:
    assert_right(compiled(written(EVERY_HEAD, target, tmp_path)), *CASES)


@pytest.mark.parametrize(
    ("right", "wrong", "gradient"),
    [
        ("queries = queries * weight", "queries = queries * weight.detach()", "w has no gradient"),
        ("return out.to(dtype)", "return out.detach().to(dtype) + 0 * out.to(dtype)", "of gate"),
    ],
)
def test_a_gradient_that_stops_is_found(
    right: str, wrong: str, gradient: str, tmp_path: Path
) -> None:
    subject = compiled(written(EVERY_HEAD, "rtx5090", tmp_path, (right, wrong)))
    result = gradient_result(subject, load_module(subject.path), FEW)
    assert any(gradient in failure.reason for failure in result.failures)


def test_what_kernels_store_is_noted_and_the_module_left_as_it_was(tmp_path: Path) -> None:
    module = module_of(EVERY_HEAD, tmp_path)
    before = module._finished
    call, _ = call_of(EVERY_HEAD, FEW)
    with noted_outputs(module) as noted:
        out, _ = module.trained(call.q, call.k, call.v, **call.tensors)
    assert module._finished is before
    gates = torch.sigmoid(call.tensors["gate"].float())
    torch.testing.assert_close((noted[0].float() * gates).to(out.dtype), out)


@pytest.mark.parametrize("target", ["h100", "b200"])
def test_the_choice_says_who_normalises(target: str) -> None:
    variant = training(head_dim=64, value_dim=64, pins=(), q_norm=Norm(1e-6, ONE))
    choice, alone = (choose(it, library.target(target)) for it in (variant, core(variant)))
    assert isinstance(choice, Choice)
    assert isinstance(alone, Choice)
    assert choice.schedule == alone.schedule
    assert choice.decisions == (*alone.decisions, AROUND)
