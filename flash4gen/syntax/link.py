"""A file and the files that it uses: takes a parsed file, gives a tree of parsed files, findings.

A path stands for itself: it is looked up beside the file that names it and nowhere else, so that a
spec means the same whatever folder, machine or installation it is read from.
"""

from __future__ import annotations

import os.path
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.model import Diagnostic, Label
from flash4gen.source import SourceFile
from flash4gen.syntax.parser import ParseResult, parse
from flash4gen.syntax.read import read_source

if TYPE_CHECKING:
    from flash4gen.syntax import ast

MAX_DEPTH = 32
MAX_FILES = 1000

Reader = Callable[[Path], SourceFile | tuple[Diagnostic, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A parsed file and what it uses, in the order of the text.

    A file that is used from several places is one unit. What could not be read is left out, and
    ``complete`` is False then.
    """

    file: ast.File
    uses: tuple[tuple[ast.Use, Unit], ...]
    complete: bool


def link(parsed: ParseResult, read: Reader = read_source) -> tuple[Unit, tuple[Diagnostic, ...]]:
    """Read the files that a file uses, and those that they use.

    Returns:
        The file as a unit, and everything found in all of the files.
    """
    linker = _Linker(read)
    linker.findings.add(*parsed.diagnostics)
    name = parsed.file.source.name
    unit = linker.unit(parsed.file, [(_identity(Path(name)), None)])
    return unit, linker.findings.in_order()


class _Linker:
    """Reads each file once; keeps the way from the first file to the one that is being read."""

    def __init__(self, read: Reader) -> None:
        self.findings = Findings()
        self._read = read
        self._units: dict[str, Unit | None] = {}

    def unit(self, file: ast.File, way: list[tuple[str, ast.Use | None]]) -> Unit:
        uses: list[tuple[ast.Use, Unit]] = []
        seen: dict[str, ast.Use] = {}
        whole = True
        for use in file.uses:
            path = self._path(file, use)
            if path is None:
                whole = False
                continue
            identity = _identity(path)
            if first := seen.get(identity):
                self.findings.error(
                    Code.DUPLICATE,
                    f"{path} is used twice",
                    use.path.span,
                    also=(Label(first.path.span, "first here"),),
                )
                continue
            seen[identity] = use
            unit = self._used(path, identity, use, way)
            if unit is None:
                whole = False
            else:
                uses.append((use, unit))
        return Unit(file, tuple(uses), whole)

    def _path(self, file: ast.File, use: ast.Use) -> Path | None:
        """Return the path that a `use` means, or None after an error."""
        written = use.path.value
        if not written.strip():
            self.findings.error(Code.USE_PATH, "`use` names no file", use.path.span)
            return None
        if PurePosixPath(written).is_absolute() or PureWindowsPath(written).drive:
            self.findings.error(
                Code.USE_PATH,
                "`use` takes a path from the file that it stands in",
                use.path.span,
                notes=("an absolute path means something else on another machine",),
                helps=('write it as `use "masks.attn"` or `use "../shared/masks.attn"`',),
            )
            return None
        return Path(os.path.normpath(Path(file.source.name).parent / written))

    def _used(
        self, path: Path, identity: str, use: ast.Use, way: list[tuple[str, ast.Use | None]]
    ) -> Unit | None:
        on_way = [name for name, _ in way]
        if identity in on_way:
            self._cycle(path, use, way[on_way.index(identity) + 1 :])
            return None
        if identity not in self._units:
            if len(way) > MAX_DEPTH or len(self._units) >= MAX_FILES:
                self._too_many(use)
                return None
            self._units[identity] = self._parsed(path, use, [*way, (identity, use)])
        elif self._units[identity] is None:
            self._unreadable(path, use)
        return self._units[identity]

    def _parsed(
        self, path: Path, use: ast.Use, way: list[tuple[str, ast.Use | None]]
    ) -> Unit | None:
        source = self._read(path)
        if isinstance(source, tuple):
            self._refused(source, use)
            return None
        parsed = parse(source)
        self.findings.add(*parsed.diagnostics)
        return self.unit(parsed.file, way)

    def _refused(self, found: tuple[Diagnostic, ...], use: ast.Use) -> None:
        self.findings.add(*(replace(item, primary=Label(use.path.span)) for item in found))

    def _unreadable(self, path: Path, use: ast.Use) -> None:
        """Say again, at another `use`, why a file could not be read."""
        source = self._read(path)
        if isinstance(source, tuple):
            self._refused(source, use)

    def _cycle(self, path: Path, use: ast.Use, way: list[tuple[str, ast.Use | None]]) -> None:
        self.findings.error(
            Code.USE_CYCLE,
            f"{path} uses itself" + (" through other files" if way else ""),
            Label(use.path.span, "closes the circle"),
            also=tuple(Label(step.path.span, "used here") for _, step in way if step is not None),
            helps=("put what both need into a file of its own, and use that from both",),
        )

    def _too_many(self, use: ast.Use) -> None:
        self.findings.error(
            Code.USE_CYCLE,
            "too many files use each other",
            use.path.span,
            notes=(f"at most {MAX_FILES} files, {MAX_DEPTH} in a row",),
        )


def _identity(path: Path) -> str:
    """Return one spelling for all paths of a file."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)
