"""No mask, shape or tile size makes the loops skip a visible key or trust a hidden one."""

from __future__ import annotations

from functools import reduce

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, randint, tensor

from flash4gen.ir.expr import Apply, Expr, Op
from flash4gen.ir.masks import (
    QueryTile,
    Tile,
    TileClass,
    always_true,
    bounds,
    classify,
    loops,
    never_true,
)
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


LOOKING_UP = (
    "q_docs[b, q] == docs[b, k]",
    "docs[b, q] != docs[b, k]",
    "k < lengths[b]",
    "k - lengths[b] < q",
    "q < where(lengths[0] < 3, 4, k)",
    "docs[b, k - 3] * k <= 4",
    "lengths[b] < 2",
    "k <= max(q, docs[b, q])",
    "bias[h, q, k] < 0.5",
    "k < 6 - lengths[docs[b, k]]",
    "where(docs[b, k] < 2, k <= q, q <= k)",
)
"""Comparisons of what is not known before a kernel runs."""


def _combine(parts: list[Expr], ops: list[Op]) -> Expr:
    return reduce(lambda a, item: Apply(item[0], (a, item[1])), zip(ops, parts[1:], strict=False),
                  parts[0])  # fmt: skip


combinations = st.builds(
    _combine,
    st.lists(st.sampled_from(NAMED).map(expr), min_size=1, max_size=4),
    st.lists(st.sampled_from((Op.AND, Op.OR)), min_size=3, max_size=3),
)


reading = st.builds(
    _combine,
    st.lists(st.sampled_from(NAMED + LOOKING_UP).map(expr), min_size=1, max_size=4),
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


@settings(max_examples=400, deadline=None)
@given(
    mask=reading,
    lengths=st.tuples(LENGTHS, LENGTHS),
    h=HEADS,
    tile=st.tuples(TILES, TILES),
    seed=st.integers(0, 9),
)
def test_masks_that_look_up_tensors_skip_nothing_visible(
    mask: Expr, lengths: tuple[int, int], h: int, tile: tuple[int, int], seed: int
) -> None:
    tensors = _tensors(*lengths, seed)
    where = place(*lengths, h)
    assert set(tiles(mask, bounds(mask), where, *tile, tensors)) <= SOUND
    visible = elements(mask, where, tensors)
    assert not (never_true(mask) and visible.any())
    assert not (always_true(mask) and not visible.all())
    if visible.size:
        block = Tile(
            q=range(lengths[0]), k=range(lengths[1]), seq_q=lengths[0], seq_k=lengths[1], h=h, hkv=h
        )
        found = classify(mask, block, deepest=3)
        assert not (found is TileClass.EMPTY and visible.any())
        assert not (found is TileClass.FULL and not visible.all())


def _tensors(seq_q: int, seq_k: int, seed: int) -> dict[str, Tensor]:
    """Return tensors of one batch entry and three heads, with numbers like small positions."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "docs": randint(-1, 4, (1, seq_k), generator=generator),
        "q_docs": randint(-1, 4, (1, seq_q), generator=generator),
        "lengths": tensor([seed]),
        "bias": torch.rand(3, seq_q, seq_k, generator=generator),
    }


def test_what_can_be_said_without_the_tensors_is_said() -> None:
    """Beside a condition on documents, a causal mask still bounds the loop over keys."""
    found = bounds(expr("k <= q_end and q_docs[b, q] == docs[b, k]"))
    assert found.segments[0].live_end == bounds(expr("k <= q_end")).segments[0].live_end
    assert not found.has_full


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
