"""Schedules that a search found beside the defaults: the file is what the clock says of them."""

from __future__ import annotations

import pytest

from benchmarks.rivals import CHANGES, search
from flash4gen.schedule.blackwell.model import Dispatch
from flash4gen.schedule.blackwell.rivals import BAR, rivals
from flash4gen.schedule.blackwell.winners import LEAST_GAIN


@pytest.mark.slow
def test_the_file_is_what_the_clock_says() -> None:
    """Run ``python -m benchmarks.rivals --write`` after a change of the clock or the sketch."""
    found = {one.change: one for one in search("b200", 128, 128, causal=True)}
    held = {
        one.change: one
        for one in rivals()
        if (one.target, one.head_dim, one.causal) == ("b200", 128, True)
    }
    assert held.keys() == found.keys()
    for change, one in held.items():
        assert one[5:] == pytest.approx(found[change][5:], abs=0.006)


def test_every_kind_of_change_was_tried() -> None:
    tried = {one.change for one in rivals()}
    assert {f"dispatch={dispatch}" for dispatch in Dispatch} <= tried
    assert len(tried) == len(CHANGES)


def test_something_stands_against_every_rival_that_is_not_the_default() -> None:
    """A rival that is ahead at every length, and that nothing contradicts, is to be the default."""
    for one in rivals():
        assert one.against(), one
        assert one.ahead == (one.least >= LEAST_GAIN) == (one.against() != BAR)


def test_effects_are_separate() -> None:
    """Under a causal mask at 128: launch control gains at short lengths, columns too little."""
    found = {
        one.change: one
        for one in rivals()
        if (one.target, one.head_dim, one.causal) == ("b200", 128, True)
    }
    control, columns = found["dispatch=clc"], found["emulated=32"]
    assert control.at_2k > control.at_8k > LEAST_GAIN > control.at_32k
    assert not columns.ahead
    assert found["dispatch=clc emulated=32"].ahead
