"""Named clocks: the highest is the hardware item's, others come from measurements under load."""

from __future__ import annotations

from flash4gen.clock.frequency import BURST, NOMINAL, clocks, nominal
from flash4gen.ir.library import target, targets


def test_no_clock_is_higher_than_the_highest() -> None:
    for hardware in targets():
        burst, *others = clocks(hardware)
        assert (burst.name, burst.mhz) == (BURST, hardware.clock_mhz)
        assert all(clock.mhz <= burst.mhz for clock in others)


def test_targets_are_compared_at_their_nominal_clock_where_one_is_known() -> None:
    assert nominal(target("b200")).name == NOMINAL
    # 2.25 PFLOPS of bf16, as the vendor counts.
    b200 = target("b200")
    flops = nominal(b200).mhz * 1e6 * b200.sms * b200.mma_flops
    assert abs(flops / 2.25e15 - 1) < 0.01
    assert nominal(target("h100")).name == BURST
