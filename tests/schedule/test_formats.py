"""Schedules of 8-bit elements: which targets have them, and what half the bytes change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flash4gen.ir import library
from flash4gen.ir.expr import ALWAYS
from flash4gen.ir.hardware import Feature, Hardware
from flash4gen.ir.nodes import Attention, DType, Scales, Weights, descales
from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.choose import choose
from flash4gen.schedule.memory import BARRIERS, SCRATCH
from flash4gen.schedule.model import Choice, Schedule
from flash4gen.schedule.units import Unit, matrix_unit
from flash4gen.schedule.verify import schedule_text, verify
from tests.ir.notation import attention
from tests.schedule.variants import pinning, portable, said

TARGETS = library.targets()
ABLE = [item for item in TARGETS if item.has(Feature.FP8)]


def eight(head_dim: int = 128) -> Attention:
    return attention(
        dtype=DType.FP8_E4M3,
        out_dtype=DType.BF16,
        scales=Scales.PER_KV_HEAD,
        inputs=descales(Scales.PER_KV_HEAD),
        mask="k <= q_end",
        head_dim=head_dim,
        value_dim=head_dim,
        heads=16,
    )


@pytest.mark.parametrize(
    "hardware", [t for t in TARGETS if not t.has(Feature.FP8)], ids=lambda item: item.name
)
def test_targets_without_8_bit_products_refuse(hardware: Hardware) -> None:
    found = choose(eight(), hardware)
    assert not isinstance(found, Choice)
    (refusal,) = found
    assert refusal.code == "F4G508"
    assert any("dtype = bf16" in text for text in refusal.helps)


@pytest.mark.parametrize("hardware", ABLE, ids=lambda item: item.name)
@pytest.mark.parametrize("head_dim", [16, 96, 128, 256])
def test_schedules_fit(hardware: Hardware, head_dim: int) -> None:
    variant = eight(head_dim)
    choice = portable(variant, hardware)
    schedule = choice.schedule
    assert isinstance(schedule, Schedule)
    assert verify(schedule, hardware, variant) == ()
    assert schedule.element == 1
    assert min(schedule.tile_k, schedule.head_pad) >= 32


@pytest.mark.parametrize("hardware", ABLE, ids=lambda item: item.name)
def test_only_tensor_memory_sums_8_bit_products_exactly(hardware: Hardware) -> None:
    schedule = portable(eight(), hardware).schedule
    assert isinstance(schedule, Schedule)
    unit = matrix_unit(hardware, schedule.tile_q, schedule.warps)
    assert schedule.promotes == (unit is not Unit.TCGEN05)
    assert verify(replace(schedule, promotes=not schedule.promotes), hardware)


def test_half_the_bytes_take_half_the_memory() -> None:
    hardware = library.target("h100")
    wide = portable(replace(eight(), dtype=DType.BF16, out_dtype=None), hardware).ranked
    narrow = portable(eight(), hardware).ranked
    bytes_of = {shape_key(item.schedule): item.schedule.smem_bytes for item in narrow}
    both = [(item.schedule.smem_bytes, bytes_of.get(shape_key(item.schedule))) for item in wide]
    pairs = [(large, small) for large, small in both if small is not None]
    assert len(pairs) > 10
    small_change = SCRATCH + BARRIERS  # as much with elements of any size
    assert all(small - small_change <= (large - small_change) // 2 for large, small in pairs)


def shape_key(schedule: object) -> tuple[object, ...]:
    assert isinstance(schedule, Schedule)
    return schedule.tile_q, schedule.tile_k, schedule.warps, schedule.stages, schedule.load


def test_fields_that_are_set_have_a_reason() -> None:
    choice = portable(eight(), library.target("h100"))
    decided = {decision.field for decision in choice.decisions}
    assert decided == said(choice.schedule) - {"hardware"}
    assert {"element", "promotes"} <= decided


@pytest.mark.parametrize("target", ["b200", "b300"])
@pytest.mark.parametrize("head_dim", [16, 64, 96, 128])
def test_the_blackwell_family_takes_them(target: str, head_dim: int) -> None:
    choice = choose(eight(head_dim), library.target(target))
    assert isinstance(choice, Choice)
    schedule = choice.schedule
    assert isinstance(schedule, BlackwellSchedule)
    assert (schedule.element, schedule.rescale_threshold) == (1, 0)
    assert schedule.head_pad >= 32
    weights = [it for it in memory_plan(schedule).regions if it.name.startswith("p")]
    assert {it.columns for it in weights} == {32}
    half, ring = choose(plain(head_dim), library.target(target)), "ring of k and v"
    assert isinstance(half, Choice)
    assert slot(schedule, ring) * 2 == slot(half.schedule, ring) or head_dim == 16


def plain(head_dim: int) -> Attention:
    return replace(eight(head_dim), dtype=DType.BF16, out_dtype=None, scales=None, inputs=())


def slot(schedule: object, ring: str) -> int:
    assert isinstance(schedule, BlackwellSchedule)
    (size,) = (it.bytes for it in memory_plan(schedule).buffers if it.name == ring)
    return size // schedule.stages


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"weights": Weights.SIGMOID}, "its sigmoid weights have 16 bits"),
        ({"head_dim": 256, "value_dim": 256}, "no memory plan for elements of fp8_e4m3"),
    ],
)
def test_the_blackwell_family_says_why_not(changes: dict[str, Any], why: str) -> None:
    choice = choose(replace(eight(), **changes), library.target("b200"))
    assert isinstance(choice, Choice)
    assert choice.decisions[0].value == "portable"
    assert why in choice.decisions[0].reason


@pytest.mark.parametrize("pin", [{"rescale_threshold": 4}, {"ctas": 2}])
def test_pins_that_8_bits_have_no_room_for_are_refused(pin: dict[str, int]) -> None:
    found = choose(pinning(replace(eight(), mask=ALWAYS), **pin), library.target("b200"))
    assert not isinstance(found, Choice)
    assert any(next(iter(pin)) in refusal.message + "".join(refusal.helps) for refusal in found)


def test_the_text_of_16_bit_schedules_does_not_mention_them() -> None:
    hardware = library.target("h100")
    plain = attention(mask="k <= q_end")
    assert "element" not in schedule_text(portable(plain, hardware).schedule)
    assert "element = 1\n" in schedule_text(portable(eight(), hardware).schedule)
