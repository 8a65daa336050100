"""Register splits are tried by compiling: in which order, and what then wins."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

from flash4gen.schedule.blackwell.block import evidence
from flash4gen.schedule.blackwell.model import Dispatch, TensorPlan
from flash4gen.schedule.blackwell.registers import FIELDS, Split, nearest, pool, used
from flash4gen.schedule.blackwell.resolve import planned
from flash4gen.schedule.blackwell.rules import broken
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.trials import Trial, following, split_of, to_compile, winner
from flash4gen.schedule.blackwell.tune import Timed, Tuned, nominal_shape
from tests.schedule.blackwell.cases import B200, schedule
from tests.schedule.variants import FULL, variant

if TYPE_CHECKING:
    from flash4gen.schedule.blackwell.model import BlackwellSchedule

WHAT = variant(64, mask=FULL)


def changed(item: BlackwellSchedule, **fields: Any) -> BlackwellSchedule:
    """Return a schedule with other fields, and what follows from them."""
    return planned(replace(item, **fields))


DEFAULT = changed(schedule(WHAT), early=96, emulated=24)
LATE = changed(DEFAULT, early=0)
OTHER = changed(DEFAULT, emulated=32)
MORE = changed(LATE, softmax_registers=200, correction_registers=88)


def trial(item: BlackwellSchedule = DEFAULT, cycles: float = 100.0, wanting: str = "") -> Trial:
    """Return a trial."""
    spilled = 40 if wanting else 0
    return Trial(item, spilled, spilled, wanting, inf if wanting else cycles, cycles, cycles)


def test_the_nearest_split_is_itself_and_the_correction_has_the_rest() -> None:
    own = split_of(DEFAULT)
    found = nearest(own, 2, B200, {})
    assert found[:4] == [
        own,
        Split(200, 88, 24),
        Split(208, 72, 24),
        Split(192, 96, 32),
    ]
    assert Split(184, 120, 24) in found[:6]
    assert all(used(split, 2) == pool(2, B200) for split in found)
    assert len(set(found)) == len(found) > 20


def test_pinned_registers_are_not_split_otherwise() -> None:
    own = split_of(DEFAULT)
    assert {split.other for split in nearest(own, 2, B200, {"other_registers": 24})} == {24}
    pins = dict(zip(FIELDS, own, strict=True))
    assert nearest(own, 2, B200, pins) == [own]
    ranked = [DEFAULT, LATE]
    assert to_compile(DEFAULT, ranked, traits(WHAT), B200, pins) == (DEFAULT, LATE)


def test_the_default_is_compiled_first_then_the_best_each_with_some_splits() -> None:
    found = to_compile(DEFAULT, [LATE, OTHER], traits(WHAT), B200, {})
    first = [(item.early, item.emulated, split_of(item)) for item in found[:4]]
    own, more = split_of(DEFAULT), Split(200, 88, 24)
    assert first == [(96, 24, own), (0, 24, own), (0, 24, more), (96, 32, own)]
    assert len(set(found)) == len(found)
    assert not any(broken(item, B200, traits(WHAT)) for item in found)


def test_no_register_depends_on_the_ring_or_on_the_order_of_work_tiles() -> None:
    """So that of such schedules one is compiled, the fastest."""
    slower = changed(LATE, dispatch=Dispatch.SINGLE)
    fewer = changed(LATE, stages=LATE.stages - 1)
    pins = dict(zip(FIELDS, split_of(DEFAULT), strict=True))
    found = to_compile(DEFAULT, [LATE, slower, fewer, OTHER], traits(WHAT), B200, pins)
    assert found == (DEFAULT, LATE, OTHER)


def test_where_a_split_stands_others_wait() -> None:
    waiting = [MORE, OTHER]
    assert following(waiting, [trial(LATE, wanting="spills")]) == MORE
    assert following(waiting, [trial(LATE)]) == OTHER
    assert following([MORE], [trial(LATE)]) == MORE
    assert following([], [trial(LATE)]) is None


def test_more_columns_in_software_need_more_registers() -> None:
    tried = [trial(changed(LATE, emulated=16), wanting="spills")]
    assert following([LATE], tried) is None
    assert following([LATE, MORE], tried) == MORE
    assert following([changed(LATE, emulated=8)], tried) is not None
    assert following([OTHER], tried) == OTHER  # released early


def test_what_spills_in_a_loop_loses() -> None:
    default, clean = trial(), trial(OTHER, 99.0)
    assert winner([default, trial(LATE, 50.0, "spills"), clean]) == clean
    assert winner([trial(wanting="spills"), clean]) == clean


def test_nearly_as_fast_is_as_fast() -> None:
    default = trial()
    assert winner([default, trial(OTHER, 99.7)]) == default
    assert winner([default, trial(MORE, 99.0), trial(OTHER, 98.9)]).cycles == 99.0


def test_where_everything_spills_the_default_stays() -> None:
    default = trial(wanting="spills")
    assert winner([default, trial(OTHER, 50.0, "spills")]) == default


def test_the_evidence_says_what_was_compiled_and_what_spilled() -> None:
    sketched = Timed(LATE, 90.0, 90.0, 90.0)
    found = Tuned(
        best=sketched,
        default=Timed(DEFAULT, 100.0, 100.0, 100.0),
        ranked=(sketched,),
        candidates=2,
        evaluated=2,
        shape=nominal_shape(WHAT),
        seconds=1.0,
    )
    assert found.schedule == LATE
    assert "a sketch does not know what spills" in evidence(found)[-1]
    tried = (trial(cycles=200.0), trial(LATE, 1.0, "reloads 52 registers"), trial(MORE, 180.0))
    settled = replace(found, trials=tried)
    assert settled.schedule == MORE
    result, beside, _, compiled = evidence(settled)
    assert "the compiled module takes 180 cycles" in result
    assert "1.11 times as long" in beside
    assert "softmax_registers = 200, correction_registers = 88, early = 0" in beside
    assert "early = 0 (reloads 52 registers)" in compiled


def test_plans_differ_in_what_they_hold() -> None:
    shared = changed(LATE, plan=TensorPlan.SHARED_S)
    pins = dict(zip(FIELDS, split_of(DEFAULT), strict=True))
    assert shared in to_compile(DEFAULT, [LATE, shared], traits(WHAT), B200, pins)
