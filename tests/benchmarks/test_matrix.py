"""The table of every shipped spec for every target: which compiles it lists, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.matrix import PAGE, ROWS, Compiled, append_row, jobs, page, read_rows
from flash4gen.ir import library

if TYPE_CHECKING:
    from pathlib import Path

ROW = Compiled("llama3_8b", "llama3_8b", "a100", "portable", 8, 2, 12.5, 700, "it spills")


def test_every_shipped_attention_is_compiled_for_every_target_once() -> None:
    listed = list(jobs())
    assert len({job[1:] for job in listed}) == len(listed)
    names = {attention for _, attention, _ in listed}
    assert {"llama3_8b", "t5_encoder", "mimo_v2_flash_local", "gpt_oss_full_sinks"} <= names
    assert len(listed) == len(names) * len(library.target_names())


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "matrix.csv"
    append_row(ROW, file)
    append_row(ROW, file)
    assert read_rows(file) == [ROW, ROW]
    assert read_rows(tmp_path / "none.csv") == []


def test_the_page_tells_each_row_and_the_sums() -> None:
    refused = Compiled("llama3_8b", "llama3_8b", "b200", "", 0, 0, 47.5, 900, "F4G505: no")
    text = page([refused, ROW])
    assert "2 compiles, 1 minutes together, at most 900 MB. 1 are without spills." in text
    first, second = text.splitlines()[-2:]
    assert first == "| llama3_8b | a100 | portable | 8 | 12.5 | 700 | it spills |"
    assert "| refused | 0 |" in second


def test_every_spill_has_a_reason_and_the_page_is_what_was_measured() -> None:
    if not ROWS.is_file():
        pytest.skip("run `python -m benchmarks.matrix`, then with --page")
    rows = read_rows()
    assert all(row.reason for row in rows if row.spills or not row.family)
    assert page(rows) == PAGE.read_text(encoding="utf-8")
