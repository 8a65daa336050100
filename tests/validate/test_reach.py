"""Lengths that make each loop of the first program turn as often as its mask allows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flash4gen.ir.library import target
from flash4gen.schedule.backward.model import LoopShape
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.validate import scenes
from flash4gen.validate.cases import short_rows
from flash4gen.validate.reach import Way, _turns, longest_loops, loop_shapes
from flash4gen.validate.subject import Subject
from tests.ir.notation import attention
from tests.schedule.variants import chosen
from tests.validate.subjects import FULL, PINS, choice_for

WINDOW = attention(name="window", mask="k <= q_end and q_end - k < 1000", pins=PINS)


def most_turns(mask: str, target: str, known: set[tuple[int, int]]) -> tuple[int, int]:
    """Return the most masked and the most full tiles of the shapes with what is added to them."""
    variant = attention(name="some", mask=mask, pins=PINS)
    schedule = choice_for(variant, target).schedule
    shapes = known | longest_loops(variant, schedule, known)
    way = Way.of(variant, schedule)
    turns = [_turns(way, shape) for shape in shapes]
    return max(masked for masked, _ in turns), max(full for _, full in turns)


@pytest.mark.parametrize(
    ("mask", "masked", "full"),
    [
        ("k <= q_end", 5, 7),  # 64 queries by 16 keys: the diagonal crosses five tiles
        ("k <= q_end and q_end - k < 1000", 7, 7),  # and so does the window's far edge
        ("k <= q_end and q_end - k < 16", 6, 1),  # one query alone sees a whole tile
    ],
)
def test_every_loop_turns_as_often_as_it_can(mask: str, masked: int, full: int) -> None:
    """Seven turns fill and drain a pipeline of two stages twice: more are not looked for."""
    found = most_turns(mask, "rtx5090", {(1, 1)})
    assert (min(found[0], 7), min(found[1], 7)) == (masked, full)


def test_the_kernel_of_short_queries_has_loops_of_its_own() -> None:
    """A window of one tile holds a whole one for a single query, in either kernel."""
    variant = attention(name="local", mask="k <= q_end and q_end - k < 128", head_dim=64)
    schedule = choice_for(variant, "b200").schedule
    few = short_rows(schedule)
    added = longest_loops(variant, schedule, {(1, 1), (few + 1, 1)})
    whole = {shape for shape in added if _turns(Way.of(variant, schedule), shape)[1]}
    assert {q > few for q, _ in whole} == {True, False}


def test_masked_tiles_at_either_end_of_a_window_have_loops_of_their_own() -> None:
    """A whole work tile of 256 rows has none in front; the last one of few rows may have two."""
    variant = attention(name="local", mask="k <= q_end and q_end - k < 128", head_dim=64)
    schedule = choice_for(variant, "b200").schedule
    few = short_rows(schedule)
    shapes = longest_loops(variant, schedule, {(1, 1), (2 * few, 5 * few)})
    way = Way.of(variant, schedule)
    turns = [_turns(way, shape) for shape in shapes if shape[0] > few]
    assert max(before for _, _, before in turns) == 2


def test_a_loop_that_turns_often_at_long_lengths_only_is_not_followed_there() -> None:
    """Only a query tile in two chunks has more than three masked tiles: all 64 of the first."""
    mask = "k <= q_end and q_end // 8192 == k // 8192"
    schedule = choice_for(attention(name="chunks", mask=mask), "b200").schedule
    added = longest_loops(attention(name="chunks", mask=mask), schedule, {(256, 899)})
    assert max(keys for _, keys in added) < 8192


def test_nothing_is_added_where_nothing_is_gained() -> None:
    schedule = choice_for(FULL, "rtx5090").schedule
    assert longest_loops(FULL, schedule, {(64, 16 * 7 + 3)}) == set()


def test_lengths_beyond_all_patience_are_left_alone() -> None:
    far = attention(name="far", mask="k <= q_end and q_end - k < 1000000", pins=PINS)
    schedule = choice_for(far, "rtx5090").schedule
    added = longest_loops(far, schedule, {(1, 1)})
    assert max(seq_k for _, seq_k in added) < 10_000


def test_the_queries_that_see_a_key_tile_are_looked_for_as_well() -> None:
    """Under a causal mask the first keys are seen by all queries, and few of those need it."""
    variant = attention(name="causal", mask="k <= q_end", pins=PINS)
    way = Way.of_keys(variant, LoopShape(16, 32, 4, 2))
    turns = [_turns(way, shape) for shape in loop_shapes(variant, way)]
    assert max(masked for masked, _ in turns) == 4  # three on the diagonal, one of the last queries
    assert max(full for _, full in turns) >= way.enough


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_few_heads_get_batch_entries_so_that_work_tiles_follow_each_other(heads: int) -> None:
    """Slots that work tiles take in turn are all used, also in the kernel for short queries."""
    what, hardware = attention(heads=heads, kv_heads=1), target("b200")
    unbuilt: Any = None
    about = Subject(
        attention=what,
        hardware=hardware,
        choice=chosen(what, hardware),
        rendered=unbuilt,
        path=Path("unbuilt.py"),
        artefact=unbuilt,
    )
    schedule = about.choice.schedule
    assert isinstance(schedule, BlackwellSchedule)
    for case in scenes._cases(about):
        tiles = case.batch * -(-case.seq_q // schedule.tile_rows) * heads // schedule.pack
        assert tiles >= 3
        assert heads < 3 or case.batch == 1
