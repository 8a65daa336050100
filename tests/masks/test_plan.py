"""The loops over key tiles of one query tile."""

from __future__ import annotations

from flash4gen.ir.masks import (
    Keys,
    Loop,
    QueryTile,
    Visit,
    bounds,
    evaluate_bounds,
    loops,
    query_tiles,
    visited_tiles,
)
from tests.ir.notation import expr

CAUSAL = bounds(expr("k <= q"))
SINK = bounds(expr("k < 4 or k <= q and q - k < 16"))


def _rows(first: int, last: int, seq: int = 1000) -> QueryTile:
    return QueryTile(first=first, last=last, seq_q=seq, seq_k=seq)


def test_causal_runs_plain_tiles_first_and_the_diagonal_with_the_mask() -> None:
    assert loops(CAUSAL, _rows(128, 255), 64) == (Loop(0, 0, 2, 4),)
    assert visited_tiles(CAUSAL, _rows(128, 255), 64) == (
        Visit(0, masked=False),
        Visit(1, masked=False),
        Visit(2, masked=True),
        Visit(3, masked=True),
    )


def test_ranges_are_clamped_to_the_keys_there_are() -> None:
    at = QueryTile(first=128, last=255, seq_q=256, seq_k=100)
    assert evaluate_bounds(CAUSAL, at) == (Keys(0, 100, 0, 100),)
    assert loops(CAUSAL, at, 64) == (Loop(0, 0, 1, 2),)


def test_no_keys_no_loop() -> None:
    at = QueryTile(first=0, last=7, seq_q=8, seq_k=0)
    assert loops(CAUSAL, at, 64) == (Loop(0, 0, 0, 0),)


def test_far_from_the_sink_there_are_two_loops() -> None:
    assert loops(SINK, _rows(512, 519), 4) == (Loop(0, 0, 1, 1), Loop(124, 126, 128, 130))


def test_near_the_sink_the_two_ranges_become_one() -> None:
    assert evaluate_bounds(SINK, _rows(8, 15)) == (Keys(0, 16, 0, 9), Keys(0, 0, 0, 0))
    assert loops(SINK, _rows(8, 15), 4) == (Loop(0, 0, 2, 4), Loop(4, 4, 4, 4))


def test_a_tile_that_both_ranges_touch_is_visited_once() -> None:
    assert loops(SINK, _rows(20, 20), 8) == (Loop(0, 0, 0, 1), Loop(1, 1, 2, 3))


def test_the_last_query_tile_ends_with_the_queries() -> None:
    tiles = list(query_tiles(_rows(0, 0, seq=10), 4))
    assert [(tile.first, tile.last) for tile in tiles] == [(0, 3), (4, 7), (8, 9)]
