"""Modules that normalise queries and keys, or change the output: what their kernels do to rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.expr import Apply, Extent, Input, InputDType, Literal, Lookup, Op, Var, Variable
from flash4gen.ir.nodes import EmptyRow, Norm, Pin, Weights
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice
from flash4gen.vgpu import virtual_gpu
from tests.ir.notation import attention

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

PINS = (Pin("tile_q", 64), Pin("tile_k", 16), Pin("warps", 4), Pin("stages", 2))
ONE = Literal(1.0)
PLACE = Variable(Var.D)
WEIGHT = Input("w", InputDType.F32, (16,))
GATE = Input("gate", InputDType.FP16, (Extent.BATCH, Extent.SEQ_Q, Extent.HEADS, 16))
BY_PLACE = Lookup(WEIGHT, (PLACE,))


def gated(**changes: Any) -> Attention:
    """Return an attention whose output is multiplied with a number per element."""
    where = tuple(Variable(var) for var in (Var.B, Var.Q, Var.H, Var.D))
    gate = Apply(Op.MUL, (Variable(Var.OUT), Apply(Op.SIGMOID, (Lookup(GATE, where),))))
    return attention(epilogue=gate, inputs=(GATE,), pins=PINS, **changes)


def called(variant: Attention, folder: Path, *, on_gpu: bool, **given: Tensor) -> Any:
    choice = choose(variant, library.target("a100"))
    assert isinstance(choice, Choice)
    path = folder / f"{variant.name}.py"
    path.write_text(render(variant, library.target("a100"), choice).text, encoding="utf-8")
    function = getattr(load_module(path), variant.name)
    if not on_gpu:
        return function(**given)
    with virtual_gpu(80):
        return function(**given)


def tensors(seq_q: int = 5, seq_k: int = 37) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    sizes = {"q": (2, seq_q, 4, 16), "k": (2, seq_k, 2, 16), "v": (2, seq_k, 2, 16)}
    return {name: torch.randn(size, generator=random).half() for name, size in sizes.items()}


def rms(x: Tensor, eps: float) -> Tensor:
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)


@pytest.mark.parametrize("on_gpu", [True, False], ids=["kernel", "cpu"])
def test_norms_are_those_that_a_caller_would_compute(tmp_path: Path, *, on_gpu: bool) -> None:
    given = tensors()
    weight = torch.randn(16, generator=torch.Generator().manual_seed(1))
    normed = attention(
        name="normed",
        mask="k <= q_end",
        q_norm=Norm(1e-6, ONE),
        k_norm=Norm(0.5, BY_PLACE),
        inputs=(WEIGHT,),
        pins=PINS,
    )
    plain = attention(name="plain", mask="k <= q_end", pins=PINS)
    before = {"q": rms(given["q"], 1e-6), "k": rms(given["k"], 0.5) * weight}
    out, lse = called(normed, tmp_path, on_gpu=on_gpu, w=weight, **given)
    expected = called(
        plain, tmp_path, on_gpu=False, v=given["v"], **{n: x.half() for n, x in before.items()}
    )
    torch.testing.assert_close(out, expected[0], atol=5e-3, rtol=0)
    torch.testing.assert_close(lse, expected[1], atol=5e-3, rtol=0)


def test_a_norm_does_not_see_how_large_rows_are(tmp_path: Path) -> None:
    variant = attention(q_norm=Norm(1e-6, ONE), k_norm=Norm(1e-6, ONE), pins=PINS)
    given = tensors()
    larger = given | {"q": given["q"] * 64, "k": given["k"] * 0.5}
    first = called(variant, tmp_path, on_gpu=True, **given)
    second = called(variant, tmp_path, on_gpu=True, **larger)
    torch.testing.assert_close(first[0], second[0], atol=2e-3, rtol=0)


def test_rows_of_zeros_stay_zeros(tmp_path: Path) -> None:
    variant = attention(q_norm=Norm(1e-6, ONE), k_norm=Norm(1e-6, ONE), pins=PINS)
    given = {name: torch.zeros_like(x) for name, x in tensors().items()}
    out, lse = called(variant, tmp_path, on_gpu=True, **given)
    assert torch.equal(out, torch.zeros_like(out))
    torch.testing.assert_close(lse, torch.full_like(lse, math.log(37)))


def test_a_weight_that_is_infinite_beyond_the_row_does_no_harm(tmp_path: Path) -> None:
    """Rows of 24 elements lie in tiles of 32: there the tensor reads as 0, and 1 / 0 is inf."""
    weight = Input("w", InputDType.F32, (24,))
    inverse = Apply(Op.DIV, (ONE, Lookup(weight, (PLACE,))))
    variant = attention(
        head_dim=24, value_dim=16, q_norm=Norm(1e-6, inverse), inputs=(weight,), pins=PINS
    )
    given = tensors() | {
        "q": torch.ones(2, 5, 4, 24).half(),
        "k": torch.ones(2, 37, 2, 24).half(),
        "w": torch.full((24,), 2.0),
    }
    out, _ = called(variant, tmp_path, on_gpu=True, **given)
    assert out.isfinite().all()


@pytest.mark.parametrize("on_gpu", [True, False], ids=["kernel", "cpu"])
@pytest.mark.parametrize("weights", list(Weights))
def test_a_gate_multiplies_each_element(tmp_path: Path, weights: Weights, *, on_gpu: bool) -> None:
    given = tensors()
    gate = torch.randn(2, 5, 4, 16, generator=torch.Generator().manual_seed(2)).half()
    out, second = called(gated(weights=weights), tmp_path, on_gpu=on_gpu, gate=gate, **given)
    plain = attention(name="plain", weights=weights, pins=PINS)
    expected = called(plain, tmp_path, on_gpu=False, **given)
    wanted = expected[0].float() * torch.sigmoid(gate.float())
    torch.testing.assert_close(out.float(), wanted, atol=5e-3, rtol=2e-3)
    torch.testing.assert_close(second, expected[1], atol=2e-2, rtol=0)


def test_a_gate_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gate: expected shape .batch, seq_q, heads, 16."):
        called(gated(), tmp_path, on_gpu=True, gate=torch.zeros(2, 5, 4, 8).half(), **tensors())


@pytest.mark.parametrize("on_gpu", [True, False], ids=["kernel", "cpu"])
def test_the_output_of_a_row_without_keys_is_changed_too(tmp_path: Path, *, on_gpu: bool) -> None:
    plus = Apply(Op.ADD, (Variable(Var.OUT), Literal(3.0)))
    variant = attention(epilogue=plus, empty_row=EmptyRow.ZERO, pins=PINS)
    given = tensors(seq_k=0)
    out, lse = called(variant, tmp_path, on_gpu=on_gpu, **given)
    assert torch.equal(out, torch.full_like(out, 3.0))
    assert lse.isneginf().all()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"k_norm": Norm(1.0, ONE)},
            "it takes queries and keys as they are, and this attention normalises them",
        ),
        (
            {"epilogue": Literal(0.0)},
            "it stores the output as it is, and this attention changes it",
        ),
    ],
)
def test_the_specialised_family_leaves_rows_as_they_are(
    changes: dict[str, Any], reason: str
) -> None:
    choice = choose(attention(**changes), library.target("b200"))
    assert isinstance(choice, Choice)
    assert choice.decisions[0].value == "portable"
    assert choice.decisions[0].reason == f"not the blackwell family: {reason}"
