"""The table of every shipped spec for every target: which compiles it lists, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.matrix import (
    PAGE,
    ROWS,
    Compiled,
    add_row,
    is_wanted,
    jobs,
    page,
    planned_text,
    read_rows,
)
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


def test_rows_come_back_as_they_were_and_replace_older_ones(tmp_path: Path) -> None:
    file = tmp_path / "matrix.csv"
    other = replace(ROW, target="l40s", text="0123", kernel="4567")
    add_row(replace(ROW, seconds=1.0), file)
    add_row(other, file)
    add_row(ROW, file)
    assert read_rows(file) == [ROW, other]
    assert read_rows(tmp_path / "none.csv") == []


def test_a_row_names_the_one_whose_kernel_it_shares(tmp_path: Path) -> None:
    file = tmp_path / "matrix.csv"
    own = replace(ROW, target="h100", kernel="4567")
    add_row(ROW, file)
    add_row(own, file)
    made = add_row(replace(own, target="h200", shared="?", seconds=0.5), file)
    assert made.shared == "h100"
    text = page(read_rows(file))
    assert "2 compiles" in text
    assert "1 rows share a kernel" in text
    assert "| llama3_8b | h200 | portable | 8 | as h100 | | it spills |" in text


def test_names_of_specs_and_targets_narrow_the_run() -> None:
    assert is_wanted("full", "a100", [])
    assert is_wanted("full", "a100", ["a100"])
    assert is_wanted("full", "a100", ["full", "encoder", "a100"])
    assert not is_wanted("full", "a100", ["full", "h100"])
    assert not is_wanted("full", "a100", ["encoder"])


@pytest.mark.slow
def test_everything_is_measured_of_the_modules_of_today() -> None:
    found = {(row.attention, row.target): row.text for row in read_rows()}
    assert found == {job[1:]: planned_text(*job) for job in jobs()}, "run `benchmarks.matrix`"


def test_the_page_tells_each_row_and_the_sums() -> None:
    refused = Compiled("llama3_8b", "llama3_8b", "b200", "", 0, 0, 47.5, 900, "F4G505: no")
    text = page([refused, ROW])
    assert "2 compiles, 1 minutes together, at most 900 MB; 0 rows share a kernel." in text
    assert "1 of 2 are without spills." in text
    first, second = text.splitlines()[-2:]
    assert first == "| llama3_8b | a100 | portable | 8 | 12.5 | 700 | it spills |"
    assert "| refused | 0 |" in second


def test_every_spill_has_a_reason_and_the_page_is_what_was_measured() -> None:
    if not ROWS.is_file():
        pytest.skip("run `python -m benchmarks.matrix`, then with --page")
    rows = read_rows()
    assert all(row.reason for row in rows if row.spills or not row.family)
    assert page(rows) == PAGE.read_text(encoding="utf-8")
