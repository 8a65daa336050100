"""The longer search: its space keeps the rules, its first rank is worth something."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_spec
from flash4gen.ir.library import spec_path
from flash4gen.schedule.blackwell.block import block, pins
from flash4gen.schedule.blackwell.cost import estimate
from flash4gen.schedule.blackwell.model import BlackwellSchedule, Dispatch, RowMax, TensorPlan
from flash4gen.schedule.blackwell.pace import STILL, kernel, steady
from flash4gen.schedule.blackwell.resolve import resolve
from flash4gen.schedule.blackwell.rules import broken
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.tune import FINALISTS, Tuned, candidates, orders, tune
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice, TileOrder
from tests.schedule.blackwell.cases import B200, B300, schedule
from tests.schedule.variants import CAUSAL, FULL, pinning, variant

if TYPE_CHECKING:
    from pathlib import Path


def test_candidates_keep_the_rules_and_the_pins() -> None:
    what = variant(64, mask=FULL)
    found = candidates(what, B200, {"plan": TensorPlan.DISJOINT})
    assert len(found) > 20
    assert len(set(found)) == len(found)
    for item in found:
        assert item.plan is TensorPlan.DISJOINT
        assert not broken(item, B200, traits(what))
        assert all(not broken(other, B200, traits(what)) for other in orders(item, what, B200, {}))


def test_every_choice_that_a_schedule_is_made_of_is_varied() -> None:
    """Registers come later, by compiling (``test_trials``); a tile has 128 rows, and 128 keys."""
    what = variant(mask=FULL)
    varied = ("plan", "query_tiles", "ctas", "stages", "early", "row_max", "staging")
    found = candidates(what, B300, {"emulated": 0})
    few = {"plan": TensorPlan.SHARED_S, "staging": 2, "early": 0, "row_max": RowMax.LOAD}
    shares = candidates(what, B300, few)
    ways = list(orders(found[0], what, B300, {}))
    assert {name for name in varied if len({getattr(it, name) for it in found}) > 1} == set(varied)
    assert len({item.emulated for item in shares}) > 5
    assert {item.dispatch for item in ways} == set(Dispatch)
    assert {item.order for item in ways} == set(TileOrder)


def test_formula_and_clock_agree_on_who_is_fast() -> None:
    """By rank: of any two candidates, the formula has the clock's winner ahead nearly always."""
    what = variant(mask=FULL)
    picked = [
        resolve(traits(what), B200, {"plan": plan, "emulated": emulated})
        for plan in (TensorPlan.P_IN_S, TensorPlan.SHARED_S, TensorPlan.DOUBLE_S)
        for emulated in (0, 16, 32)
    ]
    kernels = [kernel(item, what, B200) for item in picked]
    clock = [steady(it, STILL)[0] * 2 / it.schedule.query_tiles for it in kernels]
    formula = [estimate(it) for it in kernels]
    agree = [
        (clock[a] < clock[b]) == (formula[a] < formula[b])
        for a in range(len(picked))
        for b in range(a)
    ]
    assert fmean(agree) > 0.9


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    what = variant(mask=CAUSAL)
    return tune(what, B200, {"early": 96, "ctas": 1}, schedule(what), seconds=4)


def test_the_winner_is_no_slower_than_the_default(tuned: Tuned) -> None:
    assert tuned.evaluated >= FINALISTS
    assert tuned.candidates > 50
    assert tuned.best.cycles <= tuned.default.cycles
    assert tuned.best.low <= tuned.best.cycles <= tuned.best.high
    assert tuned.ranked == tuple(sorted(tuned.ranked, key=lambda item: round(item.cycles)))


def test_the_block_pins_exactly_the_winner(tuned: Tuned, tmp_path: Path) -> None:
    text = block(tuned, variant(mask=CAUSAL))
    assert "modelled, not measured" in text
    assert max(map(len, text.splitlines())) <= 100
    assert parsed(text, tmp_path) == tuned.best.schedule


def test_pins_of_the_backward_pass_stay(tuned: Tuned) -> None:
    pair = pinning(variant(mask=CAUSAL), gradient_ctas=2, family="blackwell")
    text = block(tuned, pair)
    assert text.count("gradient_ctas = 2") == 1
    assert text.count("family = blackwell") == 1


def test_every_free_field_is_pinned() -> None:
    assert {"plan", "stages", "dispatch", "softmax_registers"} <= set(pins(schedule()))


def parsed(text: str, folder: Path) -> BlackwellSchedule:
    """Return the schedule that a spec with a block gets."""
    spec = spec_path("llama3_8b").read_text(encoding="utf-8").rstrip()
    assert spec.endswith("}")
    file = folder / "pinned.attn"
    file.write_text(f"{spec[:-1]}{text}}}\n", encoding="utf-8")
    (attention,) = check_spec(file).attentions
    found = choose(attention, B200)
    assert isinstance(found, Choice), found
    assert isinstance(found.schedule, BlackwellSchedule)
    return found.schedule
