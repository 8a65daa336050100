"""The explanation of a warp-specialised choice: the whole log, with modelled cycles."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flash4gen.schedule.explain import explain, explanation
from tests.schedule.blackwell.cases import B200, B300
from tests.schedule.variants import SOFTCAP, WINDOW, chosen, variant

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention

GEMMA = variant(256, mask=WINDOW, score=SOFTCAP)


@pytest.mark.parametrize("what", [variant(), variant(192, 128), GEMMA])
@pytest.mark.parametrize("hardware", [B200, B300], ids=lambda item: item.name)
def test_the_text_names_the_choice_its_memory_its_barriers_and_the_others(
    what: Attention, hardware: Hardware
) -> None:
    choice = chosen(what, hardware)
    text = explain(choice, what, hardware)
    for decision in choice.decisions:
        assert decision.field in text
        assert str(decision.value) in text
    for said in ("registers", "shared memory", "tensor memory", "barriers", "p_ready", "rejected"):
        assert said in text
    assert "modelled cycles" in text
    assert max(map(len, text.splitlines())) <= 120


def test_every_other_schedule_is_told_by_what_it_changes_and_why_it_was_not_chosen() -> None:
    data = json.loads(json.dumps(explanation(chosen(variant(), B200), variant(), B200)))
    others = {item["schedule"]: item["reason"] for item in data["runners_up"]}
    assert all(change and reason for change, reason in others.items())
    assert "modelled cycles" in others["plan = p_in_s"]
    tensor = data["rejected"]["tensor_memory"]["nearest"]
    assert tensor == [
        {
            "schedule": "plan = disjoint",
            "reason": "needs 640 columns of tensor memory, an SM has 512",
        }
    ]
    counted = sum(entry["count"] for entry in data["rejected"].values())
    assert counted + len(others) + 1 == data["candidates"]


def test_the_data_adds_up() -> None:
    choice = chosen(GEMMA, B200)
    data = json.loads(json.dumps(explanation(choice, GEMMA, B200)))
    budget = data["budget"]
    shared = budget["shared_memory"]
    assert sum(shared["buffers"].values()) == shared["planned"] == choice.schedule.smem_bytes
    assert data["modelled"]["step_cycles"] > 0
    assert data["modelled"]["step_cycles_as_flash_attention_4"] is None  # it has another kernel
    assert sum(role["warps"] for role in budget["roles"]) == 4 + 4 + 3
    assert {barrier["name"] for barrier in budget["barriers"]} >= {"q_full", "s_full", "o_stored"}
