"""The constants: every target has all of them, with sources, and unknown targets are refused."""

from __future__ import annotations

import csv
from dataclasses import replace

import pytest

from flash4gen.clock.machine import DATA, NoConstantsError, known_archs, machine_for
from flash4gen.clock.program import Mma, Operand
from flash4gen.ir.library import target, targets

KNOWN = [one for one in targets() if one.arch in known_archs()]


def test_most_shipped_targets_are_known() -> None:
    assert {one.name for one in KNOWN} >= {"a100", "h100", "b200", "b300", "rtx5090"}


@pytest.mark.parametrize("hardware", KNOWN, ids=lambda one: one.name)
def test_every_known_target_has_all_constants(hardware) -> None:  # type: ignore[no-untyped-def]
    with (DATA / "constants.csv").open(encoding="utf-8", newline="") as file:
        names = {row["name"] for row in csv.DictReader(file)}
    machine = machine_for(hardware)
    missing = names - set(machine.values)
    assert missing <= TMEM_ONLY if hardware.tmem_columns == 0 else not missing


TMEM_ONLY = {
    "tmem_load_rate",
    "tmem_load_latency",
    "tmem_store_rate",
    "tmem_store_latency",
}


@pytest.mark.parametrize("arch", known_archs())
def test_every_value_lies_in_the_range_of_its_sources(arch: int) -> None:
    hardware = next(one for one in targets() if one.arch == arch)
    for constant in machine_for(hardware).constants:
        assert constant.low <= constant.value <= constant.high, constant
        assert len(constant.source) > 10


def test_a_target_without_constants_says_so() -> None:
    with pytest.raises(NoConstantsError, match=r"no constants for sm_89.*sm_80, sm_90, sm_100"):
        machine_for(replace(target("a100"), arch=89))


def test_rates_follow_the_hardware_item() -> None:
    slow = machine_for(replace(target("b200"), exp2_rate=4, sms=74))
    assert slow.mufu_interval == 32
    assert slow.l2_rate == pytest.approx(2 * machine_for(target("b200")).l2_rate)


def test_widths_between_the_measured_ones_are_interpolated() -> None:
    machine = machine_for(target("b200"))
    assert machine.interval(Mma(m=128, n=192, count=1)) == pytest.approx(96.6, abs=0.1)
    assert machine.interval(Mma(m=128, n=32, count=1)) == pytest.approx(40.5, abs=0.1)
    with pytest.raises(ValueError, match=r"no tcgen05.mma with M = 96"):
        machine.interval(Mma(m=96, n=128, count=1))


def test_completion_is_the_measured_latency_less_the_interval() -> None:
    machine = machine_for(target("b200"))
    assert machine.completion(Mma(m=128, n=128, count=1)) == pytest.approx(200 - 64.62)
    tmem = Mma(m=128, n=128, count=1, a_from=Operand.TMEM)
    assert machine.completion(tmem) == pytest.approx(168 - 64.49)


def test_other_constants_can_be_tried() -> None:
    machine = machine_for(target("b200"))
    assert machine.replaced(mbarrier_latency=71).get("mbarrier_latency") == 71
    with pytest.raises(KeyError):
        machine.replaced(no_such_thing=1)
