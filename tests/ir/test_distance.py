"""What is known to be a function of the distance k − q: by its text, and by trying positions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.distance import by_distance, moves, of_distance
from flash4gen.ir.expr import Expr, Lookup, Var
from flash4gen.ir.semantics import evaluate
from flash4gen.ir.simplify import simplify
from tests.ir.notation import expr
from tests.ir.strategies import bools, ints


@pytest.mark.parametrize(
    "text",
    [
        "k - q",
        "k - q_end + 31",
        "min(max(k - q, -128), 128) + 128",
        "abs(q - k) // 4",
        "(2 * k + 3 - 2 * q) % 7",
        "where(k > q, 16, 0) + min(abs(k - q), 15)",
        "where(k <= q_end and q_end - k < 8, q - k, 8)",
        "max(q, k) - q",
        "where(float(q - k) / 8.0 < 2.5, q - k, 20)",
        "where(k - 3 == q, h, seq_k - hkv)",
        "lengths[k - q + 8] - 1",
        "b * 4 + h",
        "7",
    ],
)
def test_a_function_of_the_distance_is_seen(text: str) -> None:
    assert of_distance(expr(text))
    assert of_distance(simplify(expr(text)))


@pytest.mark.parametrize(
    "text",
    [
        "q",
        "k",
        "k + q",
        "k - 2 * q",
        "q // 64 - k // 64",
        "k % 4 - q % 4",
        "where(q < 8, k - q, 0)",
        "where(k > q, k, 0)",
        "k * h - q * h",  # it is one, and not seen to be
        "min(k, 5) - min(q, 5)",
        "docs[b, k]",
        "docs[b, k] - q_docs[b, q]",
    ],
)
def test_what_reads_positions_otherwise_is_none(text: str) -> None:
    assert not of_distance(expr(text))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("table[h, k - q + 4]", True),
        ("table[h, max(k - q, q - k)]", True),
        ("table[hkv, lengths[abs(k - q)]]", True),
        ("table[h, k]", False),
        ("table[h, 3]", False),
        ("bias[h, q, k]", False),
        ("table[h, k + q]", False),
    ],
)
def test_look_ups_by_distance(text: str, *, seen: bool) -> None:
    lookup = expr(text)
    assert isinstance(lookup, Lookup)
    assert by_distance(lookup) is seen


@given(
    found=ints(3) | bools(2),
    q=st.integers(0, 40),
    k=st.integers(0, 40),
    steps=st.integers(0, 5),
    rest=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 3)),
)
@settings(max_examples=300)
def test_it_grows_as_it_is_said_to(
    found: Expr, q: int, k: int, steps: int, rest: tuple[int, int, int]
) -> None:
    growth = moves(found)
    if growth is None:
        return
    others = dict(zip((Var.SEQ_Q, Var.SEQ_K, Var.H), rest, strict=True))
    before = evaluate(found, {Var.Q: q, Var.K: k, **others})
    after = evaluate(found, {Var.Q: q + steps, Var.K: k + steps, **others})
    assert after == before + steps * growth
