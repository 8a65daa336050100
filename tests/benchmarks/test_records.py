"""Records come back as they were written; what an older one lacks has its default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.records import read_record, write_record

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Row:
    name: str
    seconds: float
    count: int = 3


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "record.csv"
    rows = [Row("a, b", 1.5), Row('of "many"\nlines', 0.0, 7)]
    write_record(Row, rows, file)
    assert read_record(Row, file) == rows
    write_record(Row, rows[:1], file)
    assert read_record(Row, file) == rows[:1]
    assert [path.name for path in tmp_path.iterdir()] == ["record.csv"]


def test_there_may_be_no_record_and_no_column(tmp_path: Path) -> None:
    file = tmp_path / "record.csv"
    assert read_record(Row, file) == []
    file.write_text("name,seconds\nold,2\n", encoding="utf-8")
    assert read_record(Row, file) == [Row("old", 2.0)]
