"""The estimates against the measured table: never below a fact, and not far above it."""

from __future__ import annotations

import csv
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import pytest

from benchmarks.probe_facts import Point, compile_facts
from flash4gen.schedule import registers
from flash4gen.schedule.memory import SCRATCH, shared_memory, tensor_columns
from flash4gen.schedule.model import Load
from flash4gen.schedule.space import Shape
from flash4gen.schedule.units import Unit, matrix_unit
from tests.schedule.variants import TARGETS

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.memory import Buffer


class Row(NamedTuple):
    """One compiled configuration."""

    hardware: Hardware
    shape: Shape
    head_pad: int
    value_pad: int
    registers: int
    stack: int
    smem: int
    tmem: int


@cache
def rows() -> tuple[Row, ...]:
    by_arch = {item.arch: item for item in TARGETS}
    with registers.FACTS.open(newline="") as file:
        return tuple(
            Row(
                by_arch[int(row["arch"]) if row["arch"].isdigit() else row["arch"]],
                Shape(
                    int(row["tile_q"]),
                    int(row["tile_k"]),
                    int(row["warps"]),
                    int(row["stages"]),
                    Load(row["load"]),
                ),
                int(row["head_pad"]),
                int(row["value_pad"]),
                int(row["registers"]),
                int(row["stack"]),
                int(row["smem"]),
                int(row["tmem"]),
            )
            for row in csv.DictReader(file)
        )


def test_every_target_and_every_load_of_it_was_swept() -> None:
    swept = {(row.hardware.name, row.shape.load) for row in rows()}
    assert swept == {
        *((name, Load.POINTER) for name in ("a100", "mi300x", "mi355x")),
        *((name, load) for name in ("h100", "b200", "rtx5090") for load in Load),
    }


def came_later(row: Row, plan: tuple[Buffer, ...]) -> int:
    """Return what a kernel needs since these rows were compiled.

    With wgmma q then went into registers, and left its place to the rings. It stays where the copy
    engine puts it since TMA boxes have heads before rows.
    """
    unit = matrix_unit(row.hardware, row.shape.tile_q, row.shape.warps)
    if unit is not Unit.WGMMA or row.shape.load is not Load.TMA:
        return 0
    query = row.shape.tile_q * row.head_pad * 2
    rings = sum(buffer.bytes for buffer in plan if buffer.name[0] in "kv")
    return min(query, rings) + SCRATCH


def test_the_shared_memory_plan_is_never_short_and_wastes_little() -> None:
    for row in rows():
        plan = shared_memory(row.hardware, row.shape, row.head_pad, row.value_pad)
        slack = sum(buffer.bytes for buffer in plan) - row.smem - came_later(row, plan)
        assert slack >= 0, row
        # A single stage is planned with one slot each; ptxas overlays the two.
        assert row.shape.stages == 1 or slack <= 1200 + row.smem // 20, row


def test_tensor_memory_is_planned_to_the_column() -> None:
    for row in rows():
        assert tensor_columns(row.hardware, row.shape, row.value_pad) == row.tmem, row


def test_the_register_model_rejects_whatever_spilled_for_want_of_registers() -> None:
    """Below the limit ptxas spills a few words to fit one more block: no model sees that."""
    for row in rows():
        limit = registers.thread_limit(row.hardware, row.shape.warps)
        model = registers.modelled(row.hardware, row.shape, row.head_pad, row.value_pad)
        if row.stack and row.registers >= limit:
            assert model.registers + model.margin > limit, row


def test_the_register_model_alone_would_still_find_schedules() -> None:
    """A margin so wide that nothing passes would be safe, and of no use."""
    passed = {
        (row.hardware.name, row.head_pad)
        for row in rows()
        if (model := registers.modelled(row.hardware, row.shape, row.head_pad, row.value_pad))
        and not row.stack
        and model.registers + model.margin <= registers.thread_limit(row.hardware, row.shape.warps)
    }
    swept = {row.hardware.name for row in rows()}
    assert {(name, pad) for name in swept for pad in (64, 128)} <= passed


@pytest.mark.slow
@pytest.mark.parametrize(("swept", "other"), [(80, 89), (100, 103), (100, 107)])
def test_what_stands_for_a_target_is_like_it(swept: int, other: int) -> None:
    load = Load.POINTER if swept == 80 else Load.TMA
    config = registers.Config(swept, load, 128, 128, 128, 32, 8, 2)
    known = registers.facts()[config]["identity", "window"]
    sizes = config[2:]
    found = compile_facts(Point(other, str(load), *sizes, "identity", "window", "bf16"))
    assert found.stack == known.stack == 0
    assert known.registers - 32 <= found.registers <= known.registers + 2
