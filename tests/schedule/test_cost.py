"""The cost model: the directions in which it must move."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.ir.library import target
from flash4gen.schedule.cost import cost, resident_blocks
from flash4gen.schedule.model import Load, TileOrder
from flash4gen.schedule.search import estimate
from flash4gen.schedule.space import Shape
from flash4gen.schedule.workload import workload
from tests.schedule.variants import CAUSAL, FULL, SOFTCAP, WINDOW, variant

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.cost import Cost

B200 = target("b200")
A100 = target("a100")
TILE = Shape(128, 64, 8, 3, Load.POINTER)


def costs(
    shape: Shape = TILE, mask: str = CAUSAL, score: str = "s", hardware: Hardware = A100
) -> Cost:
    work = workload(variant(mask=mask, score=score))
    return cost(estimate(work, hardware, shape, TileOrder.LONGEST_FIRST), work, hardware)


def test_a_causal_mask_costs_a_little_more_than_half_of_none() -> None:
    assert 0.5 < costs(mask=CAUSAL).cycles / costs(mask=FULL).cycles < 0.6


def test_a_window_costs_less_than_the_causal_mask_it_narrows() -> None:
    assert costs(mask=WINDOW).cycles < costs(mask=CAUSAL).cycles


def test_coarser_key_tiles_visit_more_keys_at_the_diagonal() -> None:
    work = workload(variant(mask=CAUSAL))
    keys = [work.key_tiles(128, tile_k).visited * tile_k for tile_k in (16, 64, 256)]
    assert keys == sorted(keys)
    assert keys[0] < keys[-1]


def test_a_score_expression_adds_exponentials_and_arithmetic() -> None:
    plain, capped = (dict(costs(score=score).units) for score in ("s", SOFTCAP))
    assert capped["exponentials"] > plain["exponentials"]
    assert capped["arithmetic"] > plain["arithmetic"]
    assert capped["tensor cores"] == plain["tensor cores"]


def test_deeper_pipelines_hide_the_load_latency() -> None:
    chains = [costs(TILE._replace(stages=stages)).chain for stages in (1, 2, 3)]
    assert chains == sorted(chains, reverse=True)
    assert chains[0] > chains[-1]


def test_tensor_memory_runs_64_rows_at_half_rate() -> None:
    one, two = (
        dict(costs(Shape(tile_q, 128, 4, 2, Load.TMA), hardware=B200).units)["tensor cores"]
        for tile_q in (64, 128)
    )
    assert one == two


def test_residence_is_bound_by_the_scarcest_memory() -> None:
    work = workload(variant())
    schedule = estimate(work, B200, Shape(128, 64, 8, 2, Load.TMA), TileOrder.LONGEST_FIRST)
    roomy = replace(schedule, registers=64, smem_bytes=10_000)
    assert resident_blocks(roomy, B200) == 512 // roomy.tmem_columns
    assert resident_blocks(replace(roomy, smem_bytes=200_000), B200) == 1
    assert resident_blocks(replace(roomy, registers=255, tmem_columns=32), B200) == 1


def test_faster_exponentials_never_cost_more() -> None:
    fast = replace(B200, exp2_rate=32)
    assert costs(hardware=fast).cycles <= costs(hardware=B200).cycles


@pytest.mark.parametrize("mask", [FULL, CAUSAL, WINDOW])
def test_modelled_cycles_are_no_less_than_the_tensor_cores_alone_need(mask: str) -> None:
    work = workload(variant(mask=mask))
    visited = work.key_tiles(TILE.tile_q, TILE.tile_k).visited
    flops = 4 * TILE.tile_q * TILE.tile_k * 128 * visited
    assert costs(mask=mask).cycles >= flops / A100.mma_flops
