"""No mask, shape or tile size makes the loops skip a visible key or trust a hidden one."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flash4gen.ir.expr import Apply, Expr, Op
from flash4gen.ir.masks import QueryTile, always_true, bounds, loops, never_true
from tests.ir.notation import expr
from tests.ir.strategies import bools
from tests.masks.brute import elements, place, tiles

SOUND = {
    ("empty", "skipped"), ("empty", "masked"),
    ("partial", "masked"),
    ("full", "masked"), ("full", "plain"),
}  # fmt: skip

LENGTHS = st.integers(0, 14)
TILES = st.integers(1, 6)
HEADS = st.integers(0, 2)

NAMED = (
    "k <= q",
    "k <= q_end",
    "q - k < 5",
    "q_end - k < 5",
    "abs(q_end - k) <= 3",
    "q // 6 == k // 6",
    "q_end // 4 >= k // 4",
    "k < 4",
    "k >= seq_k - 3",
    "q < 5",
    "h % 2 == 0",
    "k % 3 != 1",
    "q_end - k < where(h < 1, 3, 8)",
    "k // 4 <= q * (h + 1) // 7",
    "k + q < seq_k",
    "k < k + h - 1",
    "q - k != q - h - k",
)


def _combine(parts: list[Expr], ops: list[Op]) -> Expr:
    return reduce(lambda a, item: Apply(item[0], (a, item[1])), zip(ops, parts[1:], strict=False),
                  parts[0])  # fmt: skip


combinations = st.builds(
    _combine,
    st.lists(st.sampled_from(NAMED).map(expr), min_size=1, max_size=4),
    st.lists(st.sampled_from((Op.AND, Op.OR)), min_size=3, max_size=3),
)


def _check(mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int]) -> None:
    where = place(*lengths, h)
    found = bounds(mask)
    assert set(tiles(mask, found, where, *tile)) <= SOUND
    visible = elements(mask, where)
    assert not (never_true(mask) and visible.any())
    assert not (always_true(mask) and not visible.all())


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    mask=bools(3),
    lengths=st.tuples(LENGTHS, LENGTHS),
    h=HEADS,
    tile=st.tuples(TILES, TILES),
)
def test_random_masks(mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int]) -> None:
    _check(mask, lengths, h, tile)


@settings(max_examples=300, deadline=None)
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


@pytest.mark.parametrize("lengths", [(0, 0), (0, 5), (5, 0), (1, 1), (1, 9), (9, 1)])
@pytest.mark.parametrize("mask", NAMED)
def test_edge_lengths(mask: str, lengths: tuple[int, int]) -> None:
    _check(expr(mask), lengths, 1, (4, 4))


@pytest.mark.parametrize(
    "mask", ["k <= q and k // h < 3", "4 // h < 2 or k <= q", "k <= where(q % h < 1, 3, q)"]
)
def test_a_divisor_that_may_be_zero_makes_its_comparison_opaque(mask: str) -> None:
    found = bounds(expr(mask))
    assert loops(found, QueryTile(first=0, last=3, seq_q=9, seq_k=9, h=0), 2)
    assert set(tiles(expr(mask), found, place(9, 9, h=1), 2, 2)) <= SOUND
