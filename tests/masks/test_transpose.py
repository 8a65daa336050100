"""The queries that see a key tile: none is missed, none is trusted that does not see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flash4gen.ir.masks import QueryTile
from flash4gen.ir.masks.plan import loops
from flash4gen.ir.masks.transpose import query_bounds, transposed
from flash4gen.ir.printer import format_bounds
from tests.ir.notation import expr
from tests.ir.strategies import bools
from tests.masks.brute import elements, place
from tests.masks.test_bounds_sound import HEADS, LENGTHS, NAMED, TILES, combinations

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr


def _check(mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int]) -> None:
    """Hold the loops over query tiles of every key tile to the elements."""
    (seq_q, seq_k), (tile_q, tile_k) = lengths, tile
    visible = elements(mask, place(seq_q, seq_k, h))
    found = query_bounds(mask)
    for first in range(0, seq_k, tile_k):
        last = min(first + tile_k, seq_k) - 1
        at = QueryTile(first=first, last=last, seq_q=seq_k, seq_k=seq_q, h=h, hkv=h)
        visited: dict[int, bool] = {}
        for loop in loops(found, at, tile_q):
            for number in range(loop.first, loop.last):
                assert number not in visited
                visited[number] = loop.full_first <= number < loop.full_last
        for number in range(-(-seq_q // tile_q)):
            block = visible[number * tile_q : (number + 1) * tile_q, first : last + 1]
            if number not in visited:
                assert not block.any()
            elif visited[number]:
                assert block.all()
                assert block.shape[0] == tile_q


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mask=bools(3),
    lengths=st.tuples(LENGTHS, LENGTHS),
    h=HEADS,
    tile=st.tuples(TILES, TILES),
)
def test_random_masks(mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int]) -> None:
    _check(mask, lengths, h, tile)


@settings(max_examples=150, deadline=None)
@given(
    mask=combinations,
    lengths=st.tuples(LENGTHS, LENGTHS),
    h=HEADS,
    tile=st.tuples(TILES, TILES),
)
def test_combinations_of_named_masks(
    mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int]
) -> None:
    _check(mask, lengths, h, tile)


@pytest.mark.parametrize("mask", NAMED)
def test_twice_transposed_is_what_it_was(mask: str) -> None:
    assert transposed(transposed(expr(mask))) == expr(mask)


def test_a_causal_mask_starts_at_the_diagonal() -> None:
    """In the printed form `q` and `seq_k` stand for the key and the number of queries."""
    assert format_bounds(query_bounds(expr("k <= q_end"))) == (
        "visit [q_first + seq_k - seq_q, seq_k), without mask [q_last + seq_k - seq_q, seq_k)"
    )
