"""The table of real models: which kinds of layers it lists, and what is said of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.matrix import append_row
from benchmarks.models import PAGE, ROWS, TARGETS, Proven, jobs, page, read_rows
from flash4gen.ir import library
from flash4gen.validate.certificate import REQUIRED

if TYPE_CHECKING:
    from pathlib import Path

ROW = Proven("qwen3_8b", "qwen3_8b_causal", "h100", "portable", "text schedule", "compile: no", 9.5)


def test_every_model_is_proven_for_three_targets() -> None:
    listed = list(jobs())
    for name in library.model_names():
        assert {target for model, _, target in listed if model == name} == set(TARGETS)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "models.csv"
    append_row(ROW, file)
    assert read_rows(file) == [ROW]
    assert read_rows(tmp_path / "none.csv") == []


def test_the_page_tells_each_row() -> None:
    text = page([ROW])
    assert "| qwen3_8b | qwen3_8b_causal | h100 | portable | text schedule | compile: no |" in text


def test_what_is_recorded_passed_and_the_page_is_that() -> None:
    if not ROWS.is_file():
        pytest.skip("run `python -m benchmarks.models`, then with --page")
    rows = read_rows()
    assert all(set(REQUIRED) <= set(row.passed.split()) for row in rows if row.family)
    assert page(rows) == PAGE.read_text(encoding="utf-8")
