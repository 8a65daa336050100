"""The explanation: text for people, data for programs, and the schedule's own text form."""

from __future__ import annotations

import json
from dataclasses import replace

from flash4gen.ir.library import target
from flash4gen.schedule.explain import explain, explanation
from flash4gen.schedule.verify import schedule_text, verify
from tests.schedule.variants import SOFTCAP, WINDOW, portable, said, variant

B200 = target("b200")
GEMMA = variant(256, mask=WINDOW, score=SOFTCAP)


def test_the_text_names_the_choice_the_budgets_and_the_losers() -> None:
    choice = portable(GEMMA, B200)
    text = explain(choice, GEMMA, B200)
    for decision in choice.decisions:
        assert decision.field in text
        assert str(decision.value) in text
    for heading in ("budget of one block", "runners-up", "rejected", "modelled cycles"):
        assert heading in text
    assert max(map(len, text.splitlines())) <= 120


def test_the_data_can_be_written_as_json_and_counts_every_candidate() -> None:
    choice = portable(GEMMA, B200)
    data = json.loads(json.dumps(explanation(choice, GEMMA, B200)))
    counted = sum(entry["count"] for entry in data["rejected"].values())
    assert counted + len(choice.ranked) == data["candidates"]
    assert data["schedule"]["tile_q"] == choice.schedule.tile_q
    buffers = data["budget"]["shared_memory"]["buffers"]
    assert sum(buffers.values()) == choice.schedule.smem_bytes


def test_runners_up_differ_in_tile_or_warps() -> None:
    data = explanation(portable(GEMMA, B200), GEMMA, B200)
    tiles = [item["schedule"].rsplit(", ", 2)[0] for item in data["runners_up"]]
    assert len(set(tiles)) == len(tiles) > 1


def test_a_schedule_reads_as_one_field_a_line() -> None:
    schedule = portable(GEMMA, B200).schedule
    lines = schedule_text(schedule).splitlines()
    assert lines[0] == "family = portable"
    assert lines[1] == "hardware = b200"
    assert f"tile_q = {schedule.tile_q}" in lines
    assert len(lines) == len(said(schedule))


def test_the_verifier_adds_up_the_memory_plan() -> None:
    schedule = portable(GEMMA, B200).schedule
    short = replace(schedule, smem_bytes=schedule.smem_bytes - 1024)
    assert [item.constraint for item in verify(short, B200)] == ["smem_bytes"]


def test_the_verifier_knows_a_schedule_of_another_target() -> None:
    schedule = portable(GEMMA, B200).schedule
    broken = {item.constraint for item in verify(schedule, target("a100"))}
    assert "hardware" in broken
    assert "load" in broken
