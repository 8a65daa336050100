"""A GPU as the clock sees it: what one SM can do in a cycle, and how long it takes to be told.

Rates, SM count and clock are those of the ``hardware`` item (``specs/targets/*.attn``). What no
spec says stands in ``data/constants.csv`` and ``data/tcgen05_mma.csv``, each value with the range
that sources give and the sources themselves. No value was fitted to the speed of attention.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.clock.program import Operand
from flash4gen.ir.hardware import arch_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.clock.program import Mma
    from flash4gen.ir.hardware import Arch, Hardware

DATA = Path(__file__).with_name("data")
SMSPS = 4
"""Sub-cores of an SM, each with an issue port and arithmetic pipes of its own."""

TMA_SPLIT = 512
"""Bytes of inner box width that one TMA request covers (facebookexperimental/triton@db4666f)."""

MMA_SYNC_FLOPS = 2 * 16 * 8 * 16
"""FLOP of one mma.m16n8k16, the unit in which ``Work.mma`` counts."""


class NoConstantsError(LookupError):
    """There are no published numbers for this target, so nothing can be said about its time."""

    def __init__(self, arch: Arch) -> None:
        known = ", ".join(f"sm_{known}" for known in known_archs())
        what = f"the clock has no constants for {arch_text(arch)}; it has them for {known}"
        if isinstance(arch, str):
            what = f"there is no model of time for AMD; {what}"
        super().__init__(what)
        self.arch = arch


@dataclass(frozen=True, slots=True)
class Constant:
    """A number with the range that its sources give."""

    name: str
    value: float
    low: float
    high: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockMachine:
    """One SM of a target, in cycles and bytes per cycle.

    *Intervals* are cycles of a pipe of one SMSP that one warp instruction takes.

    Attributes:
        name: the hardware item's name.
        arch: compute capability.
        sms: streaming multiprocessors.
        clock_mhz: highest clock.
        mufu_interval: of ``ex2``, ``lg2``, ``rcp``, ``tanh``.
        fma_interval: of fp32 multiply, add and multiply-add.
        mma_sync_interval: of one mma.m16n8k16 of 16-bit operands.
        smem_rate: bytes per cycle per SM, reads and writes together.
        l2_rate: bytes per cycle that one SM gets of L2 when all SMs ask.
        hbm_rate: bytes per cycle that one SM gets of memory when all SMs ask.
        constants: all rows of ``data/constants.csv`` that hold for the target.
        values: the values that are used, by name: those of ``constants`` unless replaced.
    """

    name: str
    arch: int
    sms: int
    clock_mhz: int
    mufu_interval: float
    fma_interval: float
    mma_sync_interval: float
    mma_flops: int
    smem_rate: float
    l2_rate: float
    hbm_rate: float
    constants: tuple[Constant, ...] = field(repr=False, compare=False)
    values: Mapping[str, float] = field(repr=False, compare=False)

    def get(self, name: str) -> float:
        """Return a constant by its name.

        Raises:
            KeyError: the target has none of this name.
        """
        return self.values[name]

    def replaced(self, **values: float) -> ClockMachine:
        """Return a machine with other constants, to see how much hangs on them.

        Raises:
            KeyError: there is no constant of such a name.
        """
        for name in values:
            self.get(name)
        return replace(self, values={**self.values, **values})

    def interval(self, mma: Mma) -> float:
        """Return the cycles of the tensor pipe that one instruction of a product takes.

        tcgen05: measured (``data/tcgen05_mma.csv``); N between two measured widths is interpolated,
        beyond them extrapolated. wgmma: from the dense rate (m64n256k16 in 128 cycles on Hopper,
        arXiv:2402.13499), with SS below N = 64 bound by shared memory as tcgen05 is.
        """
        if self.arch in TCGEN05:
            return _measured(mma)[0]
        flops = 2 * mma.m * mma.n * 16
        operands = (mma.m + mma.n if mma.a_from is Operand.SMEM else mma.n) * 16 * 2
        return max(flops / self.mma_flops, operands / self.smem_rate)

    def completion(self, mma: Mma) -> float:
        """Return the cycles from a product's end in the pipe until a waiter of its commit runs.

        It is the measured time of a lone instruction, commit and wait, less its interval.
        """
        if self.arch in TCGEN05:
            interval, latency = _measured(mma)
            return latency - interval
        return self.get("wgmma_latency")

    def tma_latency(self, inner_bytes: int) -> float:
        """Return the cycles of a TMA load beyond its transfer; ``inner_bytes``: a row's width."""
        further = min(max(0, -(-inner_bytes // TMA_SPLIT) - 1), 2)
        return self.get("tma_latency") + self.get("tma_split_latency") * further


TCGEN05 = frozenset({100, 103})
"""Targets whose tensor core was measured instruction by instruction (on sm_100)."""


@cache
def machine_for(hardware: Hardware) -> ClockMachine:
    """Return the clock's view of a target.

    Raises:
        NoConstantsError: nothing was published for its architecture.
    """
    constants = _constants(hardware.arch)
    if not constants:
        raise NoConstantsError(hardware.arch)
    of = _values(constants)
    cycles = hardware.sms * hardware.clock_mhz * 1e6
    dense = hardware.mma_flops * of["mma_sync_efficiency"] / SMSPS
    return ClockMachine(
        name=hardware.name,
        arch=hardware.capability,
        sms=hardware.sms,
        clock_mhz=hardware.clock_mhz,
        mufu_interval=32 * SMSPS / hardware.exp2_rate,
        fma_interval=32 * SMSPS / hardware.fma_rate,
        mma_sync_interval=MMA_SYNC_FLOPS / dense,
        mma_flops=hardware.mma_flops,
        smem_rate=hardware.smem_read_rate,
        l2_rate=of["l2_bandwidth"] * 1e12 / cycles,
        hbm_rate=hardware.hbm_bandwidth * of["hbm_efficiency"] / cycles,
        constants=constants,
        values=of,
    )


@cache
def known_archs() -> tuple[int, ...]:
    """Return the compute capabilities that have constants, sorted."""
    return tuple(sorted({int(arch) for row in _rows("constants") for arch in row["arch"].split()}))


@cache
def _rows(name: str) -> tuple[dict[str, str], ...]:
    with (DATA / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def _constants(arch: Arch) -> tuple[Constant, ...]:
    return tuple(
        Constant(
            row["name"], float(row["value"]), float(row["low"]), float(row["high"]), row["source"]
        )
        for row in _rows("constants")
        if str(arch) in row["arch"].split()
    )


def _values(constants: tuple[Constant, ...]) -> dict[str, float]:
    return {constant.name: constant.value for constant in constants}


def _measured(mma: Mma) -> tuple[float, float]:
    """Return the interval and the latency of a lone tcgen05.mma, in cycles."""
    return _measured_at(mma.a_from, mma.ctas, mma.m, mma.n)


@cache
def _measured_at(a_from: Operand, ctas: int, m: int, n: int) -> tuple[float, float]:
    points = _points(a_from, ctas, m)
    if not points:
        raise ValueError(f"there is no tcgen05.mma with M = {m} of {ctas} CTAs")
    after = next((i for i, point in enumerate(points) if point[0] >= n), len(points) - 1)
    (n0, *low), (n1, *high) = points[max(after, 1) - 1], points[max(after, 1)]
    share = (n - n0) / (n1 - n0)
    interval, latency = (a + (b - a) * share for a, b in zip(low, high, strict=True))
    return interval, latency


@cache
def _points(a_from: Operand, ctas: int, m: int) -> tuple[tuple[float, float, float], ...]:
    return tuple(
        sorted(
            (float(row["n"]), float(row["interval"]), float(row["latency"]))
            for row in _rows("tcgen05_mma")
            if (row["a_from"], int(row["ctas"]), int(row["m"])) == (a_from, ctas, m)
        )
    )
