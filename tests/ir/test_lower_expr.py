"""Expressions: names, types, promotion and the expansion of functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Type, Var, Variable, walk
from flash4gen.ir.lower import analyse
from flash4gen.source import SourceFile

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention

S, Q, K = Variable(Var.S), Variable(Var.Q), Variable(Var.K)
Q_END = Apply(Op.ADD, (Q, Apply(Op.SUB, (Variable(Var.SEQ_K), Variable(Var.SEQ_Q)))))


def attention(fields: str, before: str = "") -> Attention:
    text = f"{before}\nattention a {{ dtype = bf16  heads = 8  head_dim = 64\n{fields}\n}}"
    lowered = analyse(SourceFile("test.attn", text))
    assert lowered.diagnostics == ()
    return lowered.attentions[0]


def score(text: str, before: str = "") -> Expr:
    return attention(f"score = {text}", before).score


def mask(text: str, fields: str = "") -> Expr:
    return attention(f"{fields}\nmask = {text}").mask


def test_names() -> None:
    assert score("s + h + hkv + b + seq_q") == Apply(
        Op.ADD,
        (
            Apply(
                Op.ADD,
                (
                    Apply(
                        Op.ADD,
                        (
                            Apply(Op.ADD, (S, Apply(Op.TO_FLOAT, (Variable(Var.H),)))),
                            Apply(Op.TO_FLOAT, (Variable(Var.HKV),)),
                        ),
                    ),
                    Apply(Op.TO_FLOAT, (Variable(Var.B),)),
                ),
            ),
            Apply(Op.TO_FLOAT, (Variable(Var.SEQ_Q),)),
        ),
    )


def test_constants_of_the_item_are_literals() -> None:
    assert mask("heads == kv_heads * k + head_dim") == Apply(
        Op.EQ,
        (
            Literal(8),
            Apply(Op.ADD, (Apply(Op.MUL, (Literal(8), K)), Literal(64))),
        ),
    )
    assert score("s * scale") == Apply(Op.MUL, (S, Literal(0.125)))


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("s * 2", Apply(Op.MUL, (S, Literal(2.0)))),
        ("k", Apply(Op.TO_FLOAT, (K,))),
        ("k / 2", Apply(Op.DIV, (Apply(Op.TO_FLOAT, (K,)), Literal(2.0)))),
        ("exp(k)", Apply(Op.EXP, (Apply(Op.TO_FLOAT, (K,)),))),
        ("max(s, k)", Apply(Op.MAX, (S, Apply(Op.TO_FLOAT, (K,))))),
        ("min(s, 1, 2)", Apply(Op.MIN, (Apply(Op.MIN, (S, Literal(1.0))), Literal(2.0)))),
        ("where(s > 0, s, 0)", Apply(Op.WHERE, (Apply(Op.GT, (S, Literal(0.0))), S, Literal(0.0)))),
        ("s ** 2", Apply(Op.POW, (S, Literal(2.0)))),
        ("-s", Apply(Op.NEG, (S,))),
        ("+s", S),
        ("s + -1", Apply(Op.ADD, (S, Literal(-1.0)))),
        ("s + 2 ** 3", Apply(Op.ADD, (S, Literal(8.0)))),
    ],
)
def test_whole_numbers_become_floats_where_a_float_is_meant(text: str, meaning: Expr) -> None:
    assert score(text) == meaning


def test_positions_stay_whole_numbers() -> None:
    assert mask("k // 4 % 2 == 0") == Apply(
        Op.EQ, (Apply(Op.MOD, (Apply(Op.FLOOR_DIV, (K, Literal(4))), Literal(2))), Literal(0))
    )


def test_chained_comparisons_are_conjunctions() -> None:
    assert mask("0 <= k < q") == Apply(
        Op.AND, (Apply(Op.LE, (Literal(0), K)), Apply(Op.LT, (K, Q)))
    )


def test_what_decides_itself_is_folded() -> None:
    assert mask("true and k < q") == Apply(Op.LT, (K, Q))
    assert mask("k < q or true") == Literal(True)
    assert mask("where(2 < 3, k < q, k > q)") == Apply(Op.LT, (K, Q))


def test_q_end_is_the_query_where_the_lengths_are_equal() -> None:
    assert mask("k <= q_end") == Apply(Op.LE, (K, Q_END))
    assert mask("k <= q_end", "lengths = equal") == Apply(Op.LE, (K, Q))


@pytest.mark.parametrize(
    ("call", "meaning"),
    [
        ("full", Literal(True)),
        ("causal(align = end)", Apply(Op.LE, (K, Q_END))),
        ("causal(end)", Apply(Op.LE, (K, Q_END))),
        ("causal(align = start)", Apply(Op.LE, (K, Q))),
        ("prefix(9)", Apply(Op.LT, (K, Literal(9)))),
    ],
)
def test_the_prelude_expands(call: str, meaning: Expr) -> None:
    assert mask(call) == meaning


def test_causal_needs_no_alignment_where_the_lengths_are_equal() -> None:
    assert mask("causal", "lengths = equal") == Apply(Op.LE, (K, Q))


def test_functions_take_arguments_by_place_by_name_and_by_default() -> None:
    double = "def times(x, factor = 2.0, *, plus = 0.0) = x * factor + plus"
    expected = Apply(Op.ADD, (Apply(Op.MUL, (S, Literal(2.0))), Literal(0.0)))
    assert score("times(s)", double) == expected
    assert score("times(s, 2)", double) == expected
    assert score("times(factor = 2, plus = 0, x = s)", double) == expected


def test_symbols_are_passed_on() -> None:
    before = "def mine(align : start | end = end) = where(causal(align = align), 1.0, 0.0)"
    assert score("s + mine()", before) == score("s + mine(align = end)", before)
    assert score("s + mine(start)", before) != score("s + mine(end)", before)


def test_forms_of_one_name_are_told_apart_by_their_arguments() -> None:
    before = "def size(*, small) = small + 1.0\ndef size(*, large) = large * 100.0"
    assert score("s + size(large = 2)", before) == Apply(
        Op.ADD, (S, Apply(Op.MUL, (Literal(2.0), Literal(100.0))))
    )


def test_a_function_hides_the_prelude_but_not_from_the_prelude() -> None:
    before = "def softcap(s, cap) = min(s, cap)"
    assert score("softcap(s, 5)", before) == Apply(Op.MIN, (S, Literal(5.0)))


def test_parameters_hide_variables() -> None:
    assert score("f(1.0)", "def f(s) = s + s") == Apply(Op.ADD, (Literal(1.0), Literal(1.0)))


def test_expanded_nodes_point_at_the_call() -> None:
    meaning = score("1.0 + softcap(s * 2.0, 50)")
    texts = {node.span.text for node in walk(meaning) if node.span}
    assert texts == {"1.0 + softcap(s * 2.0, 50)", "1.0", "softcap(s * 2.0, 50)", "s * 2.0",
                     "s", "2.0", "50"}  # fmt: skip


def test_every_node_is_well_typed() -> None:
    meaning = score("where(0 <= q - k < 9, softcap(s, 50) + k / 3, -1e30)")
    assert meaning.type is Type.FLOAT
    assert all(node.type in Type for node in walk(meaning))
