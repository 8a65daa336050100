"""The ``schedule { }`` block: pins are obeyed, marked, and refused with the nearest that works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.diagnostics.codes import Code
from flash4gen.ir.library import target
from flash4gen.ir.nodes import Attention, Pin
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Load, TileOrder, as_portable
from flash4gen.schedule.pins import SCHEDULE_CODES
from flash4gen.source import SourceFile
from tests.ir.notation import attention
from tests.schedule.variants import chosen, pinned

if TYPE_CHECKING:
    from flash4gen.diagnostics.model import Diagnostic


def refusal(what: Attention, name: str) -> Diagnostic:
    found = choose(what, target(name))
    assert isinstance(found, tuple), found.schedule
    assert len(found) == 1
    return found[0]


def test_pinned_fields_have_their_values_and_are_marked() -> None:
    choice = chosen(pinned(128, tile_q=64, load="pointer"), target("b200"))
    schedule = as_portable(choice.schedule)
    assert (schedule.tile_q, schedule.load) == (64, Load.POINTER)
    assert {decision.field for decision in choice.decisions if decision.pinned} == {
        "tile_q",
        "load",
    }
    assert all(item.schedule.tile_q == 64 for item in choice.ranked)


def test_the_order_can_be_pinned_against_the_mask() -> None:
    choice = chosen(pinned(64, order="query_tiles_first"), target("a100"))
    assert choice.schedule.order is TileOrder.QUERY_TILES_FIRST


def test_an_unknown_pin_names_its_likely_meaning_and_all_that_can_be_pinned() -> None:
    found = refusal(pinned(tileq=64), "b200")
    assert found.code == Code.UNKNOWN_PIN
    assert found.helps[0] == "did you mean `tile_q`?"
    assert "`order`" in found.helps[1]


def test_a_computed_field_cannot_be_pinned_and_the_note_says_why() -> None:
    found = refusal(pinned(registers=128), "b200")
    assert found.code == Code.UNKNOWN_PIN
    assert found.notes == ("it follows from the other fields and the target",)


@pytest.mark.parametrize(("name", "value"), [("tile_q", 96), ("warps", 3), ("load", "tmaa")])
def test_a_value_out_of_range_lists_the_range(name: str, value: int | str) -> None:
    found = refusal(attention(pins=(Pin(name, value),)), "b200")
    assert found.code == Code.PIN_VALUE
    assert f"`{name}` cannot be `{value}`" == found.message
    assert found.helps[-1].startswith("write `")


def test_pins_that_break_a_limit_are_refused_with_the_reason_and_the_nearest_that_fits() -> None:
    found = refusal(pinned(128, tile_q=256, tile_k=256), "a100")
    assert found.code == Code.PINS_DO_NOT_FIT
    assert "tile_q = 256, tile_k = 256" in found.message
    assert "shared memory" in found.notes[0] or "registers" in found.notes[0]
    changed = found.helps[0].partition("`")[2].rstrip("`")
    name, _, value = changed.partition(" = ")
    kept = {"tile_q": 256, "tile_k": 256} | {name: int(value)}
    assert chosen(pinned(128, **kept), target("a100")).schedule.tile_q == kept["tile_q"]


def test_a_copy_engine_that_is_not_there_cannot_be_pinned() -> None:
    found = refusal(pinned(load="tma"), "a100")
    assert found.code == Code.PINS_DO_NOT_FIT
    assert "has none" in found.notes[0]
    assert "`load = pointer`" in found.helps[0]


def test_every_wrong_pin_is_reported_at_its_place() -> None:
    source = SourceFile("spec.attn", "tile_q = 96 wraps = 4")
    pins = (
        Pin("tile_q", 96, source.span(0, 11)),
        Pin("wraps", 4, source.span(12, 21)),
    )
    found = choose(attention(pins=pins), target("b200"))
    assert isinstance(found, tuple)
    assert [item.primary and str(item.primary.span) for item in found] == [
        "spec.attn:1:1",
        "spec.attn:1:13",
    ]


def test_the_codes_are_registered() -> None:
    registered = {code.value: code.meaning for code in Code}
    assert registered.items() >= SCHEDULE_CODES.items()
