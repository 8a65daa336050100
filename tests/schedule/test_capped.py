"""Softmax without a running maximum: which scores allow it, and on which targets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.ir import library
from flash4gen.ir.nodes import DType
from flash4gen.schedule.capped import is_capped, largest_exponent
from flash4gen.schedule.memory import shared_memory
from flash4gen.schedule.model import Load, as_portable
from flash4gen.schedule.space import shape_of
from flash4gen.schedule.units import ONES, SUM_PARTS, Unit, matrix_unit
from flash4gen.schedule.verify import verify
from tests.ir.notation import attention, expr
from tests.schedule.variants import SOFTCAP, portable, variant

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware

TARGETS = {item.name: item for item in library.targets()}
CAPPED = replace(variant(score=SOFTCAP), dtype=DType.BF16)


@pytest.mark.parametrize(
    ("score", "exponent"),
    [
        (SOFTCAP, 72.1),
        ("tanh(s)", 1.44),
        ("tanh(s * 3.0) * 2.0", 2.89),
        ("s", None),
        ("50.0 * tanh(s / 50.0) + slopes[h]", None),
        ("tanh(s) + s", None),
        ("tanh(s * s)", None),
        ("min(s, 9.0)", None),
    ],
)
def test_a_constant_times_tanh_has_a_largest_exponent(score: str, exponent: float | None) -> None:
    found = largest_exponent(expr(score))
    assert found == (None if exponent is None else pytest.approx(exponent, rel=0.01))


@pytest.mark.parametrize(
    ("cap", "dtype", "fits"),
    [
        (50, DType.BF16, True),
        (60, DType.BF16, False),
        (8, DType.FP16, True),
        (30, DType.FP16, False),
        (1, DType.FP8_E4M3, False),
    ],
)
def test_weights_must_fit_their_type(cap: int, dtype: DType, *, fits: bool) -> None:
    score = f"{cap}.0 * tanh(s / {cap}.0)"
    assert is_capped(attention(score=score, dtype=dtype)) is fits


def test_a_sink_has_no_cap() -> None:
    assert is_capped(CAPPED)
    assert not is_capped(replace(CAPPED, sink=expr("slopes[h]")))


def test_dropout_needs_the_sum_of_all_weights() -> None:
    assert not is_capped(replace(CAPPED, dropout=0.1))


@pytest.mark.parametrize("hardware", TARGETS.values(), ids=lambda item: item.name)
def test_units_that_sum_in_a_product_do_without_a_maximum(hardware: Hardware) -> None:
    schedule = as_portable(portable(CAPPED, hardware).schedule)
    unit = matrix_unit(hardware, schedule.tile_q, schedule.warps)
    assert schedule.capped == (unit in (Unit.WGMMA, Unit.TCGEN05))
    in_parts = unit is Unit.WGMMA and schedule.load is Load.TMA
    assert schedule.sum_parts == (SUM_PARTS if in_parts else 1)
    assert verify(schedule, hardware, CAPPED) == ()


def test_ones_have_their_place() -> None:
    hardware = TARGETS["h100"]
    schedule = as_portable(portable(CAPPED, hardware).schedule)
    plan = shared_memory(hardware, shape_of(schedule), 128, 128, ones=ONES)
    (ones,) = (buffer for buffer in plan if buffer.name == "ones")
    assert ones.bytes == schedule.tile_k * ONES * 2
    assert sum(buffer.bytes for buffer in plan) == schedule.smem_bytes


def test_a_schedule_without_a_maximum_is_wrong_for_other_scores() -> None:
    hardware = TARGETS["h100"]
    choice = portable(CAPPED, hardware)
    (found,) = verify(choice.schedule, hardware, variant())
    assert found.constraint == "capped"
    assert "overflow fp16 without a maximum" in found.reason
    (decision,) = (it for it in choice.decisions if it.field == "capped")
    assert "2^±72.1" in decision.reason
