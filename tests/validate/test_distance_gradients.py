"""Gradients of inputs that are read by distance, or at computed indices: numbers, op, same bits."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.expr import Apply, Expr, Extent, Input, InputDType, Lookup, Op
from flash4gen.ir.nodes import DROPOUT_STATE, EmptyRow, Lengths, Weights
from flash4gen.render.gradients import gradients
from flash4gen.render.module import lean
from flash4gen.validate.cases import Case, Layout
from flash4gen.validate.certificate import Status
from flash4gen.validate.determinism import determinism_rung
from flash4gen.validate.gradient_rung import call_of
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

WALK = Input("walk", InputDType.BF16, (7,))
KINDS = Input("kinds", InputDType.I32, (32,))
RELATIVE = Input("relative", InputDType.F32, (Extent.KV_HEADS, 3))
BY_ENTRY = Input("by_entry", InputDType.F32, (Extent.BATCH, 5))
OF_HEADS = Input("of_heads", InputDType.F32, (Extent.HEADS,))


def read(tensor: Input, *indices: str) -> Lookup:
    return Lookup(tensor, tuple(map(expr, indices)))


def plus(*parts: Expr | str) -> Expr:
    """Return the sum of some scores."""
    exprs = (expr(part) if isinstance(part, str) else part for part in parts)
    return reduce(lambda a, b: Apply(Op.ADD, (a, b)), exprs)


T5 = "s + table[h, min(max(k - q, -4), 4) + 4]"
"""As T5's encoder: far distances share an element."""

MOVING = ("q", "k", "v", "table")

WINDOW = "k <= q_end and q_end - k < 40"


def variant(score: Expr | str, *inputs: Input, **changes: Any) -> Attention:
    """Return a small variant with both passes; inputs of the notation need not be named."""
    return training(score=score, **({"inputs": inputs} if inputs else {}), **changes)


TABLE = Input("table", InputDType.F32, (Extent.HEADS, 9))

BY_DISTANCE = {
    "t5": variant(T5),
    "causal": variant(T5, mask="k <= q_end"),
    "window, some distances outside": variant("s + table[h, k - q_end + 2]", mask=WINDOW),
    "two ranges": variant(T5, mask="k < 4 or (k <= q_end and q_end - k < 24)"),
    "a mask of other things": variant(T5, mask="q_docs[b, q] == docs[b, k]"),
    "nothing visible": variant(T5, mask="k < 0"),
    "empty rows": variant(T5, mask="k < q - 3", empty_row=EmptyRow.NAN),
    "a factor": variant("s * (1.0 + table[h, abs(k - q)])", mask="k <= q_end"),
    "in a softcap": variant("5.0 * tanh((s + table[h, min(max(k - q, -4), 4) + 4]) / 5.0)"),
    "times a distance": variant(
        "s + table[h, abs(k - q)] * float(k - q_end) * 0.1", mask="k <= q_end"
    ),
    "twice, and a number": variant("s + table[h, k - q + 4] + table[h, q - k] + table[h, 3]"),
    "buckets, for each group": variant(
        plus(
            "s",
            read(RELATIVE, "hkv", "0"),
            Lookup(RELATIVE, (expr("hkv"), read(KINDS, "k - q + 16"))),
        ),
        RELATIVE,
        KINDS,
    ),
    "no heads, bfloat16": variant(plus("s", read(WALK, "abs(k - q) // 2")), WALK),
    "for each entry": variant(plus("s", read(BY_ENTRY, "b", "where(k > q, 0, q - k)")), BY_ENTRY),
    "lengths": variant("s + table[h, k - q + seq_q - seq_k // 2]"),
    "sigmoid": variant(T5, weights=Weights.SIGMOID, mask="k <= q"),
    "equal lengths": variant(T5, lengths=Lengths.EQUAL),
    "groups of three": variant(T5, heads=6, kv_heads=2),
    "widths": variant(T5, head_dim=32, value_dim=24, scale=0.1),
    "dropout": variant(T5, TABLE, *DROPOUT_STATE, dropout=0.25, mask="k <= q_end"),
}  # fmt: skip
BY_ROW_OR_KEY = {
    "queries": variant("s * table[h, q // 8] + float(k) * table[h, q_docs[b, q]]"),
    "keys": variant("s + table[h, k // 8] + table[h, docs[b, k]]", mask="k <= q_end"),
    "other axes": variant(plus("s", read(RELATIVE, "h // 2", "k % 3"), read(WALK, "q - 2")),
                          RELATIVE, WALK),
    "heads": variant(plus("s", read(OF_HEADS, "h ^ 1")), OF_HEADS, mask="k <= q_end"),
    "one length's positions": variant(
        plus("s", read(Input("one", InputDType.F32, (Extent.SEQ_K,)), "q")),
        Input("one", InputDType.F32, (Extent.SEQ_K,)), lengths=Lengths.EQUAL,
    ),
    "a sink": variant("s", TABLE, RELATIVE, sink=plus(read(TABLE, "h", "b + 3"),
                                                      read(RELATIVE, "h // 2", "2"))),
}  # fmt: skip
PACKED = {
    "packed": variant(T5, lengths=Lengths.PACKED),
    "packed, a window": variant(
        "s + table[h, k - q_end + 2]", mask=WINDOW, lengths=Lengths.PACKED
    ),
    "packed, for each entry": variant(
        plus("s", read(BY_ENTRY, "b", "abs(k - q)")), BY_ENTRY, lengths=Lengths.PACKED
    ),
    "packed, queries": variant(
        plus("s", read(TABLE, "h", "q // 8"), read(RELATIVE, "h // 2", "b")), TABLE, RELATIVE,
        lengths=Lengths.PACKED, mask="k <= q_end",
    ),
    "packed, keys": variant(
        plus("s", read(TABLE, "h", "k // 8"), read(WALK, "k + b")), TABLE, WALK,
        lengths=Lengths.PACKED, mask="k <= q_end",
    ),
    "packed, lengths": variant(
        plus("s", read(WALK, "min(abs(seq_k - seq_q), 6)"), read(TABLE, "h", "k - q + seq_q")),
        WALK, TABLE, lengths=Lengths.PACKED,
    ),
    "packed, a sink": variant(
        "s", TABLE, lengths=Lengths.PACKED, sink=read(TABLE, "h", "min(seq_k, b + 5)")
    ),
}  # fmt: skip
VARIANTS = BY_DISTANCE | BY_ROW_OR_KEY | PACKED

CASES = (
    Case(name="several tiles", seq_q=71, seq_k=53),
    Case(name="more keys", seq_q=9, seq_k=70),
    Case(name="more queries", batch=2, seq_q=37, seq_k=11, layout=Layout.DIM_STRIDED),
    Case(name="no keys", seq_q=3, seq_k=0),
)


def cases(of: Attention) -> tuple[Case, ...]:
    if of.lengths is not Lengths.EQUAL:
        return CASES
    return tuple(replace(case, seq_k=case.seq_q) for case in CASES)


def wide_call(of: Attention) -> tuple[Call, Upstream]:
    """Return float64 arguments, and gradients of the results."""
    seq_k = 7 if of.lengths is Lengths.EQUAL else 9
    return in_float64(of, Case(name="cpu", batch=2, seq_q=7, seq_k=seq_k))


def floats(of: Attention) -> set[str]:
    return {
        tensor.name for tensor in of.inputs if tensor.dtype not in (InputDType.I32, InputDType.I64)
    }


@pytest.mark.parametrize("name", VARIANTS)
def test_the_cpu_path_is_the_derivative_of_the_oracle(name: str, tmp_path: Path) -> None:
    assert_like_the_oracle(VARIANTS[name], *wide_call(VARIANTS[name]), tmp_path)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_input_has_a_gradient(name: str) -> None:
    found = gradients(lean(VARIANTS[name]))
    assert {tensor.name for tensor in found.inputs} == floats(VARIANTS[name])
    assert found.refused == ()


@pytest.mark.parametrize("name", ["t5", "packed", "keys"])
def test_gradcheck(name: str, tmp_path: Path) -> None:
    """Of q, k and v; inputs are not float64, and are compared with the oracle's."""
    of = VARIANTS[name]
    call, _ = call_of(of, Case(name="check", seq_q=3, seq_k=4))
    trained = module_of(of, tmp_path).trained
    given = [x.double().requires_grad_() for x in (call.q, call.k, call.v)]
    tensors = {key: x.requires_grad_(x.is_floating_point()) for key, x in call.tensors.items()}

    def loss(*x: Any) -> Any:
        out, lse = trained(*x, **tensors)
        return out, lse.clamp(min=-10)  # −∞ where there are no keys

    assert torch.autograd.gradcheck(loss, given, atol=1e-5)


@pytest.mark.parametrize("name", ["t5", "twice, and a number", "packed", "keys"])
def test_pytorch_finds_nothing_wrong_with_the_op(name: str, tmp_path: Path) -> None:
    of = VARIANTS[name]
    call, _ = call_of(of, Case(name="op", seq_q=5, seq_k=6))
    given = [x.detach().requires_grad_() for x in (call.q, call.k, call.v)]
    names = (*of.length_tensors, *(tensor.name for tensor in of.inputs))
    torch.library.opcheck(module_of(of, tmp_path)._op, (*given, *(call.tensors[n] for n in names)))


def test_a_training_step_compiles_to_one_graph(tmp_path: Path) -> None:
    of = VARIANTS["t5"]
    module = module_of(of, tmp_path)
    call, _ = call_of(of, Case(name="step", seq_q=5, seq_k=6))
    table = call.tensors["table"].requires_grad_()

    def step(table: Any) -> Any:
        out, lse = module.trained(call.q, call.k, call.v, table=table * 2)
        return out.float().square().sum() + lse.sum()

    (plain,) = torch.autograd.grad(step(table), table)
    compiled_step = torch.compile(step, fullgraph=True, backend="aot_eager")
    (grad,) = torch.autograd.grad(compiled_step(table), table)
    torch.testing.assert_close(grad, plain)


def test_what_is_not_needed_is_not_summed(tmp_path: Path, monkeypatch: Any) -> None:
    of = VARIANTS["t5"]
    module = module_of(of, tmp_path)
    monkeypatch.setattr(module, "_spread", None)
    call, _ = call_of(of, Case(name="step", seq_q=5, seq_k=6))
    out, _ = module.trained(call.q.requires_grad_(), call.k, call.v, **call.tensors)
    out.float().sum().backward()
    assert call.q.grad is not None


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("twice, and a number", "rtx5090"),
        ("packed, a window", "mi300x"),
        *slow(*((name, target) for name in VARIANTS for target in ("rtx5090", "h100"))),
        # Triton 3.9 does not compile dropout with tiles this small for AMD.
        *slow(*((name, "mi300x") for name in VARIANTS if name != "dropout")),
    ],
)
def test_gradients_are_right(name: str, target: str, tmp_path: Path) -> None:
    of = VARIANTS[name]
    assert_right(compiled(written(of, target, tmp_path)), *cases(of))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["t5", "two ranges", "keys", "packed, a window"])
def test_they_are_right_beside_a_warp_specialised_forward_kernel(name: str, tmp_path: Path) -> None:
    found = subject(replace(VARIANTS[name], pins=()), "b200", tmp_path)
    assert found.choice.mixed
    assert_right(found, Case(name="several tiles", seq_q=150, seq_k=300), CASES[2])


WIDE = {"head_dim": 64, "value_dim": 64, "scale": 0.125, "mask": "k <= q_end", "pins": ()}
IN_THE_PIPELINE = {
    "keys": variant("s + table[h, k // 8] + table[h, docs[b, k]]", **WIDE),
    "a factor": variant("s * table[h, q // 8]", **WIDE),
    "heads": variant(plus("s", read(OF_HEADS, "h ^ 1")), OF_HEADS, **WIDE),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", IN_THE_PIPELINE)
def test_computed_indices_are_right_in_the_pipeline(name: str, tmp_path: Path) -> None:
    found = subject(IN_THE_PIPELINE[name], "b200", tmp_path)
    assert not found.choice.mixed
    assert_right(found, Case(name="several tiles", seq_q=150, seq_k=140))


def test_every_result_is_the_same_in_every_order(tmp_path: Path) -> None:
    found = compiled(written(VARIANTS["causal"], "rtx5090", tmp_path))
    rung = determinism_rung(found, load_module(found.path), lambda _what: None)
    assert rung.status is Status.PASSED, rung.details
    assert rung.details["deterministic"] is True
    assert rung.details["results"] == ["out", "lse", *map("gradient of {}".format, MOVING)]


FAULTS = {
    "rows turned too far": ("(i + j) % DISTANCES_TILE_K", "(i + j + 1) % DISTANCES_TILE_K"),
    "both blocks in one": ("tl.where(is_right, turned, 0.0)", "turned"),
    "a diagonal without its last tile": (
        "tl.minimum(q_tiles, k_tiles - offset)",
        "tl.minimum(q_tiles, k_tiles - offset) - 1",
    ),
    "one block twice": ("tl.store(rest_ptr + place, left", "tl.store(rest_ptr + place, right"),
    "diagonals that are left out": (
        "for seq in (seq_q, seq_k)) - 1",
        "for seq in (seq_q, seq_k)) - 2",
    ),
    "distances from elsewhere on": (
        "d = torch.arange(-q.shape[1], ",
        "d = torch.arange(1 - q.shape[1], 1 + ",
    ),
}
QUICK = ("both blocks in one",)


@pytest.mark.parametrize("fault", [*QUICK, *slow(*(name for name in FAULTS if name not in QUICK))])
def test_a_fault_is_found(fault: str, tmp_path: Path) -> None:
    found = compiled(written(VARIANTS["t5"], "rtx5090", tmp_path, FAULTS[fault]))
    with pytest.raises(AssertionError, match="gradient of table"):
        assert_right(found, CASES[0])
