"""The page on the virtual GPU: its kernel gives the output that it shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "vgpu.md"


def block(language: str) -> str:
    """Return the first block of the page in a language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


def output(code: str, folder: Path) -> str:
    """Return what a script prints, with its folder left out."""
    script = folder / "add_one.py"
    script.write_text(code)
    root = str(PAGE.parents[1])
    result = subprocess.run(
        [sys.executable, str(script)],
        # Triton remembers a compiled kernel by its text: one in another file would be found.
        env={**os.environ, "PYTHONPATH": root, "TRITON_CACHE_DIR": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.replace(f"{folder}/", "")


def test_the_broken_kernel_of_the_page(tmp_path: Path) -> None:
    assert output(block("python"), tmp_path) == block("text")


def test_the_command_line_of_the_page(tmp_path: Path) -> None:
    """The kernel is that of the page, with its launch in a function."""
    code = block("python")
    head, launch = code.split("x = torch.randn(", 1)
    launch = "x = torch.randn(" + launch.split("for policy in Policy")[0].rstrip()
    launch += "\nadd_one[(1,)](x_desc, y, 8, num_warps=4, enable_fp_fusion=False)\n"
    head = "".join(line for line in head.splitlines(True) if "flash4gen" not in line)
    body = "".join(f"    {line}" for line in launch.splitlines(True))
    (tmp_path / "add_one.py").write_text(f"{head}def main():\n{body}")
    shown = block("console").split("\n", 1)
    arguments = shown[0].removeprefix("$ flash4gen ").split()
    result = subprocess.run(
        [sys.executable, "-m", "flash4gen", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PAGE.parents[1]), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout.replace(f"{tmp_path}/", "") == shown[1]


def test_the_repair_that_the_page_names(tmp_path: Path) -> None:
    lines = block("python").split("\n")
    at = next(i for i, line in enumerate(lines) if "mbarrier.arrive" in line)
    lines[at : at + 2] = [lines[at + 1], lines[at]]
    printed = output("\n".join(lines), tmp_path)
    assert re.findall("right|WRONG|race", printed) == ["right"] * 4
