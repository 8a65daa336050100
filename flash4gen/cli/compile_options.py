"""Options of `flash4gen compile` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EMITTED = ("ttgir", "ptx", "sass", "cubin", "amdgcn", "hsaco")


def _emit_kinds(value: str) -> str:
    for kind in split(value):
        if kind not in EMITTED:
            raise typer.BadParameter(f"{kind!r} is not one of {', '.join(EMITTED)}")
    return value


def split(value: str) -> tuple[str, ...]:
    """Return the kinds of a list with commas."""
    return tuple(kind.strip() for kind in value.split(",")) if value else ()


Check = Annotated[
    bool, typer.Option("--check", help="Write nothing; say which modules are missing or stale.")
]
Emit = Annotated[
    str,
    typer.Option(
        metavar="KINDS",
        help="Write those of these that a target has beside the modules: "
        + ",".join(EMITTED)
        + ".",
        callback=_emit_kinds,
        show_default=False,
    ),
]
NoValidate = Annotated[bool, typer.Option("--no-validate", help="Do not prove the modules.")]
Search = Annotated[
    bool,
    typer.Option(
        "--search", help="Run the best dozen of schedules on the modelled clock; take the fastest."
    ),
]
Mutate = Annotated[
    bool,
    typer.Option("--mutate", help="Break every synchronisation; each must be found out."),
]
TemplateDirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--template-dir",
        metavar="DIR",
        exists=True,
        file_okay=False,
        help="Templates that go before the shipped ones; may be repeated. Templates are code.",
        show_default=False,
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "-j",
        "--jobs",
        min=1,
        metavar="N",
        help="Compile in N processes, a spec for a target each; skip what is fresh; go on after "
        "a failure. A folder as SPEC does the same in one.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Compile what is fresh, too.")]
