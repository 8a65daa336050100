"""Proofs of ``x <= y``: what is provable, and that nothing false ever is."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.expr import Apply, Literal, Op, Var
from flash4gen.ir.masks.order import provably_le, sign
from flash4gen.ir.semantics import evaluate
from tests.ir.notation import expr


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("q", "seq_q - 1"),
        ("k", "seq_k - 1"),
        ("q_end", "seq_k - 1"),
        ("1", "seq_q"),
        ("0", "h * 3 + b"),
        ("4 * (q // 4)", "q"),
        ("q", "4 * (q // 4) + 3"),
        ("6 * (q_end // 6)", "q_end"),
        ("q % 8", "7"),
        ("min(q, 3)", "max(k, 3)"),
        ("max(q - 4, 0)", "q"),
        ("q", "min(q + 1, 2 * q)"),
        ("where(h < 2, q, q - 1)", "q"),
        ("-abs(q - k)", "0"),
        ("q - h * q", "q"),
    ],
)
def test_provable(x: str, y: str) -> None:
    assert provably_le(expr(x), expr(y))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ("q", "seq_q - 2"),
        ("k", "seq_k - 2"),
        ("2", "seq_q"),
        ("q", "4 * (q // 4) + 2"),
        ("4 * (q // 4)", "q - 1"),
        ("q % 8", "6"),
        ("q", "k"),
        ("q", "seq_k"),
        ("max(q, 3)", "q"),
        ("q", "min(q, 3)"),
        ("q // h", "q"),
    ],
)
def test_not_provable(x: str, y: str) -> None:
    assert not provably_le(expr(x), expr(y))


@pytest.mark.parametrize(
    ("x", "expected"), [("h + 1", 1), ("-q - 1", -1), ("h - 1", None), ("q // h", None)]
)
def test_sign(x: str, expected: int | None) -> None:
    assert sign(expr(x)) == expected


TERMS = (
    "q", "k", "seq_q", "seq_k", "h", "q_end", "2 * q", "4 * (q // 4)", "3 * (q_end // 3)",
    "k // 2 * 2", "q % 5", "abs(q - k)", "min(q, k)", "max(q, 3)", "where(h < 1, q, 2)",
)  # fmt: skip

sums = st.builds(
    lambda a, b, op, c: Apply(Op.ADD, (Apply(op, (expr(a), expr(b))), Literal(c))),
    st.sampled_from(TERMS),
    st.sampled_from(TERMS),
    st.sampled_from((Op.ADD, Op.SUB)),
    st.integers(-6, 6),
)

ELEMENTS = [
    {Var.Q: q, Var.K: k, Var.SEQ_Q: seq_q, Var.SEQ_K: seq_k, Var.H: h, Var.HKV: h, Var.B: 0}
    for seq_q, seq_k, h in product((1, 6), (1, 7), (0, 2))
    for q, k in product(range(seq_q), range(seq_k))
]


@settings(max_examples=600, deadline=None)
@given(x=sums, y=sums)
def test_what_is_proven_holds_for_every_element(x: Apply, y: Apply) -> None:
    if provably_le(x, y):
        assert all(evaluate(x, at) <= evaluate(y, at) for at in ELEMENTS)
