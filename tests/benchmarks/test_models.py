"""The table of real models: which kinds of layers it lists, and what is said of each."""

from __future__ import annotations

import pytest

from benchmarks.matrix import planned_text
from benchmarks.models import PAGE, ROWS, TARGETS, Proven, jobs, page, read_rows
from flash4gen.ir import library
from flash4gen.validate.certificate import REQUIRED

ROW = Proven("qwen3_8b", "qwen3_8b_causal", "h100", "portable", "text schedule", "compile: no", 9.5)


def test_every_model_is_proven_for_three_targets() -> None:
    listed = list(jobs())
    for name in library.model_names():
        assert {target for model, _, target in listed if model == name} == set(TARGETS)


@pytest.mark.slow
def test_everything_is_proven_of_the_modules_of_today() -> None:
    found = {(row.attention, row.target): row.text for row in read_rows()}
    assert found == {job[1:]: planned_text(*job) for job in jobs()}, "run `benchmarks.models`"


def test_the_page_tells_each_row() -> None:
    text = page([ROW])
    assert "| qwen3_8b | qwen3_8b_causal | h100 | portable | text schedule | compile: no |" in text


def test_what_is_recorded_passed_and_the_page_is_that() -> None:
    if not ROWS.is_file():
        pytest.skip("run `python -m benchmarks.models`, then with --page")
    rows = read_rows()
    assert all(set(REQUIRED) <= set(row.passed.split()) for row in rows if row.family)
    assert page(rows) == PAGE.read_text(encoding="utf-8")
