"""Pairs of kernels that differ in one thing: who is ahead as published, and as modelled.

In: ``Accuracy``. Out: ``Pair``: of FlashAttention-4's ablations, and of what others printed as a
ratio. A search needs these right more than it needs TFLOPS.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean, geometric_mean
from typing import TYPE_CHECKING

from flash4gen.ir import library
from flash4gen.schedule.blackwell.accuracy import SEEDS, SHARE, Part
from flash4gen.schedule.blackwell.model import RowMax
from flash4gen.schedule.blackwell.pace import Jitter, kernel, launched, pace
from flash4gen.schedule.blackwell.published import dense, flash_attention_4
from flash4gen.schedule.blackwell.sketch.idioms import FLASH_ATTENTION_4
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.works import Shape
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from flash4gen.clock.measurements import Measurement
    from flash4gen.schedule.blackwell.accuracy import Accuracy, Row


@dataclass(frozen=True, slots=True)
class Pair:
    """Two kernels of one shape, or the mean over several shapes: how fast one is beside the other.

    Attributes:
        what: the difference between them.
        gpu: the product.
        measured: speed of the first over that of the second.
        modelled: the same.
        source: who measured.
    """

    what: str
    gpu: str
    measured: float
    modelled: float
    source: str

    @property
    def ranked(self) -> bool:
        """Whether the model has the same one ahead."""
        return (self.measured > 1) == (self.modelled > 1)

    @property
    def sized(self) -> bool:
        """Whether the model's difference is right within a factor of two."""
        ratio = abs(self.modelled - 1) / abs(self.measured - 1)
        return self.ranked and 0.5 <= ratio <= 2


def ablations(found: Accuracy) -> tuple[Pair, ...]:
    """Return each ablation beside the whole kernel: one pair for each row."""
    whole = {
        _shape(row): row
        for row in found.of(Part.FITTED, Part.HELD_OUT)
        if row.measured.file == "fa4_paper_b200"
    }
    return tuple(
        Pair(
            f"{ABLATIONS[row.measured.kernel]}, {_shape_text(row.measured)}",
            row.measured.gpu,
            row.measured.tflops / whole[_shape(row)].measured.tflops,
            fmean(row.raw) / fmean(whole[_shape(row)].raw),
            "arXiv:2603.05451",
        )
        for row in found.of(Part.ABLATION)
    )


ABLATIONS = {
    "fa4_abl_noemu": "no exp2 in software",
    "fa4_abl_alwaysrescale": "always rescaling",
    "fa4_abl_qstage1": "one query tile",
}
"""What was taken away, by kernel."""


def mean_pairs(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    """Return the pairs of each ablation as one, the geometric mean of theirs."""
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(pair.what.partition(",")[0], []).append(pair)
    return tuple(
        Pair(
            f"{what}, mean of {len(group)}",
            group[0].gpu,
            geometric_mean([pair.measured for pair in group]),
            geometric_mean([pair.modelled for pair in group]),
            group[0].source,
        )
        for what, group in groups.items()
    )


def _shape(row: Row) -> tuple[int, int, bool]:
    return row.measured.head_dim, row.measured.length, row.measured.causal


def _shape_text(item: Measurement) -> str:
    return f"{'causal' if item.causal else 'full'}, {item.length}"


def ratios(seeds: tuple[int, ...] = SEEDS) -> tuple[Pair, ...]:
    """Return the pairs of which only the ratio was published."""
    return (
        Pair(
            "exp2 in software, full",
            "GB300",
            1945 / 2142,
            _speed("b300", seeds, causal=False, emulated=24) / _speed("b300", seeds, causal=False),
            "hao-ai-lab, scores in NVFP4",
        ),
        Pair(
            "maxima of the load, full",
            "GB300",
            1.025,
            _speed("b300", seeds, causal=False)
            / _speed("b300", seeds, causal=False, row_max=RowMax.REDUCE),
            "hao-ai-lab: 1 to 4 %",
        ),
        Pair(
            "longest tiles first, causal",
            "H200",
            1.06,
            _speed("b200", seeds, causal=True)
            / _speed("b200", seeds, causal=True, order=TileOrder.QUERY_TILES_FIRST),
            "arXiv:2603.05451 section 3.3: 4 to 8 %, on another GPU",
        ),
    )


SHAPES = tuple(
    Shape(batch=32768 // length, heads=16, kv_heads=16, queries=length, keys=length)
    for length in (2048, 4096, 8192, 16384)
)
"""The shapes of the paper's series; a ratio is the mean of theirs."""


def _speed(target: str, seeds: tuple[int, ...], *, causal: bool, **changes: Any) -> float:
    """Return the modelled speed of FlashAttention-4 at head_dim 128, changed, in its own unit."""
    hardware = library.target(target)
    what = dense(128, 128, 16, 16, causal=causal)
    schedule = replace(flash_attention_4(traits(what), hardware), **changes)
    timed = kernel(schedule, what, hardware, FLASH_ATTENTION_4)
    cycles = pace(timed, Jitter(SHARE, seeds))
    return geometric_mean([1 / launched(timed, shape, cycles).cycles for shape in SHAPES])
