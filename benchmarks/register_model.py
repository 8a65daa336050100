"""Measure what tiles cost after ptxas, and fit the register model of ``flash4gen/schedule`` to it.

Writes ``portable_facts.csv``, one compiled configuration a row: registers per thread, stack bytes
(more than 0 means spills), shared memory, tensor-memory columns. Two sweeps: ``grid``, the same
tiles on every target, for the model; and ``frontier``, which asks for the best candidates and
compiles those that are not in the table yet, until the best few are measured and do not spill.
Rows already there are kept, so that an interrupted sweep goes on where it stopped::

    python -m benchmarks.register_model grid frontier fit [--arch 80 90] [--pad 128] [--fresh]

After a small change of the kernel's template, ``again frontier fit`` compiles what is chosen now
and what comes to the front by that: some 150 compiles, 5 minutes on an idle core. After a large
one, or with another Triton, ``grid frontier fit --fresh``: some 700.
"""

from __future__ import annotations

import argparse
import csv
import sys
from dataclasses import asdict, astuple, fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmarks.probe_facts import CAPPED, MASKS, SCORES, Facts, Point, compile_facts
from flash4gen.build.compile import CompileError
from flash4gen.ir import library
from flash4gen.ir.hardware import Feature
from flash4gen.schedule import register_fit, registers
from flash4gen.schedule.model import Load, TileOrder
from flash4gen.schedule.search import Fitting, judge
from flash4gen.schedule.space import WARPS, Shape, shape_of
from flash4gen.schedule.units import matrix_unit
from flash4gen.schedule.workload import Workload, workload_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flash4gen.ir.expr import Expr
    from flash4gen.ir.hardware import Arch, Hardware

TILES: dict[int, tuple[tuple[int, int, int], ...]] = {
    16: ((128, 128, 8), (128, 128, 4), (64, 128, 4), (64, 64, 4), (128, 64, 4), (256, 128, 8)),
    32: ((128, 128, 8), (128, 128, 4), (64, 128, 4), (64, 64, 4), (128, 64, 4), (256, 128, 8)),
    64: (
        (128, 128, 8), (128, 64, 8), (128, 128, 4), (128, 64, 4), (64, 128, 4), (64, 64, 4),
        (128, 32, 4), (256, 64, 8), (256, 128, 8),
    ),
    128: (
        (128, 128, 8), (128, 64, 8), (128, 64, 4), (64, 64, 4), (128, 32, 8), (64, 32, 4),
        (128, 32, 4), (64, 128, 4), (256, 32, 8),
    ),
    256: (
        (128, 64, 8), (64, 64, 4), (128, 32, 8), (64, 32, 4), (64, 64, 8), (64, 32, 8),
        (32, 32, 4), (64, 16, 4), (128, 16, 8), (32, 64, 4), (32, 64, 8),
    ),
}  # fmt: skip
"""(tile_q, tile_k, warps) of the grid, by padded head dimension."""

WAVE_TILES: dict[int, tuple[tuple[int, int, int], ...]] = {
    16: ((64, 64, 4), (128, 64, 4), (128, 128, 8)),
    32: ((64, 64, 4), (128, 64, 4), (128, 128, 8)),
    64: (
        (64, 32, 4), (64, 64, 4), (128, 32, 4), (128, 64, 4), (128, 128, 4), (128, 64, 8),
        (256, 64, 8), (128, 128, 8),
    ),
    128: (
        (64, 32, 4), (64, 64, 4), (128, 32, 4), (128, 64, 4), (128, 32, 8), (128, 64, 8),
        (256, 64, 8), (256, 32, 8),
    ),
    256: ((64, 16, 4), (64, 32, 4), (64, 64, 4), (128, 16, 4), (128, 32, 4), (128, 32, 8)),
}  # fmt: skip
"""The same for AMD, where each warp has 16 rows at least."""

BEST = 2
"""Candidates of a target, head dimension and kind that the frontier wants measured."""

MOST_COMPILES = 40
"""Compiles of the frontier for one target, head dimension and kind, before it gives up."""

LARGE = 1.49
"""Share of the most registers of a thread, beyond which a row no longer takes part in the fit:
nobody asks how far it is off."""

LEAST_MARGIN = 16
"""Registers that the model is never trusted to be nearer than."""

KINDS = (
    ("identity", MASKS["causal"]),
    ("softcap", MASKS["window"]),
    (CAPPED, MASKS["window"]),
    ("identity", MASKS["full"]),
)
"""(score, mask) of the attentions whose best candidates the frontier measures, in all variants."""

SWEPT: tuple[Arch, ...] = (80, 90, 100, 120, "gfx942", "gfx950")
"""Architectures that the table has rows of."""

WIDTHS = ((256, 256), (128, 128), (64, 64), (32, 32), (16, 16), (256, 128))
"""(head_pad, value_pad) swept."""

COLUMNS = tuple(field.name for kind in (Point, Facts) for field in fields(kind))

Table = dict[Point, Facts]


def grid(arches: Iterable[Arch], pads: Iterable[int]) -> Iterator[Point]:
    """Yield the same tiles for every target, with the windowed identity at two stages."""
    for target in _targets(arches):
        for pad in pads:
            tiles = WAVE_TILES if target.has(Feature.MFMA) else TILES
            for (tile_q, tile_k, warps), load in product(tiles[pad], Load):
                shape = Shape(tile_q, tile_k, warps, 2, load)
                if load is Load.POINTER or target.has(Feature.TMA):
                    yield _point(target, shape, (pad, pad), "identity", "window")


def frontier(table: Table, arches: Iterable[Arch], pads: Iterable[int]) -> Iterator[Point]:
    """Yield what is worth compiling next; the caller adds its facts before asking again."""
    chosen = set(pads)
    for target in _targets(arches):
        for widths, (score, mask) in product(WIDTHS, KINDS):
            if widths[0] in chosen:
                work = _work(score, mask, widths)
                yield from _best_unmeasured(table, work, target)


def winners(arches: Iterable[Arch], pads: Iterable[int]) -> Iterator[Point]:
    """Yield the variants of what ``choose`` takes now, whether they are in the table or not."""
    chosen = set(pads)
    for target in _targets(arches):
        for widths, (score, mask) in product(WIDTHS, KINDS):
            if widths[0] not in chosen:
                continue
            work = _work(score, mask, widths)
            best = judge(work, target, TileOrder.QUERY_TILES_FIRST, {}).fitting[0]
            yield from _variants(target, shape_of(best.schedule), work)


def _work(score: str, mask: Expr, widths: tuple[int, int]) -> Workload:
    return replace(workload_of(SCORES[score], mask, *widths), capped=score == CAPPED)


def _best_unmeasured(table: Table, work: Workload, target: Hardware) -> Iterator[Point]:
    """Yield the best candidates of one kind that are not in the table, until all are."""
    for _ in range(MOST_COMPILES):
        judged = judge(work, target, TileOrder.QUERY_TILES_FIRST, {}, optimistic=True)
        points = (
            point for shape in _wanted(judged.fitting) for point in _variants(target, shape, work)
        )
        missing = next((point for point in points if point not in table), None)
        if missing is None:
            return
        yield missing
    print(f"frontier: gave up on {target.name} {work.head_pad} {work.score}", file=sys.stderr)


def _variants(target: Hardware, shape: Shape, work: Workload) -> Iterator[Point]:
    """Yield the measured variants that stand for a kind at one shape."""
    unit = matrix_unit(target, shape.tile_q, shape.warps)
    for variant in registers.variants_for(work, unit):
        yield _point(target, shape, (work.head_pad, work.value_pad), *variant)


def _wanted(fitting: tuple[Fitting, ...]) -> Iterator[Shape]:
    """Yield the best candidates over all, and the best of each way to load."""
    shapes = [shape_of(item.schedule) for item in fitting]
    yield from shapes[:BEST]
    for load in Load:
        yield from [shape for shape in shapes if shape.load is load][:1]


def _targets(arches: Iterable[Arch]) -> tuple[Hardware, ...]:
    """Return one target for each architecture: the compiler tells no more of them apart."""
    first = {target.arch: target for target in reversed(library.targets())}
    return tuple(first[arch] for arch in sorted(set(arches), key=str) if arch in first)


def _point(target: Hardware, shape: Shape, widths: tuple[int, int], score: str, mask: str) -> Point:
    return Point(
        arch=target.arch,
        load=shape.load.value,
        head_pad=widths[0],
        value_pad=widths[1],
        tile_q=shape.tile_q,
        tile_k=shape.tile_k,
        warps=shape.warps,
        stages=shape.stages,
        score=score,
        mask=mask,
        dtype="bf16",
    )


def fit(table: Table) -> dict[str, tuple[float, ...]]:
    """Return the register model per fit: weights by least squares, constant, margin.

    The margin makes the model reject every row that spilled for want of registers. Below the limit
    ptxas spills a few words now and then to fit one more block; no pressure explains that.
    """
    groups: dict[str, list[Row]] = {}
    by_arch = {target.arch: target for target in reversed(library.targets())}
    for point, facts in table.items():
        target = by_arch[point.arch]
        shape = Shape(point.tile_q, point.tile_k, point.warps, point.stages, Load(point.load))
        if shape.warps not in WARPS:
            continue
        unit = matrix_unit(target, shape.tile_q, shape.warps)
        held = registers.features(unit, shape, point.head_pad, point.value_pad)
        limit = registers.thread_limit(target, shape.warps)
        needed = facts.registers + facts.stack / registers.SPILLED_WORD
        spills = facts.stack > 0 and facts.registers >= limit
        key = registers.fit_key(unit, point.arch, shape.load)
        near = needed <= LARGE * target.registers_per_thread
        row = Row((*held, 1.0), needed, limit if spills else None, near)
        groups.setdefault(key, []).append(row)
    return {key: _solve(rows) for key, rows in sorted(groups.items())}


class Row(NamedTuple):
    """A row as the fit sees it; the limit only where the row spills."""

    held: tuple[float, ...]
    needed: float
    limit: int | None
    near: bool


def _solve(rows: list[Row]) -> tuple[float, ...]:
    """Return non-negative weights and the margin; the most negative is dropped, and again."""
    near = [row for row in rows if row.near]
    held = np.array([row.held for row in near])
    needed = np.array([row.needed for row in near])
    active = list(range(held.shape[1]))
    while True:
        found, *_ = np.linalg.lstsq(held[:, active], needed, rcond=None)
        if found.min() >= 0:
            break
        del active[int(found.argmin())]
    weights = np.zeros(held.shape[1])
    weights[active] = np.round(found, 3)
    short = [row.limit + 1 - float(weights @ row.held) for row in rows if row.limit is not None]
    margin = float(np.ceil(max(*short, LEAST_MARGIN)))
    return (*(float(weight) for weight in weights), margin)


def write_fit(path: Path, fits: dict[str, tuple[float, ...]]) -> None:
    """Replace the table of weights in the module that holds it; the rest of it stays."""
    head, _, _ = path.read_text().partition("FITS:")
    rows = "".join(f'    "{key}": {weights},\n' for key, weights in fits.items())
    path.write_text(f"{head}FITS: dict[str, tuple[float, ...]] = {{\n{rows}}}\n")


def read_table(path: Path) -> Table:
    """Read the table back; an absent file is an empty table."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {_typed(Point, row): _typed(Facts, row) for row in csv.DictReader(file)}


def _typed(kind: Any, row: dict[str, str]) -> Any:
    values = {field.name: row[field.name] for field in fields(kind)}
    return kind(**{name: int(v) if v.isdigit() else v for name, v in values.items()})


def write_table(path: Path, table: Table) -> None:
    """Write the table sorted by its columns, so that a re-run changes only what changed."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for point in sorted(table, key=_place):
            writer.writerow(asdict(point) | asdict(table[point]))


def _place(point: Point) -> tuple[Any, ...]:
    """Return a sort key: compute capabilities in their order, then AMD's names."""
    return (str(point.arch).rjust(8), *astuple(point)[1:])


def measure(points: Iterable[Point], table: Table, *, again: bool = False) -> None:
    """Compile what is missing, or everything ``again``, and save after every row."""
    for point in points:
        before = table.get(point)
        if before is not None and not again:
            continue
        try:
            table[point] = compile_facts(point)
        except CompileError as problem:  # more shared memory than the target has
            print(f"not compiled: {point}: {problem}", file=sys.stderr, flush=True)
            continue
        if table[point] != before:
            write_table(registers.FACTS, table)
            registers.facts.cache_clear()
            print(f"{len(table)} rows: {point}: {before} -> {table[point]}", flush=True)


def _arch(text: str) -> Arch:
    return int(text) if text.isdigit() else text


def main() -> int:
    """Run the sweeps and the fit that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="+", choices=["again", "grid", "frontier", "fit"])
    parser.add_argument("--arch", type=_arch, nargs="+", default=[*SWEPT])
    parser.add_argument("--pad", type=int, nargs="+", default=[256, 128, 64, 32, 16])
    parser.add_argument("--fresh", action="store_true", help="forget the rows already measured")
    options = parser.parse_args()
    table = {} if options.fresh else read_table(registers.FACTS)
    if "again" in options.steps:
        measure(list(winners(options.arch, options.pad)), table, again=True)
    if "grid" in options.steps:
        measure(grid(options.arch, options.pad), table)
    if "frontier" in options.steps:
        measure(frontier(table, options.arch, options.pad), table)
    if "fit" in options.steps:
        write_fit(Path(register_fit.__file__), fit(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
