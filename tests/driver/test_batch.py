"""Many specs at once: what makes a job, what is skipped, and what a failure leaves alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import batch, run
from flash4gen.driver.batch import Job, Order, Outcome, Status, jobs_of, run_job
from flash4gen.driver.model import Event
from flash4gen.driver.pool import run_jobs, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

TINY = "attention {name} {{ dtype = fp16  heads = 2  head_dim = 32  {more} }}\n"


def write(folder: Path, **specs: str) -> list[Path]:
    """Write specs: a name and the fields that are not always the same."""
    paths = [folder / f"{name}.attn" for name in specs]
    for path, text in zip(paths, specs.values(), strict=True):
        plain = text.startswith(("def", "attention", "model", "use", "hardware"))
        path.write_text(text if plain else TINY.format(name=path.stem, more=text))
    return paths


def order(folder: Path, **changes: object) -> Order:
    return Order(**{"out": folder / "out", "validate": False} | changes)  # type: ignore[arg-type]


def silent(event: Event) -> None:
    del event


def quiet(job: Job, what: Event | Outcome | None) -> None:
    del job, what


def test_a_job_for_every_spec_and_target(tmp_path: Path) -> None:
    paths = write(tmp_path, a="target = a100, b200", b="target = h100", lib="def f() = true")
    jobs, failed = jobs_of(paths, ())
    assert [job.subject for job in jobs] == ["a100/a", "b200/a", "h100/b"]
    assert failed == ()
    assert [job.subject for job in jobs_of(paths[:2], ["a100"])[0]] == ["a100/a", "a100/b"]


def test_a_spec_with_a_mistake_is_an_outcome_and_no_job(tmp_path: Path) -> None:
    paths = write(
        tmp_path, a="heads = 3  target = a100", b="target = a100", c="scale = 1.0", gone="def f() ="
    )
    jobs, failed = jobs_of([*paths, tmp_path / "missing.attn"], ())
    assert [job.subject for job in jobs] == ["a100/b"]
    codes = [[str(item.code) for item in outcome.diagnostics] for outcome in failed]
    assert codes == [["F4G205"], ["F4G301"], ["F4G101"], ["F4G105"]]
    assert {outcome.status for outcome in failed} == {Status.FAILED}


def test_two_specs_of_one_name_are_told(tmp_path: Path) -> None:
    paths = write(tmp_path, a="target = a100", b=TINY.format(name="a", more="target = a100"))
    jobs, failed = jobs_of(paths, ())
    assert [job.subject for job in jobs] == ["a100/a"]
    assert "defined in two specs" in failed[0].diagnostics[0].message


def test_what_is_fresh_is_not_compiled_again(tmp_path: Path) -> None:
    (spec,) = write(tmp_path, a="target = a100")
    job = Job(spec, "a100")
    first = run_job(job, order(tmp_path), silent)
    assert (first.status, first.files) == (Status.COMPILED, (tmp_path / "out" / "a100" / "a.py",))
    assert run_job(job, order(tmp_path), silent).status is Status.FRESH
    assert run_job(job, order(tmp_path, force=True), silent).status is Status.COMPILED


def test_in_doubt_nothing_is_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = write(tmp_path, a="target = a100")
    module = tmp_path / "out" / "a100" / "a.py"
    made = run_job(Job(spec, "a100"), order(tmp_path), silent)
    assert made.status is Status.COMPILED

    def fresh(**changes: object) -> bool:
        return batch._is_fresh(Job(spec, "a100"), order(tmp_path, **changes))

    assert fresh()
    assert not fresh(validate=True)  # there is no certificate
    assert not fresh(emit=("ptx",))
    text = module.read_text()
    module.write_text(text + "# edited\n")
    assert not fresh()
    module.write_bytes(b"\xff")
    assert not fresh()
    module.write_text(text)
    assert fresh()
    spec.write_text(spec.read_text().replace("heads = 2", "heads = 4"))
    assert not fresh()

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(run, "check_fresh", broken)
    assert not fresh()


def test_a_fault_of_ours_is_an_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr(run, "compile_spec", broken)
    (spec,) = write(tmp_path, a="target = a100")
    outcome = run_job(Job(spec, "a100"), order(tmp_path), silent)
    assert (outcome.status, outcome.fault) == (Status.FAILED, "ZeroDivisionError: no such thing")


def pretend(job: Job, given: Order) -> Outcome:
    """Stand in for a compile, in a process of the pool."""
    event = Event(stage="compile", subject=job.subject, detail="", seconds=0.0, done=False)
    tell(job, event)
    marks = given.out / job.spec.stem
    given.out.mkdir(exist_ok=True)
    marks.write_text(marks.read_text() + "x" if marks.exists() else "x")
    if job.spec.stem == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(spec=job.spec, target=job.target, status=Status.COMPILED)


def statuses(outcomes: Sequence[Outcome]) -> dict[str, Status]:
    return {outcome.spec.stem: outcome.status for outcome in outcomes}


def test_a_process_that_dies_takes_no_other_job_with_it(tmp_path: Path) -> None:
    names = ["a", "killer", "b", "c", "d"]
    jobs = [Job(Path(f"{name}.attn"), "a100") for name in names]
    told: list[tuple[str, str]] = []

    def note(job: Job, what: Event | Outcome | None) -> None:
        if what is not None:
            told.append((job.spec.stem, type(what).__name__))

    outcomes = run_jobs(jobs, order(tmp_path), 2, note, pretend)
    assert [outcome.spec.stem for outcome in outcomes] == names
    assert statuses(outcomes) == dict.fromkeys(names, Status.COMPILED) | {"killer": Status.FAILED}
    assert "ended by the system" in outcomes[1].fault
    assert {name for name, kind in told if kind == "Outcome"} == set(names)
    assert ("a", "Event") in told


def sleeps(job: Job, order: Order) -> Outcome:
    """Begin a folder, say that this began, and take far too long, as does a process of its own."""
    del order
    begun = tempfile.mkdtemp()
    sleeper = subprocess.Popen(["sleep", "100"])
    detail = f"{begun} {sleeper.pid}"
    tell(job, Event(stage="x", subject=job.subject, detail=detail, seconds=0.0, done=False))
    sleeper.wait()
    return Outcome(spec=job.spec, target=job.target, status=Status.COMPILED)


def test_ctrl_c_ends_all_processes_at_once(tmp_path: Path) -> None:
    jobs = [Job(Path(f"{name}.attn"), "a100") for name in "abcd"]
    begun: list[str] = []

    def interrupt(job: Job, what: Event | Outcome | None) -> None:
        del job
        if isinstance(what, Event):
            begun.append(what.detail)
            raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_jobs(jobs, order(tmp_path), 2, interrupt, sleeps)
    assert time.monotonic() - start < 50
    assert multiprocessing.active_children() == []
    folder, pid = begun[0].split()
    assert not Path(folder).exists()
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"  # dead, and not yet buried


def test_no_jobs_are_no_work(tmp_path: Path) -> None:
    assert run_jobs([], order(tmp_path), 4, quiet) == ()


def test_real_compiles_in_processes_of_their_own(tmp_path: Path) -> None:
    paths = write(tmp_path, a="target = a100", b="target = a100", c="target = b20")
    jobs, failed = jobs_of(paths, ())
    assert statuses(failed) == {"c": Status.FAILED}
    outcomes = run_jobs(jobs, order(tmp_path), 2, quiet)
    assert statuses(outcomes) == {"a": Status.COMPILED, "b": Status.COMPILED}
    assert sorted(path.name for path in (tmp_path / "out" / "a100").iterdir()) == ["a.py", "b.py"]
    assert {one.status for one in run_jobs(jobs, order(tmp_path), 2, quiet)} == {Status.FRESH}
