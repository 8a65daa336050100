"""The short search of a compile that is asked to: a dozen on the clock, the same every time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.ir import library
from flash4gen.schedule.blackwell import remembered
from flash4gen.schedule.blackwell.dozen import COUNT, Dozen, dozen, report
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.blackwell.rules import broken
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.winners import LEAST_GAIN
from flash4gen.schedule.choose import choose, ran_on_clock, search_on_clock
from flash4gen.schedule.model import Choice
from tests.ir.notation import attention
from tests.schedule.blackwell.cases import B200
from tests.schedule.variants import pinning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NARROW = attention(
    name="narrow",
    heads=4,
    kv_heads=2,
    head_dim=32,
    value_dim=32,
    score="s + slopes[h] * float(k - q)",
)
"""A score that `winners.csv` knows nothing of."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def by_rules() -> Choice:
    found = choose(NARROW, B200)
    assert isinstance(found, Choice)
    return found


@pytest.fixture(scope="module")
def found(cache: Path) -> Dozen:
    assert cache.is_dir()
    ran = ran_on_clock(NARROW, B200)
    assert ran is not None
    return ran


@pytest.fixture(scope="module")
def searched(by_rules: Choice, found: Dozen) -> Choice:
    assert found.winner is not None
    return search_on_clock(by_rules, NARROW, B200)


def test_a_dozen_of_many_runs_and_all_keep_the_rules(found: Dozen) -> None:
    assert len(found.runs) == COUNT < found.candidates
    assert all(not broken(item, B200, traits(NARROW)) for item, _ in found.runs)
    cycles = [its.cycles for _, its in found.runs]
    assert cycles == sorted(cycles)


def test_the_choice_is_one_that_ran_and_faster(found: Dozen, searched: Choice) -> None:
    ran = {item: its.cycles for item, its in found.runs}
    default, at_rest = found.default
    assert isinstance(searched.schedule, BlackwellSchedule)
    assert ran[searched.schedule] * LEAST_GAIN <= at_rest.cycles
    assert searched.schedule != default
    # What the model ranks less well is left as the rules have it.
    assert searched.schedule.emulated == default.emulated
    assert searched.schedule.ctas == default.ctas


def test_reasons_and_log_say_where_it_comes_from(found: Dozen, searched: Choice) -> None:
    assert searched.searched is not None
    for one in searched.decisions:
        by_clock = one.field in dict(searched.searched.pins)
        assert one.reason.startswith("found on the clock") is by_clock
        assert not one.pinned
    assert any(item.reason == "what the rules make" for item in searched.ranked)
    text = report(found)
    assert f"12 of {found.candidates} candidates" in text
    assert f"taken: {searched.searched.gain:.2f} times as fast" in text


def test_it_is_remembered_by_content(
    found: Dozen, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(list((cache / "flash4gen" / "clock").glob("*.json"))) == COUNT + 1
    monkeypatch.setattr(remembered, "steady", lambda *_: pytest.fail("computed again"))
    assert ran_on_clock(NARROW, B200) == found


def test_without_being_asked_nothing_runs(
    by_rules: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "steady", lambda *_: pytest.fail("the clock ran"))
    assert choose(replace(NARROW, name="other"), B200) == by_rules
    assert by_rules.searched is None


def test_pins_stay_and_a_spill_is_cured_as_ever(searched: Choice) -> None:
    pinned = pinning(NARROW, early=96, staging=2)
    ran = ran_on_clock(pinned, B200)
    assert ran is not None
    assert {(item.early, item.staging) for item, _ in ran.runs} == {(96, 2)}
    schedule = searched.schedule
    again = choose(NARROW, B200, ((schedule, "spills 100 bytes per thread"),), searched.searched)
    assert isinstance(again, Choice)
    assert isinstance(again.schedule, BlackwellSchedule)
    assert isinstance(schedule, BlackwellSchedule)
    assert again.schedule.plan is schedule.plan
    assert again.schedule.softmax_registers != schedule.softmax_registers


def test_a_portable_choice_stays_as_it_is() -> None:
    target = library.target("rtx5090")
    choice = choose(NARROW, target)
    assert isinstance(choice, Choice)
    assert ran_on_clock(NARROW, target) is None
    assert search_on_clock(choice, NARROW, target) is choice


def test_where_nothing_is_faster_the_rules_stand(by_rules: Choice) -> None:
    everything = pinning(NARROW, plan="p_in_s", early=96, staging=1, stages=4, row_max="reduce")
    choice = choose(everything, B200)
    assert isinstance(choice, Choice)
    assert isinstance(choice.schedule, BlackwellSchedule)
    found = dozen(everything, B200, {"plan": choice.schedule.plan, **_all(choice)}, choice.schedule)
    assert found.runs == ()
    assert found.winner is None
    assert "the rules stand" in report(found)
    assert search_on_clock(choice, everything, B200) is choice


def _all(choice: Choice) -> dict[str, object]:
    names = ("early", "staging", "stages", "row_max")
    return {name: getattr(choice.schedule, name) for name in names}
