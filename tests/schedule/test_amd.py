"""Schedules for AMD: what decides there, and what is said about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.ir import library
from flash4gen.schedule.choose import choose
from flash4gen.schedule.constraints import first_violation
from flash4gen.schedule.explain import explain
from flash4gen.schedule.memory import shared_memory
from flash4gen.schedule.model import Choice, Load, TileOrder, as_portable
from flash4gen.schedule.pins import PINS_DO_NOT_FIT
from flash4gen.schedule.registers import thread_limit
from flash4gen.schedule.search import estimate
from flash4gen.schedule.space import Shape
from flash4gen.schedule.units import Unit, matrix_unit, warp_grid
from flash4gen.schedule.verify import verify
from flash4gen.schedule.workload import workload
from tests.schedule.variants import CAUSAL, chosen, pinned, variant

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware

MI300X, MI355X = library.target("mi300x"), library.target("mi355x")


def buffers(shape: Shape) -> tuple[dict[str, int], dict[str, int]]:
    """Return the plans of both GPUs at head_dim 128."""
    first, second = (dict(shared_memory(gpu, shape, 128, 128)) for gpu in (MI300X, MI355X))
    return first, second


def test_slots_are_filled_late_unless_copies_pass_no_register() -> None:
    late, ahead = buffers(Shape(128, 64, 4, 2, Load.POINTER))
    assert late == {"k, 1 slots": 16_384, "v, 1 slots": 16_384}
    assert ahead == {"k, 2 slots": 32_768, "v, 2 slots": 32_768, "padding": 1024}


def test_without_a_pipeline_values_take_the_place_of_keys() -> None:
    for plan in buffers(Shape(128, 64, 4, 1, Load.POINTER)):
        assert plan == {
            "q, beyond the rings it leaves its place to": 16_384,
            "k, then v": 16_384,
        }


@pytest.mark.parametrize(
    ("tiles", "width", "used"),
    [
        ((128, 64, 8, 2), 128, 33_008),
        ((64, 32, 4, 3), 128, 24_752),
        ((128, 128, 8, 2), 64, 49_392),
        ((128, 128, 8, 1), 64, 16_384),
        ((64, 128, 4, 1), 64, 8_192),
        ((64, 64, 4, 1), 128, 8_192),
    ],
)
def test_8_bit_plans_hold_what_compiles_used(
    tiles: tuple[int, int, int, int], width: int, used: int
) -> None:
    """The plan counts a pad after the last 1024 bytes, too, and nothing else that is not there."""
    plan = shared_memory(MI355X, Shape(*tiles, Load.POINTER), width, width, element=1)
    planned = sum(buffer.bytes for buffer in plan)
    assert used <= planned <= used + 16 * tiles[3]


def test_every_warp_has_sixteen_rows_of_its_own() -> None:
    for tile_q, warps, idle in ((64, 4, False), (128, 8, False), (32, 4, True), (64, 8, True)):
        assert matrix_unit(MI300X, tile_q, warps) is Unit.MFMA
        assert warp_grid(Unit.MFMA, tile_q, 128, warps) == (warps, 1)
        shape = Shape(tile_q, 32, warps, 2, Load.POINTER)
        schedule = estimate(workload(variant()), MI300X, shape, TileOrder.LONGEST_FIRST)
        broken = first_violation(schedule, MI300X)
        assert (broken is not None and broken.constraint == "matrix_shape") == idle


@pytest.mark.parametrize(("warps", "limit"), [(4, 512), (8, 256)])
def test_eight_warps_share_the_registers_of_four(warps: int, limit: int) -> None:
    assert thread_limit(MI355X, warps) == limit


@pytest.mark.parametrize("gpu", [MI300X, MI355X], ids=lambda gpu: gpu.name)
@pytest.mark.parametrize("head_dim", [16, 64, 96, 128, 192, 256])
def test_there_is_a_schedule_for_every_width(gpu: Hardware, head_dim: int) -> None:
    choice = chosen(variant(head_dim), gpu)
    schedule = as_portable(choice.schedule)
    assert verify(schedule, gpu) == ()
    assert schedule.load is Load.POINTER
    assert schedule.stages <= 3
    assert schedule.smem_bytes <= gpu.smem_per_block


def test_four_stages_are_refused_for_what_cannot_be_proven() -> None:
    refused = choose(pinned(stages=4), MI300X)
    assert not isinstance(refused, Choice)
    (problem,) = refused
    assert problem.code == PINS_DO_NOT_FIT
    assert "the virtual GPU cannot prove that" in problem.notes[0]
    assert "stages = 3" in problem.helps[0]


def test_the_explanation_names_the_architecture() -> None:
    what = variant(128, mask=CAUSAL)
    text = explain(chosen(what, MI355X), what, MI355X)
    assert "as compiled for gfx950" in text
    assert "loads by pointer only" in text
    assert "modelled cycles" in text
