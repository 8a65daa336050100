"""Which spills send a build on to the next schedule: all of a loop, few of a kernel with roles."""

from __future__ import annotations

import pytest

from flash4gen.build.artefact import Facts
from flash4gen.driver.build import recorded_plan, spills_matter
from flash4gen.driver.model import Plan
from flash4gen.ir.library import target
from flash4gen.schedule.model import BUILD, AnySchedule
from flash4gen.schedule.text import record_text
from tests.schedule.variants import chosen, portable, variant

B200 = target("b200")


def facts(spilled: int) -> Facts:
    """Facts of a kernel that spills so many bytes, by as many instructions in its loops."""
    return Facts(
        registers=128,
        spill_bytes=spilled,
        smem_bytes=0,
        tmem_columns=0,
        threads=512,
        tensor_instructions=(),
        instructions=0,
        spill_stores=0,
        spill_loads=spilled,
        loop_spills=spilled,
    )


@pytest.mark.parametrize(
    ("family", "spilled", "matters"),
    [
        ("portable", 0, False),
        ("portable", 4, True),
        ("blackwell", 0, False),
        ("blackwell", 12, False),
        ("blackwell", 13, True),
    ],
)
def test_a_few_reloads_in_specialised_loops_are_harmless(
    family: str, spilled: int, *, matters: bool
) -> None:
    find = portable if family == "portable" else chosen
    schedule = find(variant(), B200).schedule
    assert schedule.family == family
    assert spills_matter(schedule, facts(spilled)) == matters


def excluded(plan: Plan) -> set[AnySchedule]:
    return {item.schedule for item in plan.choice.rejected if item.constraint == BUILD}


@pytest.mark.parametrize("count", [1, 2])
def test_the_header_is_enough_to_come_to_the_same_schedule(count: int) -> None:
    what = variant()
    plan = Plan(what, B200, chosen(what, B200))
    spilled = [item.schedule for item in plan.choice.ranked[:count]]
    header = "".join(
        f"# excluded   {record_text(item)}: spills 96 bytes per thread\n" for item in spilled
    )
    again = recorded_plan(plan, header)
    assert excluded(again) == set(spilled)
    assert again.choice.schedule == plan.choice.ranked[count].schedule
