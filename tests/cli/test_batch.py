"""`flash4gen compile FOLDER --jobs N`: the summary, the document, the exit code, the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from flash4gen.cli.board import Board
from flash4gen.driver.batch import Job, Outcome, Status
from flash4gen.driver.model import Event
from tests.cli.running import SPEC, flash4gen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two good specs, one below the other, and one with a mistake; no compile is really run."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "good.attn").write_text(SPEC)
    (tmp_path / "inner" / "also.attn").write_text(SPEC.replace("small", "also"))
    (tmp_path / "bad.attn").write_text(SPEC.replace("small", "bad").replace("= 4", "= 5"))

    def run_jobs(jobs: Sequence[Job], *_: object) -> tuple[Outcome, ...]:
        return tuple(Outcome(spec=job.spec, target=job.target, status=Status.FRESH) for job in jobs)

    monkeypatch.setattr("flash4gen.cli.batch.run_jobs", run_jobs)
    return tmp_path


def test_one_failure_leaves_the_others_and_ends_with_1(folder: Path) -> None:
    ended = flash4gen("compile", folder, "--jobs", "3", "--target", "a100")
    assert ended.code == 1
    assert ended.stdout == "0 compiled, 2 fresh, 1 failed\n"
    assert "error[F4G303]" in ended.stderr
    assert f"failed: {folder / 'bad.attn'}, as said above" in ended.stderr


def test_without_a_failure_it_ends_with_0(folder: Path) -> None:
    (folder / "bad.attn").unlink()
    ended = flash4gen("compile", folder)
    assert (ended.code, ended.stdout) == (0, "0 compiled, 2 fresh, 0 failed\n")


def test_the_document_has_every_job(folder: Path) -> None:
    ended = flash4gen("compile", folder, "--format", "json")
    assert ended.code == 1
    assert not ended.document["ok"]
    jobs = {(job["spec"], job["target"]): job["status"] for job in ended.document["jobs"]}
    assert jobs == {
        (str(folder / "bad.attn"), ""): "failed",
        (str(folder / "good.attn"), "b200"): "fresh",
        (str(folder / "inner" / "also.attn"), "b200"): "fresh",
    }
    assert ended.codes == ["F4G303"]


@pytest.mark.parametrize("command", ["check", "compile --check"])
def test_a_folder_means_all_specs_in_it(folder: Path, command: str) -> None:
    name, *more = command.split()
    ended = flash4gen(name, folder, *more)
    assert ended.code == 1
    assert "bad.attn" in ended.stderr


def test_a_number_of_jobs_is_at_least_one(folder: Path) -> None:
    assert flash4gen("compile", folder, "--jobs", "0").code == 2


def test_the_table_shows_what_runs_and_counts_what_is_done(tmp_path: Path) -> None:
    now = [0.0]
    board = Board(3, lambda: now[0])
    first, second = Job(tmp_path / "one.attn", "b200"), Job(tmp_path / "two.attn", "a100")
    for job in (first, second):
        event = Event(stage="compile", subject=job.subject, detail="", seconds=0.0, done=False)
        board.note(job, event)
    now[0] = 7.0
    outcome = Outcome(spec=second.spec, target=second.target, status=Status.FAILED)
    board.note(second, outcome)
    console = Console(width=80, record=True, file=None, quiet=False)
    with console.capture() as shown:
        console.print(board.table())
    text = shown.get()
    assert "one" in text
    assert "compile" in text
    assert "7" in text
    assert "two" not in text
    assert "1 of 3: 0 compiled, 0 fresh, 1 failed" in text


def test_a_narrow_table_still_says_whose_job_it_is(tmp_path: Path) -> None:
    board = Board(1, lambda: 0.0)
    job = Job(tmp_path / "gemma2_9b_local.attn", "rtx_pro_6000")
    detail = "26 cases, the worst (several tiles) uses 46 % of its error budget"
    board.note(job, Event(stage="validate", subject="", detail=detail, seconds=0.0, done=False))
    console = Console(width=60)
    with console.capture() as shown:
        console.print(board.table())
    assert "rtx_pro_6000  gemma2_9b_local  validate 26 cases" in shown.get()
