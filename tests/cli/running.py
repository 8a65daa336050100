"""Running the command line in tests: in this process, or as a user does, in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flash4gen.cli.app import run
from tests.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SPEC = """\
attention small {
    dtype    = bf16
    heads    = 4
    kv_heads = 2
    head_dim = 64
    mask     = causal(align = end)
    target   = b200
    schedule { family = portable }
}
"""


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """The JSON document on stdout: one, and nothing else."""
        return json.loads(self.stdout)

    @property
    def codes(self) -> list[str]:
        """Codes of the diagnostics in the document."""
        return [item["code"] for item in self.document["diagnostics"]]


def flash4gen(*arguments: object) -> Ended:
    """Run a command in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = run([str(argument) for argument in arguments])
    return Ended(code, stdout.getvalue(), stderr.getvalue())


def command(*arguments: object) -> list[str]:
    """Return the command line of a process of its own."""
    return [sys.executable, "-m", "flash4gen", *map(str, arguments)]


def process(
    *arguments: object,
    prefix: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command as a user does; ``prefix`` runs it with another one, such as ``setpriv``."""
    ended = subprocess.run(
        [*prefix, *command(*arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def earlier_outputs(folder: Path, name: str = "small", target: str = "b200") -> dict[str, bytes]:
    """Put files where a compile of ``name`` would write, and return them."""
    (folder / target).mkdir(parents=True, exist_ok=True)
    for ending in (".py", ".certificate.json", ".ptx"):
        (folder / target / f"{name}{ending}").write_text(f"an earlier {ending}\n")
    return contents(folder)
