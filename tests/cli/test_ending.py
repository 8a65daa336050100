"""How a run can end early: a signal, a folder that cannot be written, a fault, a closed pipe.

Never with a traceback, and never with half of the output.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.cli.running import SPEC, command, contents, earlier_outputs, flash4gen, process
from tests.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.attn"
    path.write_text(SPEC)
    return path


@pytest.mark.parametrize(
    ("stage", "number"),
    [("schedule", signal.SIGINT), ("render", signal.SIGINT), ("render", signal.SIGTERM)],
)
def test_a_signal_in_the_middle_of_a_compile(
    stage: str, number: signal.Signals, small: Path, tmp_path: Path
) -> None:
    """The signal comes when a stage has ended: torch is being loaded, or Triton compiles."""
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    before = earlier_outputs(out)
    running = subprocess.Popen(
        command("compile", small, "--no-validate", "--emit", "ptx", "-o", out),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(scratch), "TRITON_CACHE_DIR": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith(stage):
            break
    # A terminal's Ctrl-C reaches the assembler as well, SIGTERM this process alone.
    (os.killpg if number == signal.SIGINT else os.kill)(running.pid, number)
    stdout, stderr = running.communicate(timeout=60)

    assert running.returncode == 128 + number
    assert stderr.splitlines()[-1] == "interrupted: nothing was written"
    assert "Traceback" not in stderr
    assert stdout == ""
    assert contents(out) == before
    assert list(scratch.iterdir()) == []


def unwritable(folder: Path) -> list[str]:
    """Forbid writing below a folder; return the command that makes root obey, too."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root can write anywhere, and there is no setpriv to prevent it")
    return ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", "--"]


def test_a_read_only_folder(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = earlier_outputs(out)
    prefix = unwritable(out)
    ended = process("compile", small, "--no-validate", "-o", out, prefix=prefix)
    assert ended.code == 1
    assert "error[F4G8" in ended.stderr
    assert f"cannot write {out}" in ended.stderr
    assert "permission denied" in ended.stderr.lower()
    assert "Traceback" not in ended.stderr
    assert contents(out) == before


def test_a_file_where_the_folder_should_be(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("a file\n")
    ended = flash4gen("compile", small, "--no-validate", "-o", out, "--format", "json")
    assert ended.code == 1
    assert [code[:4] for code in ended.codes] == ["F4G8"]
    assert out.read_text() == "a file\n"


def broken(_path: Path) -> NoReturn:
    raise ZeroDivisionError("1 / 0")


def test_a_fault_of_ours_names_its_stage(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flash4gen.driver.plan.analyse", broken)
    ended = flash4gen("check", small)
    assert ended.code == 1
    assert ended.stderr.startswith(
        "error: internal error in stage driver: ZeroDivisionError: 1 / 0"
    )
    assert "please report it" in ended.stderr
    assert "Traceback" not in ended.stderr

    document = flash4gen("check", small, "--format", "json").document
    assert not document["ok"]
    assert "ZeroDivisionError" in document["failure"]


def test_a_fault_inside_a_stage_of_the_driver(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flash4gen.driver.build.render", broken)
    ended = flash4gen("compile", small, "--no-validate")
    assert ended.code == 1
    assert "internal error in stage render of b200/small" in ended.stderr


def test_debug_shows_where_it_comes_from(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flash4gen.driver.plan.analyse", broken)
    assert "Traceback" in flash4gen("--debug", "check", small).stderr
    assert "Traceback" not in flash4gen("check", small).stderr


def test_a_reader_that_closes_the_pipe() -> None:
    """As in `flash4gen explain ... | head -1`."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        ended = subprocess.run(
            command("explain", "llama3_8b"),
            cwd=ROOT,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ended.returncode != 0
    assert ended.stderr == ""


def test_nothing_is_printed_after_the_end(small: Path, tmp_path: Path) -> None:
    """Triton's bindings complain when the interpreter is taken down; users do not see that."""
    ended = process("compile", small, "--no-validate", "-o", tmp_path / "out")
    assert ended.code == 0
    assert "leaked" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("compile")
    assert ended.stdout.splitlines()[-1].endswith("small.py (written)")


def test_what_cannot_be_written_is_named_by_its_own_name(small: Path, tmp_path: Path) -> None:
    """And not by that of the temporary file beside it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    spec = folder / "ugly.attn"
    spec.write_text("def f( x )=x\n")
    prefix = unwritable(folder)
    for arguments, file in (
        (("fmt", spec), spec),
        (("compile", small, "-o", folder / "out"), folder / "out" / "b200"),
        (("templates", "new", "concern", "mine", "--template-dir", folder / "t"), folder / "t"),
    ):
        ended = process(*arguments, prefix=prefix)
        assert ended.code == 1
        assert f"error[F4G801]: cannot write {file}" in ended.stderr
    assert spec.read_text() == "def f( x )=x\n"
