"""Heads wider than 256: the register model knows none, so that the leanest schedule goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.ir import library
from flash4gen.schedule.model import Load, Schedule
from flash4gen.schedule.verify import verify
from tests.schedule.variants import chosen, portable, variant

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware


@pytest.mark.parametrize("hardware", library.targets(), ids=lambda item: item.name)
@pytest.mark.parametrize("head_dim", [264, 384, 512])
def test_every_target_has_a_schedule(hardware: Hardware, head_dim: int) -> None:
    choice = chosen(variant(head_dim), hardware)
    schedule = choice.schedule
    assert isinstance(schedule, Schedule)
    assert verify(schedule, hardware) == ()
    assert (schedule.head_pad, schedule.load) == (512, Load.POINTER)


def test_the_values_may_be_the_narrower_ones() -> None:
    schedule = chosen(variant(512, 128), library.target("h100")).schedule
    assert (schedule.head_pad, schedule.value_pad) == (512, 128)


def test_the_blackwell_family_names_the_widths_it_takes() -> None:
    (decision, *_) = chosen(variant(512), library.target("b200")).decisions
    assert "widths up to 128, 192 with 128, and 256 with 256" in decision.reason


def test_what_the_build_excludes_is_left_out_and_the_next_is_no_leaner() -> None:
    hardware = library.target("b200")
    first = chosen(variant(512), hardware)
    second = chosen(variant(512), hardware, ((first.schedule, "spills 8 bytes per thread"),))
    assert second.schedule == first.ranked[1].schedule
    assert second.schedule.registers >= first.schedule.registers  # type: ignore[union-attr]


def test_narrower_heads_are_ranked_by_cycles_as_ever() -> None:
    ranked = portable(variant(256), library.target("b200")).ranked
    cycles = [item.cycles for item in ranked]
    assert cycles == sorted(cycles)  # type: ignore[type-var]
