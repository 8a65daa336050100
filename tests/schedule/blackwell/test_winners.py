"""The plans that a search found fastest: the file is what the clock says, and what is chosen."""

from __future__ import annotations

import pytest

from benchmarks.plans import search
from flash4gen.schedule.blackwell.accuracy import SHARE
from flash4gen.schedule.blackwell.model import TensorPlan
from flash4gen.schedule.blackwell.pace import Jitter, kernel, steady
from flash4gen.schedule.blackwell.published import flash_attention_4
from flash4gen.schedule.blackwell.resolve import resolve
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.winners import LEAST_GAIN, winner, winners
from tests.schedule.blackwell.cases import B200, B300, reasons, schedule
from tests.schedule.variants import CAUSAL, FULL, variant


@pytest.mark.parametrize(
    ("target", "head_dim", "value_dim", "tanh"),
    [("b200", 128, 128, False), ("b300", 64, 64, False), ("b200", 192, 128, True)],
)
def test_the_file_is_what_the_clock_says(
    target: str, head_dim: int, value_dim: int, tanh: bool
) -> None:
    """Run ``python -m benchmarks.plans --write`` after a change of the clock or the sketch."""
    key, found = search(target, head_dim, value_dim, tanh=tanh)
    held = winners()[key]
    assert held.plan is found.plan
    assert held[1:] == pytest.approx(found[1:], rel=0.005)


def test_a_plan_is_chosen_for_a_gain_that_shaken_latencies_leave() -> None:
    for held in winners().values():
        assert held.low <= held.cycles <= held.high
        if held.plan is not TensorPlan.P_IN_S:
            assert held.gain > LEAST_GAIN
            assert held.high < held.p_in_s


def test_the_choice_is_the_winner_and_says_by_how_much() -> None:
    what = variant(128)
    assert schedule(what, B200).plan is TensorPlan.SHARED_S
    assert "times as fast as FlashAttention-4's plan, modelled" in reasons(what, B200)["plan"]
    assert schedule(what, B300).plan is TensorPlan.P_IN_S
    assert "modelled" not in reasons(what, B300)["plan"]
    assert schedule(variant(64), B300).plan is TensorPlan.DISJOINT


def test_a_pair_and_a_single_tile_have_plans_of_their_own() -> None:
    known = traits(variant(128, mask=FULL))
    assert resolve(known, B200, {"ctas": 2}).plan is TensorPlan.P_IN_S
    assert resolve(known, B200, {"query_tiles": 1}).plan is TensorPlan.DOUBLE_S


@pytest.mark.parametrize("mask", [FULL, CAUSAL], ids=["full", "causal"])
def test_the_default_is_no_slower_than_flash_attention_4s_schedule(mask: str) -> None:
    what = variant(128, mask=mask)
    jitter = Jitter(SHARE, (0, 1, 2))
    ours = steady(kernel(schedule(what), what, B200), jitter)
    theirs = steady(kernel(flash_attention_4(traits(what), B200), what, B200), jitter)
    assert max(ours) < 0.95 * min(theirs)


def test_widths_that_were_not_searched_keep_flash_attention_4s_plan() -> None:
    assert winner(traits(variant(256, 256)), B200) is None
