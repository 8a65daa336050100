"""The search that ends with modules: what spills in a loop is seen, and other registers cure it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_spec, plan_spec
from flash4gen.driver.tune import try_schedule, tune_plan
from flash4gen.ir.library import spec_path
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.blackwell.resolve import planned
from flash4gen.schedule.blackwell.tune import nominal_shape

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.driver import Plan

PINNED = "schedule { plan = disjoint  ctas = 1  early = 96  emulated = 16  staging = 2 }"


@pytest.fixture(scope="module")
def plan() -> Plan:
    (found,), problems = plan_spec(check_spec(spec_path("full")), ("b200",))
    assert not problems
    return found


def test_in_little_time_nothing_is_compiled(tmp_path: Path) -> None:
    spec = spec_path("full").read_text(encoding="utf-8").rstrip()
    file = tmp_path / "full.attn"
    file.write_text(f"{spec[:-1]}    {PINNED}\n}}\n", encoding="utf-8")
    (pinned,), problems = plan_spec(check_spec(file), ("b200",))
    assert not problems
    found = tune_plan(pinned, seconds=2)
    assert found.trials == ()
    assert found.schedule == found.best.schedule


@pytest.mark.slow
def test_registers_that_spill_in_a_loop_and_some_that_do_not(plan: Plan) -> None:
    """Without an early release 13 reloads a turn, in each loop of the softmax of both tiles."""
    default = plan.choice.schedule
    assert isinstance(default, BlackwellSchedule)
    late = planned(replace(default, early=0))
    shape = nominal_shape(plan.attention)
    spills = try_schedule(plan, shape, late)
    assert spills.loop_spills > 40
    assert "in its loops" in spills.wanting
    cured = try_schedule(plan, shape, replace(late, softmax_registers=208, correction_registers=72))
    assert not cured.wanting
    assert cured.loop_spills == 0
    as_it_is = try_schedule(plan, shape, default)
    assert cured.low < cured.cycles < as_it_is.cycles < as_it_is.high
