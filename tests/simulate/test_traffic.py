"""What global memory delivers again: counted by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest

from flash4gen.clock.grid import WorkTile
from flash4gen.schedule.blackwell.works import Shape, section, works
from flash4gen.schedule.model import TileOrder
from flash4gen.schedule.workload import workload
from flash4gen.simulate.reads import programs
from flash4gen.simulate.traffic import Program, read_from_memory
from tests.schedule.blackwell.cases import B200, schedule
from tests.schedule.variants import CAUSAL, FULL, portable, variant

LONG = Shape(batch=2, heads=16, kv_heads=4, queries=16384, keys=16384)
LENGTHS = ((700, 700), (100, 100), (300, 300))
PACKED = Shape(batch=3, heads=16, kv_heads=4, queries=700, keys=700, lengths=LENGTHS)


def test_programs_that_run_together_share_what_they_read() -> None:
    programs = [Program(0, 4), Program(0, 3), Program(1, 2)]
    assert read_from_memory(programs, 3, 10, 0) == (4 + 2) * 10


def test_what_fits_into_l2_comes_once() -> None:
    programs = [Program(head, 4) for _ in range(5) for head in range(2)]
    assert read_from_memory(programs, 2, 10, 80) == 2 * 4 * 10


def test_what_does_not_fit_comes_each_time() -> None:
    """Two heads of 40 bytes each: when the first comes again, 80 have been read since."""
    programs = [Program(head, 4) for _ in range(5) for head in range(2)]
    assert read_from_memory(programs, 2, 10, 79) == 5 * 2 * 4 * 10


def test_only_what_was_not_read_before_is_missing() -> None:
    programs = [Program(0, 2), Program(0, 5), Program(0, 3)]
    assert read_from_memory(programs, 1, 10, 1000) == 5 * 10


def test_a_head_after_the_other_needs_no_large_cache() -> None:
    """Query tiles first: a head's programs follow each other."""
    programs = [Program(head, 4) for head in range(8) for _ in range(4)]
    assert read_from_memory(programs, 2, 10, 40) == 8 * 4 * 10


@pytest.mark.parametrize("mask", [FULL, CAUSAL])
def test_heads_are_read_in_the_order_in_which_a_kernel_walks_them(mask: str) -> None:
    """Each head's work tiles are those of one head, and heads of a section take turns."""
    what = variant(mask=mask)
    chosen = schedule(what)
    bounds = workload(what).key_bounds
    tiles = works(chosen, bounds, LONG, B200)
    found = list(programs(chosen, tiles, LONG, B200))
    heads = [program.head for program in found]
    assert sorted(set(heads)) == list(range(LONG.batch * LONG.kv_heads))
    assert {heads.count(head) for head in set(heads)} == {len(tiles) // len(set(heads))}
    assert [program.tiles for program in found] == [tile.plain + tile.masked for tile in tiles]
    at_a_time = len(set(heads[: len(tiles) // LONG.batch // 4]))
    if chosen.order is TileOrder.LONGEST_FIRST:
        assert section(chosen, LONG, B200) == 4 * at_a_time
    else:
        assert [head for head, _ in groupby(heads)] == sorted(set(heads))


def test_sections_that_fit_into_l2_are_read_once() -> None:
    """Keys and values of a head have 8 MiB, so that an L2 of 8 MiB would lose them."""
    chosen = schedule(variant(mask=CAUSAL))
    tiles = works(chosen, workload(variant(mask=CAUSAL)).key_bounds, LONG, B200)
    once = LONG.batch * LONG.kv_heads * LONG.keys * 2 * 128 * 2
    tile = chosen.tile_k * 2 * 128 * 2
    found = list(programs(chosen, tiles, LONG, B200))
    assert read_from_memory(found, B200.sms, tile, B200.l2_bytes) == once
    assert read_from_memory(found, B200.sms, tile, 1 << 23) > once


@pytest.mark.parametrize("order", TileOrder)
@pytest.mark.parametrize("family", ["blackwell", "portable"])
def test_slots_of_packed_sequences_read_their_own(family: str, order: TileOrder) -> None:
    """700, 100 and 300 queries in slots of 256 or 128 rows: as ``works`` deals them out."""
    chosen = replace(schedule() if family == "blackwell" else portable(variant(), B200).schedule)
    chosen = replace(chosen, order=order)
    rows = chosen.tile_rows
    slots = -(-1100 // rows) + 2 if family == "blackwell" else 1100 // rows + 3
    owners = [
        max(b for b, n in enumerate((0, 700, 800)) if n // rows + b <= s) for s in range(slots)
    ]
    tiles = [WorkTile(1, 0)] * (slots * PACKED.heads)
    found = [program.head for program in programs(chosen, tiles, PACKED, B200)]
    wanted = [4 * owner + head // 4 for owner in owners for head in range(16)]
    assert sorted(found) == sorted(wanted)
    if order is TileOrder.LONGEST_FIRST and family == "portable":
        assert found[:16] == [4 * owners[-1] + head // 4 for head in range(16)]
    if order is TileOrder.QUERY_TILES_FIRST:
        assert found[:slots] == [4 * owner for owner in owners]
