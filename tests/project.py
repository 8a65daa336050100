"""The project's own files, as the tests about the project see them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "flash4gen"
GENERATED = ROOT / "generated"
TEMPLATES = ROOT / "templates"


def modules(*folders: str) -> list[Path]:
    """Return the Python files of some folders of the project, by path."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def shown(path: Path) -> str:
    """Return a path as the project spells it."""
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))
