"""Tile classes by interval arithmetic, against a look at every element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.masks import Tile, TileClass, classify
from tests.ir.notation import expr
from tests.ir.strategies import bools
from tests.masks.brute import elements, place

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr


def _tile(q: range, k: range, seq_q: int = 4096, seq_k: int = 4096) -> Tile:
    return Tile(q=q, k=k, seq_q=seq_q, seq_k=seq_k)


@pytest.mark.parametrize(
    ("mask", "q", "k", "expected"),
    [
        ("k <= q", range(128, 256), range(0, 128), "full"),
        ("k <= q", range(128, 256), range(128, 256), "partial"),
        ("k <= q", range(128, 256), range(256, 384), "empty"),
        ("k <= q and q - k < 512", range(1024, 1152), range(512, 640), "partial"),
        ("k <= q and q - k < 512", range(1024, 1152), range(640, 768), "full"),
        ("k <= q and q - k < 512", range(1024, 1152), range(384, 512), "empty"),
        ("k <= q and q - k < 512", range(0, 4096), range(0, 4096), "partial"),
        ("q // 256 == k // 256", range(256, 512), range(256, 512), "full"),
        ("q // 256 == k // 256", range(256, 512), range(512, 768), "empty"),
        ("q % 256 < 64", range(256, 320), range(0, 64), "full"),
        ("k < 4 or q - k < 4", range(4, 8), range(0, 8), "full"),
        ("k <= q_end", range(0, 128), range(0, 128), "partial"),
        ("abs(q - k) <= 100", range(0, 50), range(0, 50), "full"),
        ("where(q < 128, k < 64, k >= 64)", range(0, 128), range(0, 64), "full"),
        ("k < q * q", range(10, 20), range(0, 100), "full"),
        ("k != 7", range(0, 8), range(8, 16), "full"),
        ("float(k) < 0.5", range(0, 8), range(8, 16), "partial"),
        ("k // h < 4", range(0, 8), range(0, 8), "partial"),
    ],
)
def test_examples(mask: str, q: range, k: range, expected: str) -> None:
    assert classify(expr(mask), _tile(q, k)).value == expected


def test_lengths_and_heads_may_be_ranges() -> None:
    tile = Tile(q=range(0, 64), k=range(0, 64), seq_q=range(1, 65), seq_k=200, h=range(8))
    assert classify(expr("k <= q + (seq_k - seq_q)"), tile) is TileClass.FULL
    assert classify(expr("k < 64 - h"), tile) is TileClass.PARTIAL
    assert classify(expr("k < 80 - h"), tile) is TileClass.FULL


@pytest.mark.parametrize("q", [range(0), range(0, 8, 2)])
def test_a_tile_without_rows_is_refused(q: range) -> None:
    with pytest.raises(ValueError, match="q must be a range"):
        _tile(q, range(4))


@settings(max_examples=400, deadline=None)
@given(
    mask=bools(3),
    lengths=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    h=st.integers(0, 2),
    corner=st.tuples(st.integers(0, 11), st.integers(0, 11)),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
)
def test_random_tiles_are_classified_as_they_are(
    mask: Expr,
    lengths: tuple[int, int],
    h: int,
    corner: tuple[int, int],
    size: tuple[int, int],
) -> None:
    """With so few elements the halving ends at single ones, where the answer is exact."""
    (seq_q, seq_k), (q, k) = lengths, (corner[0] % lengths[0], corner[1] % lengths[1])
    rows, keys = range(q, min(q + size[0], seq_q)), range(k, min(k + size[1], seq_k))
    block = elements(mask, place(seq_q, seq_k, h))[rows[0] : rows[-1] + 1, keys[0] : keys[-1] + 1]
    exact = "full" if block.all() else "partial" if block.any() else "empty"
    tile = Tile(q=rows, k=keys, seq_q=seq_q, seq_k=seq_k, h=h, hkv=h)
    assert classify(mask, tile).value == exact
    assert classify(mask, tile, deepest=0).value in (exact, "partial")
