"""Packed sequences on the clock: slots as the kernel finds them, no time below the products."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.blackwell.works import Shape, packed_tiles
from flash4gen.schedule.workload import workload
from flash4gen.simulate.model import BelowFloorError, check_floor
from flash4gen.simulate.run import record_module, summarise
from flash4gen.simulate.timed import Timed, shape_of, time_module
from flash4gen.simulate.whole import operations_of, steps_of, whole
from tests.ir.notation import attention
from tests.simulate.conftest import CAUSAL
from tests.validate.subjects import subject

if TYPE_CHECKING:
    from flash4gen.validate import Subject

PACKED = replace(CAUSAL, name="packed", lengths=Lengths.PACKED)
BOUNDS = workload(PACKED).key_bounds


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(PACKED, "b200", tmp_path_factory.mktemp("packed"))


def timed(module: Subject, *lengths: tuple[int, int]) -> Timed:
    return time_module(module, shape_of(PACKED, 0, None, lengths))


def steps_of_slot(slot: int, lengths: tuple[tuple[int, int], ...], rows: int, tile: int) -> int:
    """Count a slot's key tiles as a module does: find the sequence, then what its rows see."""
    before = [sum(queries for queries, _ in lengths[:b]) for b in range(len(lengths))]
    b = max(b for b in range(len(lengths)) if before[b] // rows + b <= slot)
    first = (slot - (before[b] // rows + b)) * rows
    queries, keys = lengths[b]
    if first >= queries:
        return 1  # a tile of none
    last = min(first + rows, queries) - 1
    return max(1, -(-max(0, min(keys, last + keys - queries + 1)) // tile))


def test_every_slot_has_the_steps_that_the_kernel_finds() -> None:
    numbers = random.Random(5)
    for _ in range(60):
        lengths = tuple(
            (numbers.choice((0, 1, 255, 256, 257, 900)), numbers.choice((0, 1, 128, 1000)))
            for _ in range(numbers.randint(1, 5))
        )
        shape = shape_of(PACKED, 0, None, lengths)
        tiles = packed_tiles(BOUNDS, shape, 256, 128, ceil=True, least=1)
        total = sum(queries for queries, _ in lengths)
        assert len(tiles) == -(-total // 256) + len(lengths) - 1
        found = [tile.plain + tile.masked for tile in tiles]
        assert found == [steps_of_slot(n, lengths, 256, 128) for n in range(len(tiles))]


def test_equal_sequences_have_the_work_of_a_batch() -> None:
    lengths = ((1024, 1024),) * 4
    packed = Shape(batch=4, heads=16, kv_heads=8, queries=1024, keys=1024, lengths=lengths)
    batch = replace(packed, lengths=())
    assert operations_of(PACKED, BOUNDS, packed) == operations_of(CAUSAL, BOUNDS, batch)
    assert packed.total_queries == batch.total_queries == 4096


def test_a_turn_takes_as_long_as_of_the_same_attention_unpacked(
    module: Subject, blackwell: Timed
) -> None:
    found = timed(module, (4096, 4096), (4096, 4096))
    assert found.simulation.cycles_per_turn == pytest.approx(
        blackwell.simulation.cycles_per_turn, rel=0.02
    )
    assert max(role.turns for role in found.simulation.roles) == 14
    # Slots behind the tiles of a sequence: one less than there are sequences, for each head.
    assert found.whole.launch.tiles == (2 * 16 + 1) * 16
    assert found.whole.launch.cycles == pytest.approx(blackwell.whole.launch.cycles, rel=0.1)


def test_short_sequences_take_less_than_long_ones_and_are_less_efficient(module: Subject) -> None:
    long = timed(module, *((8192, 8192),) * 4).whole
    mixed = timed(module, (8192, 8192), (2048, 2048), (700, 700), (300, 4000)).whole
    assert mixed.launch.cycles < long.launch.cycles / 2
    assert mixed.speeds[0].tflops < long.speeds[0].tflops


def test_few_queries_run_the_kernel_that_is_launched_for_them(module: Subject) -> None:
    decode = timed(module, *((1, 4096),) * 64)
    assert decode.subject.artefact is module.artefact.short
    assert decode.simulation.tile_q == 128
    assert timed(module, *((200, 4096),) * 64).simulation.tile_q == 256


def test_no_turn_is_below_what_its_products_need(module: Subject) -> None:
    recorded = record_module(module)
    found = recorded.run()
    fast = replace(module.hardware, mma_flops=module.hardware.mma_flops // 16)
    slow = replace(recorded, subject=replace(module, hardware=fast))
    with pytest.raises(BelowFloorError, match="a turn is modelled to take"):
        summarise(slow, found.timeline, found.fill_drain)


def test_no_launch_is_below_what_its_products_need(module: Subject) -> None:
    found = record_module(module).run()
    shape = shape_of(PACKED, 8192)
    step = steps_of(module)
    whole(module, found, shape, step)
    with pytest.raises(BelowFloorError, match="the launch is modelled to take"):
        whole(module, replace(found, cycles_per_turn=found.cycles_per_turn / 10), shape, step)


def test_a_floor_lets_pass_what_measured_intervals_round() -> None:
    check_floor("a turn", 996.0, 1000.0)
    with pytest.raises(BelowFloorError, match=r"652 cycles.*2,048"):
        check_floor("a turn", 652.0, 2048.0)


def test_portable_slots_are_those_of_a_launch(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    variant = attention(
        name="packed", heads=4, kv_heads=2, lengths=Lengths.PACKED, mask="k <= q_end"
    )
    found = time_module(
        subject(variant, "rtx5090", tmp_path_factory.mktemp("portable")),
        shape_of(variant, 0, None, ((4096, 4096), (512, 512), (100, 700))),
    )
    rows = found.simulation.tile_q
    assert max(role.turns for role in found.simulation.roles) == 14
    assert found.whole.launch.tiles == (4708 // rows + 3) * 4
