"""The settings of a user's project: ``[tool.flash4gen]`` in its ``pyproject.toml``.

Looked for from a folder upwards; the nearest file with that table counts. Paths in it are relative
to the file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.source import SourceFile, Span

if TYPE_CHECKING:
    from flash4gen.diagnostics.model import Diagnostic

NAME = "pyproject.toml"
KEY = "flash4gen"
TABLE = f"tool.{KEY}"
KNOWN = ("templates",)
"""Keys of the table."""


def project_templates(
    start: Path | None = None, *, made: bool = True
) -> tuple[tuple[Path, ...], tuple[Diagnostic, ...]]:
    """Return the template directories that a project names, and what is wrong with its settings.

    Args:
        start: where to begin to look; the current folder if left out.
        made: whether the directories must be there.
    """
    findings = Findings()
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / NAME
        source = _read(file) if file.is_file() else None
        settings = _settings(source, findings) if source and KEY in source.text else None
        if source and (settings is not None or findings.errors):
            folders = _templates(settings or {}, source, findings)
            if made:
                _check_folders(folders, file, source, findings)
            return tuple(_shown(file.parent / one) for one in folders), findings.in_order()
    return (), ()


def _read(file: Path) -> SourceFile | None:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return SourceFile(str(_shown(file)), text)


def _shown(path: Path) -> Path:
    """Return a path as seen from the current folder, where it lies below that."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _settings(source: SourceFile, findings: Findings) -> dict[str, object] | None:
    """Return the table of a file that names it; None where it has none, or after an error."""
    try:
        tool = tomllib.loads(source.text).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        if TABLE in source.text:
            findings.error(Code.BAD_PROJECT, f"this is not TOML: {error}", source.span(0, 1))
        return None
    settings = tool.get(KEY) if isinstance(tool, dict) else tool
    if settings is not None and not isinstance(settings, dict):
        message, place = "`tool.flash4gen` is a table", _place(source, "")
        findings.error(Code.BAD_PROJECT, message, place, helps=["write `[tool.flash4gen]`"])
        return None
    return settings


def _templates(
    settings: dict[str, object], source: SourceFile, findings: Findings
) -> tuple[str, ...]:
    for key in settings:
        if key not in KNOWN:
            findings.error(
                Code.BAD_PROJECT,
                f"[tool.flash4gen] has no setting `{key}`",
                _place(source, key),
                helps=did_you_mean(key, KNOWN) or [f"there is {one_of(KNOWN)}"],
            )
    named = settings.get("templates", [])
    if not isinstance(named, list) or not all(isinstance(one, str) for one in named):
        findings.error(
            Code.BAD_PROJECT,
            "`templates` is a list of folders",
            _place(source, "templates"),
            helps=['for example `templates = ["my_templates"]`'],
        )
        return ()
    return tuple(named)


def _check_folders(
    folders: tuple[str, ...], file: Path, source: SourceFile, findings: Findings
) -> None:
    for one in folders:
        if not (file.parent / one).is_dir():
            findings.error(
                Code.BAD_PROJECT,
                f"there is no folder `{one}`",
                _place(source, one),
                notes=["paths are relative to the folder of this file"],
                helps=["`flash4gen templates new` makes one; or take it out of the list"],
            )


def _place(source: SourceFile, word: str) -> Span:
    """Return where a word stands first in the table; the table where it is written otherwise."""
    name = TABLE if TABLE in source.text else KEY
    table = source.text.index(name)
    end = table + len(name)
    start = source.text.find(word, end) if word else -1
    return source.span(start, start + len(word)) if start >= 0 else source.span(table, end)
