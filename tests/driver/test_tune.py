"""The search that ends with modules: what spills in a loop is seen, and other registers cure it."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_spec, plan_spec
from flash4gen.driver.tune import _in_order, try_schedule, tune_plan
from flash4gen.ir.library import spec_path
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.blackwell.resolve import planned
from flash4gen.schedule.blackwell.trials import Trial
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


def test_no_trial_begins_that_would_end_too_late(plan: Plan) -> None:
    """What takes longer than is left is not begun; what ends at once, all is."""
    default = plan.choice.schedule
    assert isinstance(default, BlackwellSchedule)
    wanted = [replace(default, emulated=columns) for columns in (24, 16, 8, 0)]
    begun = []

    def submit(schedule: BlackwellSchedule) -> Future[Trial]:
        begun.append(schedule)
        future: Future[Trial] = Future()
        future.set_result(Trial(schedule, 0, 0, "", 1.0, 1.0, 1.0))
        return future

    assert list(_in_order(submit, wanted, first=10.0, end=monotonic() + 5.0)) == []
    assert begun == []
    found = list(_in_order(submit, wanted, first=1.0, end=monotonic() + 5.0))
    assert [trial.schedule for trial in found] == begun == wanted


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
