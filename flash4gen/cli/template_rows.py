"""What `flash4gen templates` finds and writes: rows, files, and what stands in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash4gen.diagnostics import Code, Diagnostic, Findings
from flash4gen.diagnostics.disk import not_written
from flash4gen.diagnostics.suggest import did_you_mean
from flash4gen.render.authoring import NoSuchTemplateError, starting_file
from flash4gen.render.contract import ENDING, read_contract, template_files
from flash4gen.resources import resource_dir

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table


def rows(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return a row for every template: name, what it exports, and the directory it is from."""
    return [
        {
            "name": name,
            "exports": _exports(file),
            "from": next((str(one) for one in folders if file.is_relative_to(one)), "shipped"),
            "path": str(file),
        }
        for name, file in sorted(_used(folders).items())
    ]


def table(found: Sequence[dict[str, Any]]) -> Table:
    """Return rows as a table."""
    from rich.table import Table

    made = Table("name", "macros or blocks", "from", box=None, pad_edge=False)
    for row in found:
        made.add_row(row["name"], ", ".join(row["exports"]), row["from"])
    return made


def _exports(file: Path) -> list[str]:
    from jinja2 import TemplateSyntaxError

    try:
        contract = read_contract(file.read_text(encoding="utf-8", errors="replace"))
    except TemplateSyntaxError as error:
        return [f"syntax error in line {error.lineno}"]
    return [*contract.macros, *contract.blocks]


def _used(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the file that each name means: the first that is found."""
    used: dict[str, Path] = {}
    for folder in (*folders, resource_dir("templates")):
        for file in template_files(folder):
            used.setdefault(_short(file.relative_to(folder).as_posix()), file)
    return used


def _short(name: str) -> str:
    return name.removeprefix("concern/").removesuffix(ENDING)


def found_at(name: str, folders: Sequence[Path]) -> list[Path]:
    """Return the files of a template, the one that is used first.

    Args:
        name: ``softmax/online`` or ``concern/softmax/online.py.j2``; ``builtin/...`` for the
            shipped one alone.
        folders: searched before the shipped one.
    """
    alone = name.startswith("builtin/")
    short = _short(name.removeprefix("builtin/"))
    searched = (() if alone else tuple(folders), (resource_dir("templates"),))
    return [
        file
        for folder in (*searched[0], *searched[1])
        for inside in (f"{short}{ENDING}", f"concern/{short}{ENDING}")
        if (file := folder / inside).is_file()
    ]


def unknown(name: str, folders: Sequence[Path]) -> Diagnostic:
    """Say that there is no template of a name."""
    findings = Findings()
    findings.error(
        Code.TEMPLATE_NAME,
        f"there is no template `{name}`",
        None,
        helps=did_you_mean(_short(name), _used(folders))
        or ["`flash4gen templates list` prints the names"],
    )
    return findings.in_order()[0]


def begin(kind: str, name: str, folder: Path) -> tuple[Path | None, tuple[Diagnostic, ...]]:
    """Write a starting file; None, and why, if there is nothing to begin from or it is there."""
    findings = Findings()
    try:
        template, text = starting_file(kind, name)
    except NoSuchTemplateError as error:
        findings.error(Code.TEMPLATE_NAME, str(error), None, helps=error.helps)
        return None, findings.in_order()
    file = folder / template
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError:
        findings.error(
            Code.CANNOT_WRITE, f"{file} is there already", None,
            notes=["nothing was changed"], helps=["move it away, or change it as it is"],
        )  # fmt: skip
        return None, findings.in_order()
    except OSError as error:
        return None, (not_written(error, "choose another folder with --template-dir"),)
    return file, ()
