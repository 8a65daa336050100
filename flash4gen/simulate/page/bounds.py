"""Bounds of the units and where the kernel stands, as a drawing on a logarithmic axis of TFLOPS."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.frequency import nominal
from flash4gen.simulate.whole import dense_rate

if TYPE_CHECKING:
    from flash4gen.simulate.timed import Timed

WIDTH = 1160
LEFT = 190
RIGHT = 130
TOP = 58
STEP = 26

NAMES = {
    "tensor": "tensor pipe",
    "mufu": "special functions (MUFU)",
    "fma": "multiply-add (FMA)",
    "alu": "ALU",
    "cvt": "conversions",
    "shuffle": "exchanges of lanes",
    "issue": "issue slots",
    "smem": "shared memory",
    "tmem": "tensor memory",
    "tma": "TMA engine",
    "l2": "L2",
    "hbm": "HBM",
}
"""What units are called."""

FAR = 40
"""Bounds that lie further above the kernel, by this factor, are not drawn."""


class Bar(NamedTuple):
    """A unit's bound."""

    name: str
    y: float
    width: float
    text: str
    nearest: bool


class Line(NamedTuple):
    """Where the kernel stands, or the peak; the text's anchor is ``start`` or ``end``."""

    x: float
    text: str
    kind: str
    y: float
    anchor: str


class Roofline(NamedTuple):
    """All of it; ``far`` names bounds that are too far away to be drawn."""

    width: int
    left: int
    top: int
    height: float
    bars: tuple[Bar, ...]
    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    clock: str
    far: tuple[str, ...]


def draw(timed: Timed) -> Roofline:
    """Return the drawing; TFLOPS are those of the nominal clock."""
    hardware = timed.subject.hardware
    clock = nominal(hardware)
    reached = next(speed for speed in timed.whole.speeds if speed.clock == clock.name)
    shown = [limit for limit in timed.limits if limit.tflops < FAR * reached.tflops]
    rate = hardware.sms * dense_rate(timed.subject.attention, hardware)
    peak = rate * clock.mhz * 1e6 / 1e12
    low = min(reached.tflops, timed.turn_tflops) / 2
    high = 1.1 * max(peak, *(limit.tflops for limit in shown))
    per_decade = (WIDTH - LEFT - RIGHT) / math.log10(high / low)

    def x(tflops: float) -> float:
        return round(LEFT + math.log10(tflops / low) * per_decade, 1)

    bars = tuple(
        Bar(
            name=NAMES.get(limit.unit, limit.unit),
            y=TOP + STEP * number,
            width=x(limit.tflops) - LEFT,
            text=f"{limit.tflops:,.0f} TFLOPS",
            nearest=number == 0,
        )
        for number, limit in enumerate(shown)
    )
    marks = (
        Line(x(reached.tflops), f"launch {reached.tflops:,.0f}", "reached", 16, "end"),
        Line(x(timed.turn_tflops), f"turns alone {timed.turn_tflops:,.0f}", "turns", 32, "start"),
        Line(x(peak), f"dense peak {peak:,.0f}", "peak", 48, "start"),
    )
    return Roofline(
        width=WIDTH,
        left=LEFT,
        top=TOP,
        height=TOP + STEP * len(bars) + 26,
        bars=bars,
        lines=marks,
        ticks=tuple((x(value), f"{value:,.0f}") for value in _round(low, high)),
        clock=f"{clock.name}, {clock.mhz:,.0f} MHz",
        far=tuple(NAMES.get(one.unit, one.unit) for one in timed.limits if one not in shown),
    )


def _round(low: float, high: float) -> list[float]:
    """Return round numbers between two."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [digit * 10.0**power for power in decades for digit in (1, 2, 5)]
    return [value for value in values if low <= value <= high]
