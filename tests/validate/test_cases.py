"""Cases: their shapes follow from the tiles, and the mask decides which lengths are added."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.masks import QueryTile, bounds, query_tiles, visited_tiles
from flash4gen.ir.nodes import Attention, Lengths
from flash4gen.validate.cases import Layout, Values
from flash4gen.validate.loops import MOST_STEPS, PROGRAM_STEPS, CasePlan, LoopKind, plan_cases
from tests.ir.notation import attention
from tests.validate.subjects import choice_for

WINDOW = attention(mask="k <= q_end and q_end - k < 4096", heads=16, kv_heads=8)


def plan(variant: Attention, target: str = "b200") -> CasePlan:
    return plan_cases(variant, choice_for(variant, target).schedule)


def test_every_kind_of_values_and_layout_occurs() -> None:
    cases = plan(attention()).cases
    assert {case.values for case in cases} == set(Values)
    assert {case.layout for case in cases} == set(Layout)


def test_edge_shapes_occur() -> None:
    shapes = {(case.batch, case.seq_q, case.seq_k) for case in plan(attention()).cases}
    schedule = choice_for(attention(), "b200").schedule
    assert {(1, 1, 1), (1, 3, 0), (1, 0, 5), (0, 3, 5)} <= shapes
    assert (1, schedule.tile_rows, schedule.tile_k) in shapes
    assert any(q > k > 0 for _, q, k in shapes)
    assert any(q < k for _, q, k in shapes)


def test_names_are_unique_and_a_plan_is_always_the_same() -> None:
    first = plan(WINDOW)
    assert first == plan(WINDOW)
    assert len({case.name for case in first.cases}) == len(first.cases)
    assert len({case.seed for case in first.cases}) == len(first.cases)


def test_a_window_of_4096_keys_gets_a_case_that_is_longer_than_that() -> None:
    found = dict(plan(WINDOW).loops)
    lengths = {case.name: case.seq_k for case in plan(WINDOW).cases}
    for kind in (LoopKind.SKIPPED_BEFORE, LoopKind.MASKED_BEFORE):
        assert lengths[found[kind]] > 4096


def test_a_causal_mask_that_starts_at_the_first_key_never_skips_keys_before() -> None:
    found = plan(attention(mask="k <= q"))
    assert LoopKind.SKIPPED_AFTER in dict(found.loops)
    assert LoopKind.SKIPPED_BEFORE not in dict(found.loops)
    assert not found.too_long


def test_two_ranges_of_keys_get_a_gap_between_them() -> None:
    sink = attention(mask="(k < 4 or q_end - k < 200) and k <= q_end")
    assert LoopKind.GAP in dict(plan(sink).loops)


def test_what_would_take_too_long_is_named() -> None:
    distant = attention(mask="k <= q_end and q_end - k < 1000000", heads=32, kv_heads=8)
    found = plan(distant)
    assert LoopKind.SKIPPED_BEFORE in found.too_long
    assert LoopKind.SKIPPED_BEFORE not in dict(found.loops)


def test_equal_lengths_stay_equal() -> None:
    variant = attention(mask="k <= q and q - k < 300", lengths=Lengths.EQUAL)
    found = plan(variant)
    assert all(case.seq_q == case.seq_k for case in found.cases)
    assert {case.layout for case in found.cases} == set(Layout)
    assert LoopKind.SKIPPED_BEFORE in dict(found.loops)


@pytest.mark.parametrize("variant", [attention(), WINDOW], ids=["full", "window"])
def test_the_cases_that_are_added_stay_affordable(variant: Attention) -> None:
    schedule = choice_for(variant, "b200").schedule
    known = bounds(variant.mask)
    basic = {case.name for case in plan(attention(heads=variant.heads)).cases}
    steps = 0
    for case in plan(variant).cases:
        if case.name in basic:
            continue
        start = QueryTile(first=0, last=0, seq_q=case.seq_q, seq_k=case.seq_k)
        for tile in query_tiles(start, schedule.tile_q):
            steps += PROGRAM_STEPS + len(visited_tiles(known, tile, schedule.tile_k))
    assert steps * variant.heads <= MOST_STEPS


@settings(max_examples=15, deadline=None)
@given(window=st.integers(1, 600), prefix=st.integers(0, 200))
def test_a_loop_is_reported_only_if_a_case_runs_it(window: int, prefix: int) -> None:
    mask = f"k < {prefix} or (k <= q_end and q_end - k < {window})"
    variant = attention(mask=mask, heads=2, kv_heads=1)
    schedule = choice_for(variant, "rtx5090").schedule
    found = plan_cases(variant, schedule)
    cases = {case.name: case for case in found.cases}
    skipped = dict(found.loops).get(LoopKind.SKIPPED_BEFORE)
    if skipped is not None:
        case = cases[skipped]
        start = QueryTile(first=0, last=0, seq_q=case.seq_q, seq_k=case.seq_k)
        tiles = query_tiles(start, schedule.tile_q)
        visits = [visited_tiles(bounds(variant.mask), tile, schedule.tile_k) for tile in tiles]
        assert any(visit and visit[0].tile > 0 for visit in visits)
