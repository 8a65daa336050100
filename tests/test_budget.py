"""Sizes: what no longer fits on a screen or two is taken apart."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import pytest

from tests.project import TEMPLATES, modules, shown, tree

FILES = modules("flash4gen", "tests", "benchmarks")
FILE = 500
FUNCTION = 60
COMMAND = 120
TEMPLATE = 150
MEDIAN = (60, 200)


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_no_file_is_long(path: Path) -> None:
    assert lines(path) <= FILE


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_no_function_is_long(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            size = node.end_lineno - node.lineno + 1
            assert size <= FUNCTION, f"{shown(path)}:{node.lineno} {node.name}: {size} lines"


def test_most_files_are_neither_crumbs_nor_bricks() -> None:
    sizes = [lines(path) for path in modules("flash4gen") if path.name != "__init__.py"]
    assert MEDIAN[0] <= median(sizes) <= MEDIAN[1]


@pytest.mark.parametrize("path", modules("flash4gen/cli"), ids=shown)
def test_a_command_is_short(path: Path) -> None:
    shared = {"report.py", "output.py", "guard.py"}
    assert lines(path) <= COMMAND or path.name in shared


@pytest.mark.parametrize("path", sorted(TEMPLATES.rglob("*.j2")), ids=shown)
def test_no_template_is_long(path: Path) -> None:
    assert lines(path) <= TEMPLATE


def test_documents_that_introduce_are_short() -> None:
    assert lines(Path(__file__).parent.parent / "README.md") <= TEMPLATE
