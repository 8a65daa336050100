"""Arguments and options that several commands take, each described once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable


class Format(StrEnum):
    """What a command prints: text for people, or one JSON document."""

    TEXT = "text"
    JSON = "json"


Specs = Annotated[
    list[str],
    typer.Argument(
        metavar="SPEC...",
        help="Files, folders with all specs in them, or names of shipped specs.",
        show_default=False,
    ),
]


def _each_once(names: list[str] | None) -> list[str] | None:
    return names and list(dict.fromkeys(names))


Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Target; may be repeated. Those that the spec names if left out.",
        callback=_each_once,
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option("-o", "--out", metavar="DIR", help="Folder of the generated modules.")
]
OUT = Path("generated")
MAX_NAME = 255
"""Bytes of the name of a file that a disk can hold; asking for a longer one is an error."""
OutputFormat = Annotated[
    Format, typer.Option("--format", help="Text for people, or one JSON document on stdout.")
]


def spec_files(specs: Iterable[str]) -> list[Path]:
    """Return the files that SPEC arguments mean, each once; a folder means all specs in it."""
    found: dict[Path, None] = {}
    for spec in specs:
        path = spec_path(spec)
        found.update(dict.fromkeys(_inside(path) if spec else [path]))
    return list(found)


def _inside(path: Path) -> list[Path]:
    """Return the specs in a folder; what is none, or has none, as it is: reading says why."""
    try:
        return sorted(path.rglob("*.attn")) or [path] if path.is_dir() else [path]
    except OSError:
        return [path]


def spec_path(spec: str) -> Path:
    """Return the file that a SPEC argument means: a path, else the shipped spec of that name.

    What is neither is taken for a path, so that reading it says what is wrong.
    """
    path = Path(spec)
    if not spec or "." in spec or "/" in spec or len(spec) > MAX_NAME or path.exists():
        return path
    from flash4gen.ir import library

    if spec not in (*library.spec_names(), *library.model_names()):
        return path
    shipped = library.spec_path(spec)
    here = Path.cwd()
    return shipped.relative_to(here) if shipped.is_relative_to(here) else shipped
