"""Records of long measurements: a CSV file with a row for each, written again after every row."""

from __future__ import annotations

import csv
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from _typeshed import DataclassInstance

RowT = TypeVar("RowT", bound="DataclassInstance")


def read_record(kind: type[RowT], path: Path) -> list[RowT]:
    """Return the rows of a record, none if there is no file.

    Args:
        kind: a dataclass of strings and numbers; a column that the file lacks has its default.
        path: of the file.
    """
    if not path.is_file():
        return []
    types: dict[str, Any] = get_type_hints(kind)
    with path.open(newline="", encoding="utf-8") as file:
        return [
            kind(**{name: types[name](value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]


def write_record(kind: type[RowT], rows: Iterable[RowT], path: Path) -> None:
    """Write a record whole, or leave the one that is there."""
    new = path.with_name(f".{path.name}.new")
    with new.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(kind)])
        writer.writerows(map(astuple, rows))
    new.replace(path)
