"""Simplification: what goes, what must stay, and that no value ever changes."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Var, walk
from flash4gen.ir.printer import format_expr
from flash4gen.ir.semantics import Value, evaluate
from flash4gen.ir.simplify import negated, simplify
from flash4gen.source import SourceFile
from tests.ir.notation import expr
from tests.ir.strategies import bools, floats, ints


@pytest.mark.parametrize(
    ("before", "after"),
    [
        # integers
        ("2 + 3 * 4", "14"),
        ("-7 // 2", "-4"),
        ("q + 0", "q"),
        ("0 * q", "0"),
        ("q * 1", "q"),
        ("q * 64", "64 * q"),
        ("1 + (q + 2)", "q + 3"),
        ("(q - 3) + 3", "q"),
        ("q - -1", "q + 1"),
        ("q + -1", "q - 1"),
        ("3 - (2 - q)", "q + 1"),
        ("(q + 5) - (k + 2)", "q - k + 3"),
        ("q - q", "0"),
        ("q - (-k)", "q + k"),
        ("-(q - k)", "k - q"),
        ("-(3 * q)", "-3 * q"),
        ("q // 1 + q % 1", "q"),
        ("min(q, q + 3)", "q"),
        ("max(4, max(k, 9))", "max(k, 9)"),
        ("abs(-abs(q))", "abs(q)"),
        ("q_end + 0", "q_end"),
        # comparisons and logic
        ("k - q <= k - q", "true"),
        ("q < q + 1", "true"),
        ("4 > k", "k < 4"),
        ("k + 3 < 10", "k < 7"),
        ("not k < 4", "k >= 4"),
        ("not not k < 4", "k < 4"),
        ("k < 4 and true", "k < 4"),
        ("k < 4 or true", "true"),
        ("k < 4 and (q < 4 and k < 4)", "k < 4 and q < 4"),
        ("k < 4 and k >= 4", "false"),
        ("k < 4 or not k < 4", "true"),
        ("where(k < 4, true, q < 4)", "k < 4 or q < 4"),
        ("where(k < 4, q < 4, false)", "k < 4 and q < 4"),
        ("where(k < 4, false, q < 4)", "k >= 4 and q < 4"),
        ("where(not (k < 4 and q < 4), q, k)", "where(k < 4 and q < 4, k, q)"),
        ("where(h < 2, q, q)", "q"),
        ("where(true, q, k)", "q"),
        # floats
        ("s * 1.0", "s"),
        ("1.0 * s / 1.0", "s"),
        ("s * (1.0 / 4.0)", "s * 0.25"),
        ("s + exp(0.0)", "s + 1.0"),
        ("s + float(3)", "s + 3.0"),
        ("-(-s)", "s"),
        ("abs(-s)", "abs(s)"),
        ("s - 0.0", "s"),
        ("s ** 1.0", "s"),
        ("max(s, s)", "s"),
        ("not s == 0.0", "s != 0.0"),
    ],
)
def test_what_goes(before: str, after: str) -> None:
    assert format_expr(simplify(expr(before))) == after


@pytest.mark.parametrize(
    "kept",
    [
        "s + 0.0",  # −0 + 0 is 0
        "s * 0.0",  # of infinity it is NaN
        "s - s",
        "s / s",
        "0.0 - s",
        "(s + 1.0) + 2.0",
        "2.0 * s",
        "not s < 1.0",  # true of NaN, unlike s >= 1.0
        "s == s",
        "where(s < 1.0, 0.0, -0.0)",
        "s + log(0.0)",
        "s + exp(1000.0)",
        "s + 1.0 / 0.0",
        "k // 0 < 3",
        "float(q - k) * s",
    ],
)
def test_what_stays(kept: str) -> None:
    assert simplify(expr(kept)) == expr(kept)


def test_spans_survive() -> None:
    source = SourceFile("spec.attn", "k < 4 and true")
    whole, inner = source.span(0, 14), source.span(0, 5)
    bound = Apply(Op.LT, (expr("k"), Literal(4, source.span(4, 5))), inner)
    result = simplify(Apply(Op.AND, (bound, Literal(True, source.span(10, 14))), whole))
    assert result.span == inner
    assert isinstance(result, Apply)
    assert result.args[1].span == source.span(4, 5)


def test_a_new_node_takes_the_place_of_the_one_it_replaces() -> None:
    place = SourceFile("spec.attn", "2 + 3").span(0, 5)
    assert simplify(Apply(Op.ADD, (Literal(2), Literal(3)), place)).span == place


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("k <= q and q - k < 4", "k > q or q - k >= 4"),
        ("where(h < 2, k <= q, true)", "h < 2 and k > q"),
        ("not k <= q", "k <= q"),
    ],
)
def test_negated(before: str, after: str) -> None:
    assert format_expr(negated(simplify(expr(before)))) == after


POINTS = st.fixed_dictionaries({var: st.integers(0, 20) for var in Var if var is not Var.S})
SCORES = st.floats(width=64) | st.sampled_from((0.0, -0.0, math.inf, -math.inf, math.nan))


def _value(e: Expr, values: dict[Var, Value]) -> Value | str:
    try:
        return evaluate(e, values)
    except (ArithmeticError, ValueError):
        return "no value"


@settings(max_examples=250, deadline=None)
@given(ints(4) | bools(3), POINTS)
def test_integers_and_masks_keep_their_values(e: Expr, values: dict[Var, Value]) -> None:
    assert _value(simplify(e), values) == evaluate(e, values)
    if e.type == "bool":
        assert evaluate(negated(simplify(e)), values) is not evaluate(e, values)


@settings(max_examples=250, deadline=None)
@given(floats(4), POINTS, SCORES)
def test_floats_keep_every_bit(e: Expr, values: dict[Var, Value], s: float) -> None:
    before, after = (_value(form, {**values, Var.S: s}) for form in (e, simplify(e)))
    if isinstance(before, float) and isinstance(after, float) and not math.isnan(before):
        assert struct.pack("d", before) == struct.pack("d", after)
    elif isinstance(before, float):  # a NaN stays a NaN
        assert isinstance(after, float)
        assert math.isnan(after)


@settings(max_examples=250, deadline=None)
@given(ints(4) | bools(3) | floats(4))
def test_simplifying_twice_is_simplifying_once(e: Expr) -> None:
    once = simplify(e)
    assert simplify(once) == once
    assert once.type is e.type
    assert sum(1 for _ in walk(once)) <= sum(1 for _ in walk(e))
