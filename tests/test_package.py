"""The wheel: it carries templates and specs, and works where no checkout is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.project import GENERATED, ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel, built offline with what is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "-w", str(folder), str(ROOT)]
    subprocess.run(command, check=True, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


def test_it_carries_what_the_code_reads(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    data = {
        f"flash4gen/_{kind}/{path.relative_to(ROOT / kind).as_posix()}"
        for kind, ending in (("templates", "*.j2"), ("specs", "*.attn"))
        for path in (ROOT / kind).rglob(ending)
    }
    data |= {f"flash4gen/_errors/{path.name}" for path in (ROOT / "docs" / "errors").iterdir()}
    code = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "flash4gen").rglob("*")
        if path.suffix in {".py", ".lark", ".attn", ".css", ".csv", ".j2", ".json", ".typed"}
    }
    assert data | code <= names
    assert not any(name.startswith(("tests/", "generated/", "benchmarks/")) for name in names)


def test_installed_it_compiles_a_shipped_spec_to_the_same_bytes(
    wheel: Path, tmp_path: Path
) -> None:
    """From the wheel, in a folder far from the checkout, by the name of the spec."""
    installed = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    script = (
        f"import sys; sys.path.insert(0, {str(installed)!r})\n"
        "import flash4gen; print(flash4gen.__file__)\n"
        "from flash4gen.cli.app import run\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    options = ["--target", "rtx5090", "--no-validate", "-o", "made"]
    ended = subprocess.run(
        [sys.executable, "-I", "-c", script, "compile", "llama3_8b", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(str(installed))
    made = (tmp_path / "made" / "rtx5090" / "llama3_8b.py").read_bytes()
    assert made == (GENERATED / "rtx5090" / "llama3_8b.py").read_bytes()
