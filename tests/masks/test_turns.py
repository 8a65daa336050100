"""Loops over key tiles that are proven never to run do not run, and those that may are left."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.expr import Apply, Expr, Op
from flash4gen.ir.masks import Turns, bounds, loops, query_tiles, turns
from tests.ir.notation import expr
from tests.ir.strategies import bools
from tests.masks.brute import place

TWO = Turns(full=True, before=False)
THREE = Turns(full=True, before=True)
ONE = Turns(full=False, before=False)

NAMED = (
    "k <= q",
    "k <= q_end",
    "q - k < 5",
    "q_end - k < 3",
    "k - q_end < 2",
    "q // 6 == k // 6",
    "q_end // 4 == k // 4",
    "q_end // 4 * 4 - 4 <= k",
    "k < 4",
    "k >= 4",
    "k >= seq_k - 3",
    "h % 2 == 0",
)

combinations = st.builds(
    lambda parts, ops: reduce(
        lambda a, item: Apply(item[0], (a, item[1])), zip(ops, parts[1:], strict=False), parts[0]
    ),
    st.lists(st.sampled_from(NAMED).map(expr), min_size=1, max_size=3),
    st.lists(st.sampled_from((Op.AND, Op.OR)), min_size=2, max_size=2),
)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("k <= q_end", TWO),
        ("0 <= k", TWO),
        ("k < 256 or k <= q_end", TWO),
        ("k >= 256", TWO),
        ("k >= 100 and k <= q_end", THREE),
        # Chunks of whole tiles: a query tile in one starts with it, one in two sees none whole.
        ("k <= q_end and q_end // 8192 == k // 8192", TWO),
        ("q_end // 8192 == k // 8192", TWO),
        ("q // 1024 == k // 1024 and k <= q", TWO),
        ("q_end // 192 == k // 192", THREE),
        # A single query with a window of 128 keys may see a tile whole, one with 127 never does.
        ("k <= q_end and q_end - k < 128", THREE),
        ("k <= q_end and q_end - k < 127", ONE),
        ("q_end - k < 64 and k - q_end < 64", ONE),
        ("q_end // 64 == k // 64", ONE),
        ("k < 4 or (k <= q_end and q_end - k < 60)", ONE),
        ("k < 4 or (k <= q_end and q_end - k < 64)", THREE),  # 63 + 64: the proof halves a tile
        ("k % 2 == 0", ONE),
        ("k < b", THREE),  # the batch entry stands for something else in the proofs
    ],
)
def test_which_loops_can_run(mask: str, expected: Turns) -> None:
    assert turns(bounds(expr(mask)), 128) == expected


def check(mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int]) -> None:
    """Hold what is said for all lengths to the loops at some."""
    known = bounds(mask)
    said = turns(known, tile[1])
    for at in query_tiles(place(*lengths, h), tile[0]):
        for loop in loops(known, at, tile[1]):
            assert said.full or loop.full_first == loop.full_last
            assert said.before or not said.full or loop.first == loop.full_first


@settings(max_examples=300, deadline=None)
@given(
    mask=bools(3),
    lengths=st.tuples(st.integers(1, 14), st.integers(0, 14)),
    h=st.integers(0, 2),
    tile=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_random_masks(mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int]) -> None:
    check(mask, lengths, h, tile)


@settings(max_examples=400, deadline=None)
@given(
    mask=combinations,
    lengths=st.tuples(st.integers(1, 20), st.integers(0, 20)),
    h=st.integers(0, 2),
    tile=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_combinations_of_named_masks(
    mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int]
) -> None:
    check(mask, lengths, h, tile)
