"""Launches: tiles on SMs, by hand for small ones, and laws that hold for all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash4gen.clock.grid import Placement, TileCycles, WorkTile, launch

COST = TileCycles(step=10, masked=12, alone=100, further=40)


def test_programs_that_stay_pay_the_whole_overhead_once() -> None:
    tiles = [WorkTile(5, 1)] * 4  # 62 cycles of steps each
    once = launch(tiles, COST, 2, Placement.STATIC)
    assert once.cycles == 100 + 62 + 40 + 62
    each = launch(tiles, COST, 2, Placement.SINGLE)
    assert each.cycles == 2 * (100 + 62)
    assert launch(tiles, COST, 2, Placement.TAKE_OVER).cycles == once.cycles


def test_shares_that_are_fixed_end_apart_under_a_causal_mask() -> None:
    causal = [WorkTile(n, 0) for n in range(8)] * 2
    fixed = launch(causal, COST, 4, Placement.STATIC)
    handed_out = launch(causal, COST, 4, Placement.TAKE_OVER)
    assert handed_out.cycles < fixed.cycles
    assert handed_out.busy > fixed.busy


def test_longest_first_fills_the_tail() -> None:
    lengths = [WorkTile(n, 0) for n in (1, 1, 1, 1, 1, 1, 30)]
    late = launch(lengths, COST, 3, Placement.SINGLE)
    early = launch(lengths[::-1], COST, 3, Placement.SINGLE)
    assert early.cycles < late.cycles


def test_a_tile_too_many_costs_a_wave() -> None:
    exact = launch([WorkTile(100, 0)] * 148, COST, 148, Placement.SINGLE)
    over = launch([WorkTile(100, 0)] * 149, COST, 148, Placement.SINGLE)
    assert over.cycles == 2 * exact.cycles
    assert (exact.waves, over.waves) == (1, 2)
    assert exact.busy == 1.0
    assert over.busy == pytest.approx(149 / 296)


def test_what_memory_cannot_deliver_waits_for_memory() -> None:
    bound = launch([WorkTile(1, 0)], COST, 1, Placement.SINGLE, memory_cycles=5000)
    assert (bound.cycles, bound.bound) == (5000, "memory")


@given(
    st.lists(st.builds(WorkTile, st.integers(0, 50), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(1, 12),
    st.sampled_from(Placement),
)
def test_no_launch_beats_an_even_share(
    tiles: list[WorkTile], slots: int, placement: Placement
) -> None:
    found = launch(tiles, COST, slots, placement)
    work = sum(COST.of(tile) for tile in tiles)
    longest = max(COST.of(tile) for tile in tiles) + COST.alone
    assert found.cycles >= max(longest, COST.alone + work / slots) - 1e-6
    assert 0 < found.busy <= 1 + 1e-9
