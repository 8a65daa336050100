"""Implied comparisons go; what a mask shows stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from flash4gen.ir.expr import Var
from flash4gen.ir.masks import minimal
from flash4gen.ir.printer import format_expr
from flash4gen.ir.semantics import evaluate
from tests.ir.notation import expr
from tests.ir.strategies import bools

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr


@pytest.mark.parametrize(
    ("mask", "shortest"),
    [
        ("k <= q_end and (0 <= q_end - k and q_end - k < 4096)", "k <= q_end and q_end - k < 4096"),
        ("q - k < 8 and q - k < 4", "q - k < 4"),
        ("q - k < 8 or q - k < 4", "q - k < 8"),
        ("k < q and k <= q", "k < q"),
        ("k <= q and k > q - 4", "k <= q and k > q - 4"),
        ("k <= q or (q - k >= 0 and k < 4)", "k <= q or q - k >= 0 and k < 4"),
        ("k == q and k <= q", "k == q and k <= q"),
    ],
)
def test_of_two_comparisons_of_one_sum_one_is_enough(mask: str, shortest: str) -> None:
    assert format_expr(minimal(expr(mask))) == shortest


@settings(max_examples=200, deadline=None)
@given(bools(3))
def test_the_value_never_changes(mask: Expr) -> None:
    short = minimal(mask)
    for q, k in [(0, 0), (0, 5), (3, 2), (7, 7), (9, 1), (2, 11)]:
        at = {Var.Q: q, Var.K: k, Var.H: 1, Var.SEQ_Q: 10, Var.SEQ_K: 12}
        assert evaluate(short, at) == evaluate(mask, at)
