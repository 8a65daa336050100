"""Clocks at which cycles become a time. The name of the clock goes with every number.

In: a hardware item. Out: its named clocks, MHz. A GPU under load leaves its highest clock within
milliseconds, and boxes of one product differ by a quarter: a time is worth less than its cycles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware


class Clock(NamedTuple):
    """A named clock."""

    name: str
    mhz: float
    source: str


BURST = "burst"
NOMINAL = "nominal"
SUSTAINED = "sustained"

_KNOWN: dict[int | str, tuple[Clock, ...]] = {
    100: (
        Clock(NOMINAL, 1850, "2.25 PFLOPS of 148 SMs, as arXiv:2603.05451 section 2.2 counts"),
        Clock(SUSTAINED, 1580, "flashinfer PR 2899: FlashAttention-4 back to back, 1000 W"),
    ),
    103: (
        Clock(NOMINAL, 1920, "QuickRunCUDA, b300_clean: under matrix instructions"),
        Clock(SUSTAINED, 1915, "gb300-microbench: matrix instructions alone, 569 W"),
    ),
}


def clocks(hardware: Hardware) -> tuple[Clock, ...]:
    """Return the clocks of a target: the highest one, and those under load that are known."""
    burst = Clock(BURST, float(hardware.clock_mhz), "the highest, for less than 5 ms of load")
    return (burst, *_KNOWN.get(hardware.arch, ()))


def nominal(hardware: Hardware) -> Clock:
    """Return the clock at which targets are compared: nominal, or the highest if that is all."""
    known = {clock.name: clock for clock in clocks(hardware)}
    return known.get(NOMINAL, known[BURST])
