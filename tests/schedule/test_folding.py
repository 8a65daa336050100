"""Constant factors of a score: where they go, and that the score stays what it was."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.expr import SCORE, Apply, Expr, Literal, Op, Var
from flash4gen.schedule.folding import fold
from flash4gen.validate.evaluate import evaluate
from tests.ir.notation import expr

SCALE = 0.125


@pytest.mark.parametrize(
    ("score", "prescale", "body", "factor"),
    [
        ("50.0 * tanh(s / 50.0)", SCALE / 50, "tanh(s)", 50),
        ("tanh(s * 0.02) / 0.02", SCALE * 0.02, "tanh(s)", 50),
        ("tanh(s)", SCALE, "tanh(s)", 1),
        # What is nothing but factors needs no instruction of its own.
        ("s", 1, "s", SCALE),
        ("2.0 * s", 1, "s", 2 * SCALE),
        ("2.0 * (s / 4.0) * 3.0", 1, "s", 1.5 * SCALE),
        # A sum keeps the scale of the product, unless its terms agree on a factor.
        ("s + 1.0", SCALE, "s + 1.0", 1),
        ("3.0 * (s - 0.5 * float(q - k))", SCALE, "s - 0.5 * float(q - k)", 3),
        ("2.0 * s + 1.0", 2 * SCALE, "s + 1.0", 1),
        ("tanh(2.0 * s) + s * 2.0", 2 * SCALE, "tanh(s) + s", 1),
        ("tanh(2.0 * s) + s", SCALE, "tanh(2.0 * s) + s", 1),
        ("tanh(2.0 * s) + 3.0 * s", SCALE, "tanh(2.0 * s) + 3.0 * s", 1),
        # A negative factor would turn the largest product into the smallest score.
        ("-2.0 * tanh(s)", SCALE, "-2.0 * tanh(s)", 1),
        ("tanh(-2.0 * s)", SCALE, "tanh(-2.0 * s)", 1),
    ],
)
def test_what_is_folded(score: str, prescale: float, body: str, factor: float) -> None:
    folded = fold(expr(score), SCALE)
    assert folded.body == expr(body)
    assert folded.prescale == pytest.approx(prescale, rel=1e-15)
    assert folded.factor == pytest.approx(factor, rel=1e-15)
    assert folded.identity == (body == "s")


@pytest.mark.parametrize(
    ("score", "grows"),
    [
        ("s", True),
        ("50.0 * tanh(s / 50.0)", True),
        ("exp(s) + tanh(s)", True),
        ("max(s, 0.0)", True),
        ("min(2.0 * s, 4.0) - 1.0", True),
        ("1.0 - s", False),
        ("abs(s)", False),
        ("s * s", False),
        ("-1.0 * s", False),
        ("tanh(s) / -2.0", False),
        ("s ** 2.0", False),
        # It depends on more than the product: the largest product need not be the largest score.
        ("s - 0.5 * float(q - k)", False),
    ],
)
def test_which_scores_grow_with_their_product(score: str, grows: bool) -> None:
    assert fold(expr(score), SCALE).monotone == grows


LITERALS = st.sampled_from((0.02, 0.5, 2.0, 3.0, 50.0, -2.0)).map(Literal)


def scores(depth: int) -> st.SearchStrategy[Expr]:
    """Scores with constant factors all over, on none of which a rounding error grows large."""
    leaf: st.SearchStrategy[Expr] = st.just(SCORE)
    inner = scores(depth - 1) if depth else leaf
    part = inner | leaf
    applied: list[st.SearchStrategy[Expr]] = [
        st.builds(lambda c, a: Apply(Op.MUL, (c, a)), LITERALS, part),
        st.builds(
            lambda op, a, c: Apply(op, (a, c)), st.sampled_from((Op.MUL, Op.DIV)), part, LITERALS
        ),
    ]
    if depth:
        far = expr("0.5 * float(q - k)")
        binary = st.sampled_from((Op.ADD, Op.MAX, Op.MIN))
        applied += [
            st.builds(lambda a: Apply(Op.TANH, (a,)), inner),
            st.builds(lambda op, a, b: Apply(op, (a, b)), binary, inner, part | LITERALS),
            st.builds(lambda a: Apply(Op.SUB, (a, far)), inner),
        ]
    return st.one_of(*applied)


PRODUCTS = torch.linspace(-40, 40, 161, dtype=torch.float64)


def value(score: Expr, s: torch.Tensor) -> torch.Tensor:
    """Evaluate a score for query 7 and key 3."""
    env = {Var.S: s, Var.Q: torch.tensor(7), Var.K: torch.tensor(3)}
    return evaluate(score, env).expand_as(s)


@settings(max_examples=150, deadline=None)
@given(scores(3), st.sampled_from((SCALE, 1.0, 1 / math.sqrt(96))))
def test_a_folded_score_is_the_score(score: Expr, scale: float) -> None:
    folded = fold(score, scale)
    want = value(score, scale * PRODUCTS)
    got = folded.factor * value(folded.body, folded.prescale * PRODUCTS)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11 * float(want.abs().max()))
    assert folded.factor > 0
    assert folded.prescale > 0


@settings(max_examples=80, deadline=None)
@given(scores(3).filter(lambda score: fold(score, SCALE).monotone))
def test_what_is_called_monotone_never_falls(score: Expr) -> None:
    body = value(fold(score, SCALE).body, PRODUCTS)
    assert bool((body.diff() >= 0).all())
