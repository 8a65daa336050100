"""How it looks: the report, progress, colour only where a terminal shows it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flash4gen.build.artefact import Artefact, Facts
from flash4gen.cli.options import Format
from flash4gen.cli.output import Output, colored, lively
from flash4gen.cli.progress import shown_progress, stage_line
from flash4gen.cli.report import report
from flash4gen.driver import CompileResult, Event, ModuleResult, check_spec, plan_spec
from flash4gen.render.module import RenderedModule
from flash4gen.render.provenance import Provenance
from flash4gen.validate.certificate import Certificate, Rung, Status
from tests.cli.running import SPEC, command
from tests.project import ROOT

if TYPE_CHECKING:
    from tests.golden_files import Golden

FACTS = Facts(
    registers=168,
    spill_bytes=0,
    smem_bytes=65_600,
    tmem_columns=256,
    threads=128,
    tensor_instructions=(("UTCHMMA", 56),),
    instructions=2_968,
    spill_stores=0,
    spill_loads=0,
    loop_spills=0,
)
ARTEFACT = Artefact(
    kernel="_forward_kernel", target="b200", ttgir="", ptx="", sass="", cubin=b"", facts=FACTS
)
RUNGS = (
    Rung("text", Status.PASSED, "renders to the same bytes; parses, lints, type-checks"),
    Rung("compile", Status.PASSED, "168 registers, no spills"),
    Rung("function", Status.FAILED, "1 of 40 cases failed: " + "this summary is long " * 5),
    Rung("device", Status.NOT_RUN, "not run: there is no GPU here"),
)
EVENT = Event(stage="compile", subject="b200/small", detail="168 registers", seconds=2.5, done=True)


@pytest.fixture
def result(tmp_path: Path) -> CompileResult:
    """Return what the compile of one small spec came to, but for its schedule made up."""
    path = tmp_path / "small.attn"
    path.write_text(SPEC)
    (plan,), _ = plan_spec(check_spec(path))
    origin = Provenance(
        version="1", spec_name="small.attn", spec="a", target="b", schedule="c", templates="d"
    )
    certificate = Certificate(
        name="small", target="b200", versions={}, provenance={}, schedule={}, facts={}, rungs=RUNGS
    )
    module = ModuleResult(
        plan=plan,
        rendered=RenderedModule(name="small", target="b200", text="", provenance=origin),
        path=Path("generated/b200/small.py"),
        changed=True,
        artefact=ARTEFACT,
        certificate=certificate,
    )
    return CompileResult((module,), ())


def test_the_report(
    result: CompileResult,
    capsys: pytest.CaptureFixture[str],
    golden: Golden,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    report([result], Output(Format.TEXT), ("ptx",))
    printed = capsys.readouterr().out
    schedule = next(line for line in printed.splitlines() if "schedule" in line)
    assert schedule.startswith("  schedule   portable: ")
    golden("report.txt", printed.replace(schedule, "  schedule   (one line)"))


def test_the_report_is_plain_where_nobody_sees_colours(
    result: CompileResult, capsys: pytest.CaptureFixture[str]
) -> None:
    report([result], Output(Format.TEXT), ())
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert not any(line.endswith(" ") for line in printed.splitlines())


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("env", "is_lively", "is_colored"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(
    env: dict[str, str], is_lively: bool, is_colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert (lively(Screen()), colored(Screen())) == (is_lively, is_colored)
    assert not lively(io.StringIO())
    assert not colored(io.StringIO())


def test_progress_is_a_line_per_finished_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert stage_line(EVENT) == "compile   b200/small: 168 registers (2.5 s)"
    with shown_progress(Output(Format.TEXT)) as progress:
        assert progress is not None
        progress(Event(stage="compile", subject="b200/small", detail="", seconds=0.0, done=False))
        progress(EVENT)
    captured = capsys.readouterr()
    assert captured.err == f"{stage_line(EVENT)}\n"
    assert captured.out == ""


def test_programs_get_no_progress() -> None:
    with shown_progress(Output(Format.JSON)) as progress:
        assert progress is None


def test_on_a_terminal_a_spinner_turns_and_leaves_the_cursor_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", screen)
    with shown_progress(Output(Format.TEXT)) as progress:
        assert progress is not None
        progress(EVENT)
    written = screen.getvalue()
    assert stage_line(EVENT) in written
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert written.rfind(show) > written.rfind(hide) >= 0


def on_terminal(*arguments: str, **env: str) -> str:
    """Return what a command writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env={**os.environ, **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        check=False,
    )
    os.close(theirs)
    return os.read(ours, 100_000).decode()


def test_diagnostics_on_a_terminal() -> None:
    plain = "error[F4G105]: cannot read none.attn: no such file or directory\r\n\r\n1 error\r\n"
    assert on_terminal("check", "none.attn", TERM="dumb") == plain
    assert on_terminal("check", "none.attn", TERM="xterm", NO_COLOR="1") == plain
    assert on_terminal("check", "none.attn", TERM="xterm", NO_COLOR="").startswith(
        "\x1b[1;31merror"
    )


def test_a_terminal_without_our_letters_gets_its_report() -> None:
    ended = subprocess.run(
        command("explain", "llama3_8b"),
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert b"?" in ended.stdout
