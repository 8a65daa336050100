"""The linter and the type checker, over everything that people read: also `generated/`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project import ROOT

FOLDERS = ("flash4gen", "tests", "benchmarks", "generated")


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check"),
        ("ruff", "format", "--check"),
        ("mypy", "--strict"),
    ],
    ids=" ".join,
)
def test_nothing_is_found(command: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *command, *FOLDERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
