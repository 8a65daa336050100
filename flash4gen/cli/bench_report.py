"""What `flash4gen bench model` prints: tables of rows and of pairs.

In: ``Accuracy`` and pairs. Out: parts that rich prints. Columns with a star are modelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from flash4gen.schedule.blackwell.accuracy import Part, limits, rule, summary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from flash4gen.schedule.blackwell.accuracy import Accuracy, Row
    from flash4gen.schedule.blackwell.pairs import Pair


def report(found: Accuracy, pairs: tuple[Pair, ...]) -> Iterator[RenderableType]:
    """Yield the tables, one for each part of the rows, then the pairs, then what it rests on."""
    for part in Part:
        rows = found.of(part)
        if rows:
            yield f"{part}: {summary(found, part)}"
            yield _table(found, rows)
            yield ""
    yield "asked of boards that are named, fitted and held out"
    for limit in limits(found):
        verdict = "holds" if limit.holds else "does not hold"
        asked = f"{limit.rows} rows within {limit.most:.0%}, the furthest {limit.worst:+.1%}"
        yield f"  {limit.what}: {asked}: {verdict}"
    yield ""
    yield "pairs: the speed of one kernel over that of another"
    yield _pairs(pairs)
    yield ""
    yield from rule(found)


def _table(found: Accuracy, rows: tuple[Row, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("gpu", "kernel", "mask"):
        table.add_column(name, no_wrap=name != "kernel", overflow="fold")
    numbers = ("head_dim", "length", "cycles*", "TFLOPS*", "spread*", "measured")
    for name in (*numbers, "error"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        item, (low, high) = row.measured, found.spread(row)
        mask = "causal" if item.causal else "full"
        cells = (f"{item.head_dim}", f"{item.length:,}", f"{row.launch.cycles:,.0f}")
        speed = (f"{found.modelled(row):,.0f}", f"{low:,.0f}-{high:,.0f}", f"{item.tflops:,.0f}")
        table.add_row(item.gpu, item.kernel, mask, *cells, *speed, f"{found.error(row):+.1%}")
    return table


def _pairs(pairs: tuple[Pair, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("what", "gpu"):
        table.add_column(name)
    for name in ("measured", "modelled*"):
        table.add_column(name, justify="right")
    for name in ("", "source"):
        table.add_column(name, overflow="fold")
    for pair in pairs:
        verdict = "right" if pair.sized else "right sign" if pair.ranked else "wrong"
        values = f"{pair.measured:.3f}", f"{pair.modelled:.3f}"
        table.add_row(pair.what, pair.gpu, *values, verdict, pair.source)
    return table
