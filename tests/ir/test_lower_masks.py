"""The prelude's masks, counted key by key against their definition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash4gen.ir.expr import Apply, Expr, Literal, Lookup, Var, Variable
from flash4gen.ir.lower import analyse
from flash4gen.ir.lower_constants import Constant, evaluate
from flash4gen.source import SourceFile

if TYPE_CHECKING:
    from collections.abc import Mapping


def mask(text: str) -> Expr:
    spec = f"attention a {{ dtype = bf16  heads = 1  head_dim = 64  mask = {text} }}"
    lowered = analyse(SourceFile("test.attn", spec))
    assert lowered.diagnostics == ()
    return lowered.attentions[0].mask


def value(expr: Expr, at: Mapping[Var, int]) -> Constant:
    match expr:
        case Literal():
            return expr.value
        case Variable():
            return at[expr.var]
        case Apply():
            return evaluate(expr.op, tuple(value(arg, at) for arg in expr.args))
        case Lookup():
            raise ValueError("these masks look nothing up")


def seen(expr: Expr, query: int, seq_q: int, seq_k: int) -> list[int]:
    """Return the keys that a query sees."""
    return [
        key
        for key in range(seq_k)
        if value(expr, {Var.Q: query, Var.K: key, Var.SEQ_Q: seq_q, Var.SEQ_K: seq_k})
    ]


def test_decoding_with_causal_aligned_at_the_end_sees_everything() -> None:
    assert seen(mask("causal(align = end)"), 0, seq_q=1, seq_k=5) == [0, 1, 2, 3, 4]
    assert seen(mask("causal(align = start)"), 0, seq_q=1, seq_k=5) == [0]


def test_more_queries_than_keys_leave_the_first_ones_blind() -> None:
    assert seen(mask("causal(align = end)"), 0, seq_q=5, seq_k=3) == []
    assert seen(mask("causal(align = end)"), 4, seq_q=5, seq_k=3) == [0, 1, 2]


def test_a_window_counts_its_keys() -> None:
    assert seen(mask("window(keys = 3)"), 6, seq_q=8, seq_k=8) == [4, 5, 6]
    assert seen(mask("window(left_inclusive = 2)"), 6, seq_q=8, seq_k=8) == [4, 5, 6]
    assert seen(mask("window(keys = 3)"), 1, seq_q=8, seq_k=8) == [0, 1]


def test_prefix_and_chunks() -> None:
    assert seen(mask("prefix(2) or causal(align = end)"), 0, seq_q=4, seq_k=4) == [0, 1]
    assert seen(mask("chunked(3)"), 4, seq_q=8, seq_k=8) == [3, 4, 5]
    assert seen(mask("chunked(3, align = start)"), 0, seq_q=1, seq_k=8) == [0, 1, 2]


@given(
    keys=st.integers(1, 9),
    align=st.sampled_from(("start", "end")),
    seq_q=st.integers(1, 9),
    seq_k=st.integers(1, 9),
    data=st.data(),
)
def test_windows_agree_with_each_other_and_with_their_definition(
    keys: int, align: str, seq_q: int, seq_k: int, data: st.DataObject
) -> None:
    query = data.draw(st.integers(0, seq_q - 1))
    position = query + (seq_k - seq_q if align == "end" else 0)
    expected = [key for key in range(seq_k) if position - keys < key <= position]
    spellings = (
        f"window(keys = {keys}, align = {align})",
        f"window(left_inclusive = {keys - 1}, align = {align})",
        f"causal(align = {align}) and window(keys = {keys}, align = {align})",
    )
    for text in spellings:
        assert seen(mask(text), query, seq_q, seq_k) == expected


@pytest.mark.parametrize("align", ["start", "end"])
def test_causal_agrees_with_its_definition(align: str) -> None:
    for seq_q in range(1, 5):
        for seq_k in range(1, 5):
            for query in range(seq_q):
                last = query + (seq_k - seq_q if align == "end" else 0)
                keys = seen(mask(f"causal(align = {align})"), query, seq_q, seq_k)
                assert keys == list(range(min(last + 1, seq_k)))
