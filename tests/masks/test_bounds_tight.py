"""Where the bounds promise to be tight, they are: no tile in vain, no mask where none is needed."""

from __future__ import annotations

import itertools

import pytest

from flash4gen.ir.masks import bounds
from tests.ir.notation import expr
from tests.masks.brute import place, tiles

EXACT = {("empty", "skipped"), ("partial", "masked"), ("full", "plain")}

START = (
    "k <= q",
    "q - k < 5",
    "q // 6 == k // 6",
    "k < 4",
    "abs(q - k) <= 3",
    "k <= q and q - k < 3",
    "k <= q and q // 6 == k // 6",
)
END = tuple(mask.replace("q", "q_end") for mask in START)

LENGTHS = ((0, 3), (1, 1), (1, 13), (13, 1), (13, 13), (16, 9), (9, 16), (20, 31))
TILES = ((1, 1), (4, 2), (2, 4), (5, 3), (8, 8), (1, 4), (16, 1))


def _seen(mask: str) -> set[tuple[str, str]]:
    found = bounds(expr(mask))
    return {
        pair
        for lengths, tile in itertools.product(LENGTHS, TILES)
        for pair in tiles(expr(mask), found, place(*lengths), *tile)
    }


@pytest.mark.parametrize("op", ["and", "or"])
@pytest.mark.parametrize(
    ("a", "b"),
    [*itertools.combinations_with_replacement(START, 2), *itertools.combinations(END, 2)],
)
def test_pairs_aligned_alike(a: str, b: str, op: str) -> None:
    assert _seen(f"({a}) {op} ({b})") <= EXACT


@pytest.mark.parametrize(
    "mask",
    [
        "k < 4 or (k <= q_end and q_end - k < 5)",
        "k <= q_end and (k < 4 or q_end - k < 5)",
        "k < 3 and k <= q or k <= q and q // 6 == k // 6 and q - k < 4",
        "k <= q and q - k < where(h < 1, 5, 50)",
        "h % 2 == 1 or k <= q_end and q_end - k < 5",
        "where(h == 0, k <= q, q - k < 5)",
        "k // 4 <= q // 4",
        "2 * k <= 3 * q + 5",
        "k < seq_k - q",
        "max(k, q - 3) <= q and min(k + 4, q) < k + 3",
        "not (k > q_end or q_end - k >= 5)",
        "q < 5",
        "k < where(q < 5, 2, 8)",
        "k < where(q < 5, 8, 2)",
        "k != 5",
    ],
)
def test_other_masks(mask: str) -> None:
    assert _seen(mask) <= EXACT


def test_both_sides_are_exercised() -> None:
    assert _seen("k <= q and q - k < 5") == EXACT
