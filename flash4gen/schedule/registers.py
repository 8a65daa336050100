"""Registers per thread: measured where the sweep has been, modelled with a margin elsewhere.

In: a target, a tile and the kind of score. Out: the pressure, in registers per thread. Where it is
more than a thread may have, ptxas spills. The facts lie in ``portable_facts.csv``, one compiled
configuration a row, made by ``benchmarks/register_model.py``, which also fits the model.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.capped import sums_with_ones
from flash4gen.schedule.model import Load
from flash4gen.schedule.register_fit import FITS
from flash4gen.schedule.units import MFMA_ROWS, Unit, matrix_unit, warp_grid

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Arch, Hardware
    from flash4gen.schedule.space import Shape
    from flash4gen.schedule.workload import Workload

FACTS = Path(__file__).with_name("portable_facts.csv")
"""The measured table."""

SPILLED_WORD = 4
"""Stack bytes of one spilled register."""

OTHER_SCORE = 12
"""Registers set aside for a score that is more than the measured softcap."""

OTHER_MASK = 56
"""Registers set aside, with tcgen05, for a mask with more operations per element than the measured
ones: with a remainder per element, ptxas spilled 48 words where a window needed none."""

RAGGED = 8
"""Registers set aside, with pointers, for columns that a narrower head does not have: a predicate
per copy. 8 bytes spilled on sm_80 where the full width needed just the limit."""

DROPPED = 32
"""Registers set aside, with tcgen05 and TMA, for the draws of a key tile: on sm_100 up to 32 words
spilled where 218 to 243 registers did without them."""

LOOK_UP = 2
"""Registers per score that a thread holds for each tensor with an element per score: an address has
64 bits. Two such tensors spilled 178 registers with 64 scores per thread on sm_80."""

OUTPUT_READ = 1.5
"""Registers that a thread needs for each element of the output, for each tensor that is read at its
place, besides the element: on sm_90, 128 elements spilled 68 registers at a gate, 64 none."""

OTHER_VARIANT = 16
"""Registers by which a causal mask and a causal window were seen to differ."""

SOFTCAP_OPERATIONS = 9
"""Plain instructions per element up to which the measured softcap, of 7, stands for a score."""

WINDOW_OPERATIONS = 8
"""Plain instructions per element up to which the measured window, of 4, stands for a mask."""

Variant = tuple[str, str]
"""A measured score and mask, by name."""

_FULL: tuple[Variant, ...] = (("identity", "full"),)
_IDENTITY: tuple[Variant, ...] = (("identity", "causal"), ("identity", "window"))
_CAPPED: tuple[Variant, ...] = (("capped", "causal"), ("capped", "window"))
_SOFTCAP: tuple[Variant, ...] = (("softcap", "causal"), ("softcap", "window"))


class Pressure(NamedTuple):
    """Registers that a thread needs, and whether a compile said so or the model."""

    registers: int
    measured: bool


class Fact(NamedTuple):
    """What ptxas made of a configuration: registers per thread, bytes of stack."""

    registers: int
    stack: int

    def needed(self, limit: int) -> int:
        """Return the registers that would have done without spills; a thread may have ``limit``."""
        if not self.stack:
            return self.registers
        return limit + -(-self.stack // SPILLED_WORD)


class Modelled(NamedTuple):
    """The model's estimate of the registers, and what it may be short by."""

    registers: float
    margin: float


class Config(NamedTuple):
    """A configuration of the measured table."""

    arch: Arch
    load: Load
    head_pad: int
    value_pad: int
    tile_q: int
    tile_k: int
    warps: int
    stages: int


class Features(NamedTuple):
    """What one thread holds, in 32-bit registers, as the linear model sees it."""

    accumulator: float
    scores: float
    query: float
    keys: float
    values: float
    loads: float
    rows: float


def variants_for(work: Workload, unit: Unit) -> tuple[Variant, ...]:
    """Return what stands for an attention: all of them must fit, so that none is a surprise."""
    if work.capped and sums_with_ones(unit):
        return _CAPPED
    if not work.identity:
        return _SOFTCAP
    return _FULL if work.key_bounds.always_full else _IDENTITY


def _extra(work: Workload, unit: Unit, load: Load) -> int:
    """Return what to set aside for an attention that is more than the measured ones."""
    extra = OTHER_SCORE if work.score.plain > SOFTCAP_OPERATIONS else 0
    if unit is Unit.TCGEN05 and work.mask.plain > WINDOW_OPERATIONS:
        extra += OTHER_MASK
    if work.ragged and load is Load.POINTER:
        extra += RAGGED
    if work.drops and unit is Unit.TCGEN05 and load is Load.TMA:
        extra += DROPPED
    return extra


def pressure(
    hardware: Hardware, shape: Shape, work: Workload, *, optimistic: bool = False
) -> Pressure:
    """Return the registers that a thread needs: more than it may have where it would spill.

    Where the model answers, not a compile, its margin of error is added; or, if ``optimistic``,
    half of it taken away.
    """
    config = Config(
        measured_arch(hardware),
        shape.load,
        work.head_pad,
        work.value_pad,
        shape.tile_q,
        shape.tile_k,
        shape.warps,
        shape.stages,
    )
    unit = matrix_unit(hardware, shape.tile_q, shape.warps)
    variants = variants_for(work, unit)
    known = facts().get(config, {})
    found = [known[variant] for variant in variants if variant in known]
    extra = _extra(work, unit, shape.load)
    scores = shape.tile_q * shape.tile_k // (hardware.warp_size * shape.warps)
    extra += LOOK_UP * scores * sum(read.per_score for read in work.reads)
    last = _at_the_end(hardware, shape, work)
    if not found:
        model = modelled(hardware, shape, work.head_pad, work.value_pad)
        needed = model.registers + model.margin * (-0.5 if optimistic else 1)
        return Pressure(max(round(needed) + extra, last), measured=False)
    limit = thread_limit(hardware, shape.warps)
    worst = max(fact.needed(limit) for fact in found)
    if len(found) < len(variants) and not optimistic:
        extra += OTHER_VARIANT
    return Pressure(max(worst + extra, last), measured=len(found) == len(variants))


def _at_the_end(hardware: Hardware, shape: Shape, work: Workload) -> int:
    """Return the registers that a thread needs where the output meets tensors, after all loops."""
    if not work.output_reads:
        return 0
    outputs = shape.tile_q * work.value_pad / (hardware.warp_size * shape.warps)
    return round(outputs * (1 + OUTPUT_READ * work.output_reads))


def thread_limit(hardware: Hardware, warps: int) -> int:
    """Return the registers that one thread of a block may have."""
    share = hardware.registers_per_sm // (warps * hardware.warp_size)
    return min(hardware.registers_per_thread, share)


@cache
def facts(path: Path = FACTS) -> dict[Config, dict[Variant, Fact]]:
    """Read the table: what was compiled, by configuration and variant."""
    table: dict[Config, dict[Variant, Fact]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            config = Config(
                int(row["arch"]) if row["arch"].isdigit() else row["arch"],
                Load(row["load"]),
                int(row["head_pad"]),
                int(row["value_pad"]),
                int(row["tile_q"]),
                int(row["tile_k"]),
                int(row["warps"]),
                int(row["stages"]),
            )
            variant = (row["score"], row["mask"])
            table.setdefault(config, {})[variant] = Fact(int(row["registers"]), int(row["stack"]))
    return table


@cache
def _swept() -> tuple[int, ...]:
    return tuple(sorted({it.arch for it in facts() if isinstance(it.arch, int)}))


def measured_arch(hardware: Hardware) -> Arch:
    """Return the swept architecture that stands for a target.

    That is its own, or the last compute capability before; AMD's are all swept. Compiled for both,
    five configurations took on sm_89 as many registers as on sm_80, but for one with 24 fewer and
    one with 1 more, and five on sm_103 and sm_107 up to 4 fewer than on sm_100.
    """
    if isinstance(hardware.arch, str):
        return hardware.arch
    swept = _swept()
    before = [arch for arch in swept if arch <= hardware.capability]
    return before[-1] if before else swept[0]


def modelled(hardware: Hardware, shape: Shape, head_pad: int, value_pad: int) -> Modelled:
    """Return the linear model's estimate for what was not compiled."""
    unit = matrix_unit(hardware, shape.tile_q, shape.warps)
    key = fit_key(unit, hardware.arch, shape.load)
    if key not in FITS:  # a made-up target: an old unit behind the new ptxas, or the reverse
        key = next(name for name in FITS if name.startswith(f"{unit} {shape.load}"))
    *weights, constant, margin = FITS[key]
    held = features(unit, shape, head_pad, value_pad)
    total = constant + sum(w * x for w, x in zip(weights, held, strict=True))
    return Modelled(total, margin)


def fit_key(unit: Unit, arch: Arch, load: Load) -> str:
    """Return the name of the fit: by unit, by load, and by which of Triton's two ptxas is used.

    LLVM compiles for AMD, where the architecture decides how tiles come into the LDS.
    """
    if isinstance(arch, str):
        return f"{unit} {arch}"
    if load is Load.TMA and unit is Unit.MMA_SYNC:
        return f"{unit} {load}"
    return f"{unit} {load} {'new' if arch >= NEW_PTXAS else 'old'}"


NEW_PTXAS = 100
"""First compute capability that Triton compiles with ptxas-blackwell."""


def features(unit: Unit, shape: Shape, head_pad: int, value_pad: int) -> Features:
    """Return what one thread holds, before the compiler reorders anything.

    With mma.sync a warp holds its fragments of all operands; the newer units read keys, values and
    mostly queries where they lie. ``loads`` counts 16-byte copies per step, each with an address.
    """
    if unit is Unit.MFMA:
        return _wave_features(shape, head_pad, value_pad)
    grid = warp_grid(unit, shape.tile_q, value_pad, shape.warps)
    loads = shape.tile_k * (head_pad + value_pad) / (32 * shape.warps) / 8
    if unit is not Unit.MMA_SYNC:
        # With wgmma, a second group on the same rows saves no registers.
        threads = 32 * (grid.rows if unit is Unit.WGMMA else shape.warps)
        return Features(
            shape.tile_q * value_pad / threads,
            shape.tile_q * shape.tile_k / threads,
            shape.tile_q * head_pad / threads / 2,
            0,
            0,
            loads,
            shape.tile_q / shape.warps / 8,
        )
    rows = max(16, shape.tile_q // grid.rows)
    keys = max(8, shape.tile_k // grid.columns)
    width = max(8, value_pad // grid.columns)
    return Features(
        rows * width / 32,
        rows * keys / 32,
        rows * head_pad / 64,
        keys * head_pad / 64,
        width * shape.tile_k / 64,
        loads,
        rows / 8,
    )


def _wave_features(shape: Shape, head_pad: int, value_pad: int) -> Features:
    """Return the same of a lane of a wave; every wave reads all keys and values."""
    rows = max(MFMA_ROWS, shape.tile_q // shape.warps)
    return Features(
        rows * value_pad / 64,
        rows * shape.tile_k / 64,
        rows * head_pad / 128,
        shape.tile_k * head_pad / 128,
        shape.tile_k * value_pad / 128,
        shape.tile_k * (head_pad + value_pad) / (64 * shape.warps) / 8,
        rows / MFMA_ROWS,
    )
