"""`flash4gen bench model`: published measurements beside what the model of time says of them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output, print_rich

if TYPE_CHECKING:
    from flash4gen.schedule.blackwell.accuracy import Accuracy, Row
    from flash4gen.schedule.blackwell.pairs import Pair


class What(StrEnum):
    """What can be benchmarked without the GPU."""

    MODEL = "model"


def command(
    what: Annotated[
        What, typer.Argument(metavar="model", show_default=False, help="What to judge.")
    ],
    seeds: Annotated[
        int, typer.Option(min=1, max=100, help="Runs of each kernel, latencies off by up to 20 %.")
    ] = 5,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """Compare the model of time with published measurements of FlashAttention-4."""
    del what  # there is one so far
    output = Output(output_format)
    with guard(output):
        from flash4gen.cli.bench_report import report
        from flash4gen.schedule.blackwell.accuracy import accuracy
        from flash4gen.schedule.blackwell.pairs import ablations, mean_pairs, ratios

        runs = tuple(range(seeds))
        found = accuracy(runs)
        single = ablations(found)
        pairs = (*mean_pairs(single), *single, *ratios(runs))
        if output.json:
            output.document((), **_document(found, pairs))
        else:
            for part in report(found, pairs):
                print_rich(part)


def _document(found: Accuracy, pairs: tuple[Pair, ...]) -> dict[str, Any]:
    return {
        "factor": found.factor,
        "rows": [_numbers(found, row) for row in found.rows],
        "pairs": [
            {
                "what": pair.what,
                "gpu": pair.gpu,
                "measured": pair.measured,
                "modelled": pair.modelled,
                "ranked": pair.ranked,
                "source": pair.source,
            }
            for pair in pairs
        ],
    }


def _numbers(found: Accuracy, row: Row) -> dict[str, Any]:
    item = row.measured
    return {
        "gpu": item.gpu,
        "kernel": item.kernel,
        "head_dim": item.head_dim,
        "causal": item.causal,
        "length": item.length,
        "part": row.part,
        "modelled_cycles": row.launch.cycles,
        "modelled_tflops": found.modelled(row),
        "modelled_spread": found.spread(row),
        "measured_tflops": item.tflops,
        "error": found.error(row),
        "source": item.source,
    }
