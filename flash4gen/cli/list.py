"""`flash4gen list`: specs, models and targets that are shipped, and what works where."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flash4gen.cli import options, shipped, support
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output, print_rich

if TYPE_CHECKING:
    from collections.abc import Sequence


class Kind(StrEnum):
    """What can be listed."""

    SPECS = "specs"
    MODELS = "models"
    TARGETS = "targets"
    SUPPORT = "support"


def command(
    kind: Annotated[
        Kind,
        typer.Argument(
            metavar="specs|models|targets|support", show_default=False, help="What to list."
        ),
    ],
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """List what is shipped: example specs, models, or targets; or what works on which target."""
    output = Output(output_format)
    with guard(output):
        rows = _ROWS[kind]()
        if output.json:
            output.document((), **{kind: rows})
        elif kind is Kind.SUPPORT:
            from flash4gen.cli.support_page import print_support

            print_support(support.read_cells())
        else:
            _print(rows, _COLUMNS[kind])


_ROWS = {
    Kind.SPECS: shipped.specs,
    Kind.MODELS: shipped.models,
    Kind.TARGETS: shipped.targets,
    Kind.SUPPORT: support.rows,
}
_COLUMNS = {
    Kind.SPECS: ("name", "doc", "heads", "kv_heads", "head_dim", "target"),
    Kind.MODELS: ("name", "doc", "layers", "pattern"),
    Kind.TARGETS: ("name", "doc", "arch", "sms", "clock_mhz", "smem_per_block", "tmem_columns"),
}


def _print(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        numbers = all(isinstance(row[name], int) for row in rows)
        side: Literal["left", "right"] = "right" if numbers else "left"
        table.add_column(name, justify=side, overflow="fold", no_wrap=name == "name")
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in columns))
    print_rich(table)


def _cell(value: object) -> str:
    match value:
        case int():
            return f"{value:,}"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)
