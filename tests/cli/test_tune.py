"""`flash4gen tune` and `flash4gen bench model`: what they print, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.running import SPEC as PORTABLE
from tests.cli.running import flash4gen

if TYPE_CHECKING:
    from pathlib import Path

SPEC = """\
attention narrow {
    dtype    = bf16
    heads    = 8
    head_dim = 64
    target   = b200
    schedule { plan = disjoint  ctas = 1  early = 96  emulated = 16 }
}
"""


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    file = tmp_path / "narrow.attn"
    file.write_text(SPEC, encoding="utf-8")
    return file


def test_tune_prints_a_block_and_progress_apart(narrow: Path) -> None:
    ended = flash4gen("tune", narrow, "--budget", "2s")
    assert ended.code == 0, ended.stderr
    assert "schedule {" in ended.stdout
    assert "modelled, not measured" in ended.stdout
    assert "plan = disjoint" in ended.stdout
    assert "best" in ended.stderr
    assert "best" not in ended.stdout.splitlines()[0]


def test_a_portable_schedule_has_nothing_to_tune(tmp_path: Path) -> None:
    file = tmp_path / "small.attn"
    file.write_text(PORTABLE, encoding="utf-8")
    ended = flash4gen("tune", file, "--budget", "2s")
    assert ended.code == 0
    assert "portable family" in ended.stderr
    assert "schedule {" not in ended.stdout


def test_amd_has_no_model_of_time(tmp_path: Path) -> None:
    file = tmp_path / "small.attn"
    file.write_text(PORTABLE, encoding="utf-8")
    tuned = flash4gen("tune", file, "--target", "mi355x", "--budget", "2s")
    assert tuned.code == 0
    assert "there is no model of time for AMD" in tuned.stderr
    simulated = flash4gen("simulate", file, "--target", "mi300x", "--format", "json")
    assert (simulated.code, simulated.codes) == (1, ["F4G703"])
    (found,) = simulated.document["diagnostics"]
    assert "there is no model of time for AMD" in found["notes"][0]


def test_a_budget_is_a_time(narrow: Path) -> None:
    assert flash4gen("tune", narrow, "--budget", "soon").code == 2


def test_bench_shows_every_number_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    ended = flash4gen("bench", "model", "--seeds", "1")
    assert ended.code == 0
    assert "fa4_abl_qstage1" in ended.stdout
    assert "…" not in ended.stdout


def test_bench_as_json_says_what_a_row_is_for() -> None:
    document = flash4gen("bench", "model", "--seeds", "1", "--format", "json").document
    assert 0.9 < document["factor"] < 1
    assert {"fitted", "held out", "ablation", "inferred"} <= {
        row["part"] for row in document["rows"]
    }
    assert all(row["modelled_cycles"] > 0 for row in document["rows"])
    assert all(pair["ranked"] for pair in document["pairs"])
