"""Sketches: programs that end, with the barriers of the memory plan, at speeds that make sense."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from flash4gen.clock.engine import simulate
from flash4gen.clock.machine import machine_for
from flash4gen.clock.program import Arrive, Commit, Mma, TmaLoad, Wait
from flash4gen.schedule.blackwell import short
from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.blackwell.model import BlackwellSchedule, TensorPlan
from flash4gen.schedule.blackwell.pace import SHAKEN, Kernel, kernel, pace, steady
from flash4gen.schedule.blackwell.resolve import resolve
from flash4gen.schedule.blackwell.sketch.program import growing, sketch
from flash4gen.schedule.blackwell.traits import traits
from tests.schedule.blackwell.cases import B200, B300
from tests.schedule.variants import CAUSAL, FULL, variant

PLANS: dict[str, dict[str, Any]] = {
    "FlashAttention-4's": {"plan": TensorPlan.P_IN_S},
    "shared scores": {"plan": TensorPlan.SHARED_S},
    "one query tile": {"query_tiles": 1},
    "a pair": {"ctas": 2},
    "all weights at once": {"early": 0},
    "five slots": {"stages": 3, "staging": 1},
}


def kernel_of(head_dim: int = 128, mask: str = FULL, **pins: Any) -> Kernel:
    what = variant(head_dim, mask=mask)
    return kernel(resolve(traits(what), B200, dict(pins)), what, B200)


@pytest.mark.parametrize("pins", PLANS.values(), ids=PLANS)
def test_barriers_get_as_many_arrivals_as_they_wait_for(pins: dict[str, Any]) -> None:
    what = kernel_of(**pins)
    program = sketch(what.schedule, what.effort, ((False,) * 3, (True,) * 2))
    simulate(program, machine_for(B200))  # ends, with nobody waiting
    counts = dict(program.barriers)
    arrivals = dict.fromkeys(counts, 0.0)
    uses = dict.fromkeys(counts, 0)
    for role in program.roles:
        for step in role.steps:
            if isinstance(step, Arrive | Commit | TmaLoad):
                arrivals[step.barrier] += 1
            elif isinstance(step, Wait):
                uses[step.barrier] = max(uses[step.barrier], step.use + 1)
    for name, count in counts.items():
        assert arrivals[name] % count == 0, name
        assert arrivals[name] / count >= uses[name], name


@pytest.mark.parametrize("plan", short.PLANS)
def test_the_kernel_for_short_queries_has_a_pace_in_every_plan(plan: TensorPlan) -> None:
    """It waits for itself where two tiles wait for each other."""
    what = kernel_of(64, plan=plan)
    one = short.one_tile(what.schedule)
    assert one is not None
    alone, both = min(steady(replace(what, schedule=one))), min(steady(what))
    assert both / 2 < alone < both


@pytest.mark.parametrize("plan", [TensorPlan.P_IN_S, TensorPlan.SHARED_S, TensorPlan.DISJOINT])
def test_products_are_those_of_two_query_tiles(plan: TensorPlan) -> None:
    what = kernel_of(64, plan=plan)
    (mma,) = (
        r for r in sketch(what.schedule, what.effort, ((False,) * 5,)).roles if r.name == "mma"
    )
    products = [step for step in mma.steps if isinstance(step, Mma)]
    flops = sum(2 * step.m * step.n * 16 * step.count for step in products)
    assert flops == 5 * 2 * 2 * 128 * 128 * (64 + 64)


def test_no_step_is_faster_than_its_busiest_unit() -> None:
    products = 2 * 2 * 2 * 128 * 128 * 128 / B200.mma_flops
    tried: tuple[dict[str, Any], ...] = (
        {"plan": TensorPlan.P_IN_S},
        {"plan": TensorPlan.SHARED_S},
        {"emulated": 0},
    )
    for pins in tried:
        assert min(steady(kernel_of(**pins))) > products
    mufu = 2 * 128 * 128 / B200.exp2_rate
    assert min(steady(kernel_of(64, emulated=0))) > mufu


def test_what_flash_attention_4_does_pays() -> None:
    def cycles(**pins: Any) -> float:
        return fmean(steady(kernel_of(**pins), SHAKEN))

    plain = cycles(plan=TensorPlan.P_IN_S)
    assert cycles(plan=TensorPlan.P_IN_S, emulated=0) > 1.02 * plain
    assert cycles(plan=TensorPlan.P_IN_S, rescale_threshold=0) > 1.03 * plain
    assert cycles(plan=TensorPlan.P_IN_S, early=0) > 1.02 * plain
    assert 2 * cycles(query_tiles=1) > 1.1 * plain  # two tiles, one after the other


def test_free_scores_are_faster_at_head_dim_128_on_b200() -> None:
    """Next scores that wait for no weights: the serial loop of a tile is what limits the other."""
    fa4, shared = (
        fmean(steady(kernel_of(plan=plan), SHAKEN))
        for plan in (TensorPlan.P_IN_S, TensorPlan.SHARED_S)
    )
    assert shared < 0.95 * fa4


def test_mask_code_takes_time_and_programs_that_stay_save_some() -> None:
    found = pace(kernel_of(mask=CAUSAL))
    assert found.masked > found.step
    assert found.alone > found.further >= 0


def test_b300_has_the_exponentials() -> None:
    what = variant(64, mask=FULL)
    schedules: list[BlackwellSchedule] = [
        replace(resolve(traits(what), hardware, {}), hardware=hardware.name)
        for hardware in (B200, B300)
    ]
    b200, b300 = (
        min(steady(kernel(schedule, what, hardware)))
        for schedule, hardware in zip(schedules, (B200, B300), strict=True)
    )
    assert b300 < 0.9 * b200


def test_rescaling_becomes_rarer_where_a_threshold_is_kept() -> None:
    what = kernel_of().schedule
    never = growing(replace(what, rescale_threshold=8))
    always = growing(replace(what, rescale_threshold=0))
    assert not any(never(step) for step in range(1, 64))
    assert all(always(step) for step in range(1, 16))
    assert sum(always(step) for step in range(200, 300)) < 60


def test_barriers_are_those_of_the_memory_plan() -> None:
    what = kernel_of()
    names = {
        name.partition("[")[0]
        for name, _ in sketch(what.schedule, what.effort, ((True,),)).barriers
    }
    assert names == {barrier.name for barrier in memory_plan(what.schedule).barriers}
