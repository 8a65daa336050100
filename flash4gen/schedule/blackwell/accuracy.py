"""How good the model of time is: published measurements beside what it says of the same kernels.

In: the measurements that ship (``clock/measurements``). Out: ``Accuracy``: for each row what was
measured and what is modelled, and for each pair of kernels by how much they differ. One constant is
fitted: a factor on all modelled speeds, to every second row of FlashAttention-4. No row that it was
fitted to counts as predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, geometric_mean
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.frequency import nominal
from flash4gen.clock.measurements import measurements
from flash4gen.ir import library
from flash4gen.schedule.blackwell.pace import Jitter, kernel, launched, pace
from flash4gen.schedule.blackwell.published import KERNELS, PLAIN, dense, flash_attention_4
from flash4gen.schedule.blackwell.sketch.idioms import FLASH_ATTENTION_4
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.works import Shape

if TYPE_CHECKING:
    from flash4gen.clock.grid import Launch, TileCycles
    from flash4gen.clock.measurements import Measurement
    from flash4gen.schedule.blackwell.pace import Kernel

TARGETS = {"B200": "b200", "GB200": "b200", "GB300": "b300"}
"""The target that stands for a product. GB200 and GB300 are clocked higher than HGX boards."""

SEEDS = (0, 1, 2)
SHARE = 0.2
"""Latencies are off by as much as a fifth, once for each seed."""

LEAST = 2048
"""Keys of the shortest rows that are fitted to."""

LARGE = 16384
"""Keys from which on a row stands for the limit of large lengths."""

LARGE_OFF, NAMED_OFF = 0.10, 0.15
"""By how much rows of named boards may be off: at large lengths, and from ``LEAST`` on."""

RULE = (
    "It is fitted to every second of FlashAttention-4's rows, sorted by GPU, head_dim, mask, length"
    " and file"
)


class Part(StrEnum):
    """What a row is for."""

    FITTED = "fitted"
    """The factor was fitted to it."""
    HELD_OUT = "held out"
    """It is predicted."""
    ABLATION = "ablation"
    """It is predicted, and compared with the kernel that has all techniques."""
    INFERRED = "inferred"
    """It is predicted, but its GPU is a guess: whatever comes out proves little."""
    SHORT = "short"
    """It is predicted, but for less than LEAST keys: starts of kernels decide, not their steps."""


@dataclass(frozen=True, slots=True)
class Row:
    """A measurement and what the model says.

    Attributes:
        measured: as published.
        part: what it is for.
        launch: as modelled, the mean over all runs.
        raw: modelled TFLOPS at the nominal clock, each run, before the factor.
    """

    measured: Measurement
    part: Part
    launch: Launch
    raw: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """All rows, and the one constant.

    Attributes:
        factor: measured speed over modelled, the geometric mean of the fitted rows.
        rows: fitted, held out and others.
    """

    factor: float
    rows: tuple[Row, ...]

    def modelled(self, row: Row) -> float:
        """Return the TFLOPS of a row, the factor included."""
        return self.factor * fmean(row.raw)

    def spread(self, row: Row) -> tuple[float, float]:
        """Return the least and the most of all runs, TFLOPS."""
        return self.factor * min(row.raw), self.factor * max(row.raw)

    def error(self, row: Row) -> float:
        """Return by what share the modelled speed is off; positive if it is too fast."""
        return self.modelled(row) / row.measured.tflops - 1

    def of(self, *parts: Part) -> tuple[Row, ...]:
        """Return the rows of some parts."""
        return tuple(row for row in self.rows if row.part in parts)


def accuracy(seeds: tuple[int, ...] = SEEDS) -> Accuracy:
    """Compare the model with everything published that it can repeat."""
    chosen = sorted(filter(comparable, measurements()), key=_order)
    plain = [item for item in chosen if _part(item, fitted=False) is Part.HELD_OUT]
    fitted = set(plain[::2])
    rows = tuple(_row(item, _part(item, fitted=item in fitted), seeds) for item in chosen)
    ratios = (r.measured.tflops / fmean(r.raw) for r in rows if r.part is Part.FITTED)
    return Accuracy(geometric_mean(list(ratios)), rows)


def comparable(item: Measurement) -> bool:
    """Whether a row is of a kernel and a GPU that the model knows, and of a short load.

    Series that ran their kernels back to back for long (Attn-QAT, the second half of flashinfer's
    PR 2899) are of a clock that nobody wrote down.
    """
    return item.kernel in KERNELS and item.gpu in TARGETS and item.file.startswith("fa4_")


def _order(item: Measurement) -> tuple[str, int, bool, int, str, str, float]:
    return (
        item.gpu,
        item.head_dim,
        item.causal,
        item.length,
        item.file,
        item.kernel,
        item.tflops,
    )


def _part(item: Measurement, *, fitted: bool) -> Part:
    if item.inferred:
        return Part.INFERRED
    if item.kernel != PLAIN:
        return Part.ABLATION
    if item.length < LEAST:
        return Part.SHORT
    return Part.FITTED if fitted else Part.HELD_OUT


def _row(item: Measurement, part: Part, seeds: tuple[int, ...]) -> Row:
    what = repeated(item)
    shape = Shape(
        batch=item.batch,
        heads=item.heads,
        kv_heads=item.kv_heads,
        queries=item.length,
        keys=item.length,
    )
    runs = [launched(what, shape, _paced(what, seed)) for seed in seeds]
    hertz = nominal(what.hardware).mhz * 1e6
    raw = tuple(item.operations * hertz / run.cycles / 1e12 for run in runs)
    return Row(item, part, runs[0], raw)


def repeated(item: Measurement) -> Kernel:
    """Return the kernel that a row was measured of."""
    hardware = library.target(TARGETS[item.gpu])
    what = dense(item.head_dim, item.value_dim, item.heads, item.kv_heads, causal=item.causal)
    schedule = flash_attention_4(traits(what), hardware, item.kernel)
    return kernel(schedule, what, hardware, FLASH_ATTENTION_4)


_PACES: dict[tuple[object, ...], TileCycles] = {}


def _paced(what: Kernel, seed: int) -> TileCycles:
    """Return the cycles of a work tile of one run; kernels differ by length of sequences alone."""
    key = (what.schedule, what.unmasked, seed)
    if key not in _PACES:
        _PACES[key] = pace(what, Jitter(SHARE, (seed,)))
    return _PACES[key]


def summary(found: Accuracy, part: Part) -> str:
    """Return the errors of a part in words."""
    errors = [found.error(row) for row in found.of(part)]
    worst = max(errors, key=abs)
    mean = fmean(abs(error) for error in errors)
    return f"{len(errors)} rows, off by {mean:.1%} on average and by {worst:+.1%} at most"


class Limit(NamedTuple):
    """What is asked of rows of boards that are named, fitted or held out, and the furthest one."""

    what: str
    most: float
    rows: int
    worst: float

    @property
    def holds(self) -> bool:
        """Whether every row is within the limit."""
        return abs(self.worst) <= self.most


def limits(found: Accuracy) -> tuple[Limit, ...]:
    """Return what is asked of the model, and how far the furthest row of each kind is off."""
    named = found.of(Part.FITTED, Part.HELD_OUT)
    kinds = (
        ("head_dim 128, 16,384 keys and more", LARGE_OFF, 128, LARGE),
        ("head_dim 128", NAMED_OFF, 128, LEAST),
        ("head_dim 64", NAMED_OFF, 64, LEAST),
    )
    result = []
    for what, most, head_dim, least in kinds:
        rows = [r for r in named if r.measured.head_dim == head_dim and r.measured.length >= least]
        worst = max((found.error(row) for row in rows), key=abs)
        result.append(Limit(what, most, len(rows), worst))
    return tuple(result)


def rule(found: Accuracy) -> tuple[str, ...]:
    """Return what the numbers rest on, in lines."""
    nominals = " and ".join(
        f"{nominal(library.target(name)).mhz:.0f} MHz on {name}" for name in ("b200", "b300")
    )
    return (
        f"* modelled, at the nominal clock, {nominals}, times one factor: {found.factor:.3f}.",
        f"{RULE}.",
        f"Rows of fewer than {LEAST} keys, ablations, and rows whose GPU is a guess fit nothing.",
        "Not compared: series run back to back for long, whose clock nobody wrote down; kernels of",
        "other designs (cuDNN); FlashAttention-3, as there is no family for sm_90.",
    )
