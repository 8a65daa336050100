"""Tables of plain text: a title, two aligned columns, and a remark that is wrapped."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

WIDTH = 100
"""Columns of a line."""

LEAST_REMARK = 30
"""Columns that a remark gets at least."""

Row = tuple[str, str, str]
"""A line of a table: name, value, remark."""


def table(title: str, rows: Iterable[Row]) -> str:
    """Return a titled table of two aligned columns and a remark, which is wrapped."""
    cells = list(rows)
    first = max((len(row[0]) for row in cells), default=0)
    second = max((len(row[1]) for row in cells), default=0)
    lines = [title]
    for name, value, remark in cells:
        start = f"  {name:<{first}}  {value:>{second}}"
        room = max(LEAST_REMARK, WIDTH - len(start) - 2)
        wrapped = textwrap.wrap(remark, room) or [""]
        lines.append(f"{start}  {wrapped[0]}".rstrip())
        lines.extend(" " * (len(start) + 2) + more for more in wrapped[1:])
    return "\n".join(lines)


def listing(title: str, items: Iterable[tuple[str, str]]) -> str:
    """Return a titled list of long names, each with a remark below it."""
    lines = [title]
    for name, remark in items:
        lines.extend(textwrap.wrap(name, WIDTH, initial_indent="  ", subsequent_indent="    "))
        lines.extend(
            textwrap.wrap(remark, WIDTH - 6, initial_indent=INDENT, subsequent_indent=INDENT)
        )
    return "\n".join(lines)


INDENT = " " * 6
