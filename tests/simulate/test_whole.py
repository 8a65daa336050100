"""From a turn to a launch: work tiles, memory, and TFLOPS, some of them counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.schedule.workload import workload
from flash4gen.simulate.timed import shape_of
from flash4gen.simulate.whole import operations_of, rows_of, steps_of, whole
from tests.ir.notation import attention
from tests.simulate.conftest import CAUSAL, SHAPE

if TYPE_CHECKING:
    from flash4gen.simulate.timed import Timed


@pytest.mark.parametrize(
    ("mask", "share"),
    [("true", 1.0), ("k <= q_end", 0.5), ("k <= q_end and q_end - k < 1024", 0.21875)],
)
def test_operations_are_those_of_visible_pairs(mask: str, share: float) -> None:
    what = attention(heads=16, kv_heads=8, head_dim=64, value_dim=128, mask=mask)
    pairs = SHAPE.batch * SHAPE.heads * SHAPE.queries * SHAPE.keys
    found = operations_of(what, workload(what).key_bounds, SHAPE)
    assert found == pytest.approx(2 * pairs * share * (64 + 128), rel=0.002)


def test_a_launch_without_batch_fills_the_gpu() -> None:
    assert shape_of(CAUSAL, 1024).batch == 4
    assert shape_of(replace(CAUSAL, heads=128), 1024).batch == 1
    assert shape_of(CAUSAL, 1024, 3).batch == 3


def test_every_query_of_every_head_has_a_work_tile(timed: Timed) -> None:
    rows = SHAPE.batch * SHAPE.heads * SHAPE.queries
    assert timed.whole.launch.tiles == rows // rows_of(timed.subject.choice.schedule)


def test_a_launch_takes_at_least_its_steps(timed: Timed) -> None:
    """All SMs together have to do all plain steps, and hardly more where all tiles are alike."""
    found, launch = timed.simulation, timed.whole.launch
    sms = timed.subject.hardware.sms
    attention = timed.subject.attention
    pairs = timed.whole.operations / 2 / (attention.head_dim + attention.value_dim)
    steps = pairs / rows_of(timed.subject.choice.schedule) / found.tile_k
    least = steps * found.cycles_per_turn / sms
    assert least <= launch.cycles <= 1.6 * least


def test_speed_follows_from_cycles_and_clock(timed: Timed) -> None:
    hardware = timed.subject.hardware
    for speed in timed.whole.speeds:
        peak = hardware.mma_flops * hardware.sms * speed.mhz * 1e6
        assert speed.seconds * speed.mhz * 1e6 == pytest.approx(timed.whole.launch.cycles)
        assert speed.tflops * 1e12 == pytest.approx(timed.whole.operations / speed.seconds)
        assert speed.share == pytest.approx(speed.tflops * 1e12 / peak)
        assert 0.05 < speed.share < 1
    assert timed.whole.speeds[0].clock == "burst"


def test_memory_takes_as_long_as_its_bytes(portable: Timed) -> None:
    """Queries, keys, values and outputs of 16 bits, 64 wide, once from memory."""
    hardware = portable.subject.hardware
    widths = 2 * portable.subject.choice.schedule.head_pad * 2
    tokens = SHAPE.batch * SHAPE.queries * (SHAPE.heads + SHAPE.kv_heads)
    seconds = portable.whole.hbm_cycles / (hardware.clock_mhz * 1e6)
    assert tokens * widths / seconds == pytest.approx(0.85 * hardware.hbm_bandwidth)
    assert portable.whole.l2_cycles > portable.whole.hbm_cycles


def test_masks_take_longer_and_a_longer_sequence_is_no_slower(blackwell: Timed) -> None:
    assert blackwell.whole.tile.masked >= blackwell.whole.tile.step
    longer = replace(SHAPE, batch=1, queries=16384, keys=16384)
    step = steps_of(blackwell.subject)
    found = whole(blackwell.subject, blackwell.simulation, longer, step)
    assert found.speeds[0].tflops > blackwell.whole.speeds[0].tflops


def test_no_unit_alone_is_slower_than_all_together(timed: Timed) -> None:
    assert timed.limits[0].tflops >= 0.999 * timed.turn_tflops
    assert [limit.tflops for limit in timed.limits] == sorted(it.tflops for it in timed.limits)
    tensor = next(limit for limit in timed.limits if limit.unit == "tensor")
    share = dict(timed.simulation.utilisation)["tensor"]
    assert timed.turn_tflops / tensor.tflops == pytest.approx(share)


def test_a_range_holds_its_mean(blackwell: Timed, portable: Timed) -> None:
    assert portable.spread is None
    assert blackwell.spread is not None
    for reach in (blackwell.spread.turn, blackwell.spread.cycles, *blackwell.spread.tflops):
        assert 0 < reach.low <= reach.mean <= reach.high < 1.2 * reach.low
