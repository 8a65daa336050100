"""Bits of whole numbers: how they are written, and that all who compute them agree."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from flash4gen.diagnostics.text import render_text
from flash4gen.ir.expr import BITWISE, Apply, Expr, Literal, Op, Var, Variable
from flash4gen.ir.lower import analyse
from flash4gen.ir.masks import bounds
from flash4gen.ir.printer import format_bounds, format_expr
from flash4gen.ir.semantics import compute
from flash4gen.ir.simplify import simplify
from flash4gen.render.source_expr import TORCH, TRITON, source, variable_names
from flash4gen.source import SourceFile
from flash4gen.validate.evaluate import evaluate
from tests.ir.notation import expr

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention

WORDS = st.integers(-(2**31), 2**31 - 1)
NAMES = variable_names({Var.Q: "q", Var.K: "k"})


def lowered(body: str) -> Attention:
    text = f"attention a {{ dtype = bf16 heads = 8 head_dim = 64 {body} }}"
    found = analyse(SourceFile("a.attn", text))
    assert render_text(found.diagnostics) == ""
    return found.attentions[0]


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("(q | k ^ h & b) == 3", "(q | (k ^ (h & b))) == 3"),
        ("(q << 1 + k) == 3", "(q << (1 + k)) == 3"),
        ("(q >> k >> 1) == 3", "((q >> k) >> 1) == 3"),
        ("(q & k << 1) == 3", "(q & (k << 1)) == 3"),
    ],
)
def test_they_bind_as_in_python(written: str, means: str) -> None:
    assert lowered(f"mask = {written}").mask == expr(means)


@pytest.mark.parametrize("text", ["(q & k | 1) == 3", "((q ^ 1) & k) == 3", "(q >> (k & 31)) == 0"])
def test_the_printed_form_reads_back(text: str) -> None:
    assert lowered(f"mask = {format_expr(expr(text))}").mask == expr(text)


def test_constants_fold() -> None:
    assert simplify(lowered("mask = k < (1 << 4 | 2)").mask) == expr("k < 18")
    assert simplify(lowered("mask = k < (1 << 31)").mask) == expr(f"k < {-(2**31)}")
    assert simplify(expr("(12 & 10) + (12 ^ 10) + (-1 >> 40)")) == Literal(8 + 6 - 1)


@given(WORDS, WORDS, st.sampled_from(sorted(BITWISE)))
def test_the_oracle_agrees_with_plain_numbers(a: int, b: int, op: Op) -> None:
    pair: tuple[Expr, Expr] = (Variable(Var.Q), Variable(Var.K))
    env = {Var.Q: torch.tensor(a), Var.K: torch.tensor(b)}
    assert evaluate(Apply(op, pair), env).item() == compute(op, (a, b))


@given(WORDS, WORDS, st.sampled_from(sorted(BITWISE)))
def test_the_cpu_path_agrees_too(a: int, b: int, op: Op) -> None:
    text = source(Apply(op, (Variable(Var.Q), Variable(Var.K))), TORCH, NAMES)
    given_ = {"q": torch.tensor(a), "k": torch.tensor(b), "torch": torch}
    assert eval(text, given_).item() == compute(op, (a, b))


def test_a_shift_stays_inside_of_the_word() -> None:
    assert compute(Op.SHIFT_LEFT, (1, 33)) == 2
    assert compute(Op.SHIFT_LEFT, (3, 31)) == -(2**31)
    assert compute(Op.SHIFT_RIGHT, (-8, 1)) == -4
    assert source(expr("q >> k"), TRITON, NAMES) == "q >> (k & 31)"
    for inside in ("5", "k % 32", "(k & 31)", "(7 & k)"):
        assert "& 31)" not in source(expr(f"q >> {inside}"), TRITON, NAMES).replace("(k & 31)", "")


@pytest.mark.parametrize("op", sorted(BITWISE))
def test_operators_are_pythons_inside_of_the_word(op: Op) -> None:
    plain = {
        Op.BIT_AND: operator.and_,
        Op.BIT_OR: operator.or_,
        Op.BIT_XOR: operator.xor,
        Op.SHIFT_LEFT: operator.lshift,
        Op.SHIFT_RIGHT: operator.rshift,
    }[op]
    for a, b in ((0, 0), (5, 3), (1023, 4), (77, 12)):
        assert compute(op, (a, b)) == plain(a, b)


def test_a_tree_leaves_the_tiles_before_it_without_mask() -> None:
    item = lowered("input bits : i32[batch, seq_q, 4]  mask = tree(bits)")
    assert format_bounds(bounds(item.mask)) == ("visit [0, seq_k), without mask [0, seq_k - seq_q)")
