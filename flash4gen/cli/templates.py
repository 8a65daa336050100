"""`flash4gen templates`: what templates there are, where one comes from, and how one begins."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flash4gen.cli import options
from flash4gen.cli.guard import guard
from flash4gen.cli.output import Output, print_rich
from flash4gen.cli.template_dirs import template_dirs

if TYPE_CHECKING:
    from collections.abc import Sequence


class Action(StrEnum):
    """What can be done with templates, and how many names it takes."""

    LIST = "list"
    WHERE = "where"
    NEW = "new"
    CONTEXT = "context"


_NAMES = {Action.WHERE: ("NAME",), Action.NEW: ("KIND", "NAME")}
Dirs = Annotated[
    list[Path] | None,
    typer.Option(
        "--template-dir",
        metavar="DIR",
        file_okay=False,
        help="Templates that go before the shipped ones; `new` writes into the first.",
        show_default=False,
    ),
]


def command(
    action: Annotated[
        Action,
        typer.Argument(
            metavar="list | where NAME | new KIND NAME | context",
            show_default=False,
            help="List them; say which file is used; begin one; print what they can read.",
        ),
    ],
    names: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    template_dir: Dirs = None,
    output_format: options.OutputFormat = options.Format.TEXT,
) -> None:
    """List templates, find the one that is used, begin one of your own."""
    output = Output(output_format)
    given = tuple(names or ())
    wanted = _NAMES.get(action, ())
    if len(given) != len(wanted):
        raise typer.BadParameter(f"write `flash4gen templates {' '.join((action, *wanted))}`")
    folders = template_dirs(template_dir, output, made=action is not Action.NEW)
    if action is Action.NEW and not folders:
        raise typer.BadParameter(
            "where to? pass --template-dir DIR, or name a folder in pyproject.toml: "
            '[tool.flash4gen] templates = ["DIR"]'
        )
    with guard(output):
        if action is Action.CONTEXT:
            _context(output)
        elif action is Action.LIST:
            _list(folders, output)
        elif action is Action.WHERE:
            _where(given[0], folders, output)
        else:
            _new(given[0], given[1], folders, output)


def _context(output: Output) -> None:
    from flash4gen.render.reference import reference_page

    if output.json:
        output.document((), page=reference_page())
    output.line(reference_page().rstrip())


def _list(folders: Sequence[Path], output: Output) -> None:
    from flash4gen.cli.template_rows import rows, table

    found = rows(folders)
    if output.json:
        output.document((), templates=found)
    else:
        print_rich(table(found))


def _where(name: str, folders: Sequence[Path], output: Output) -> None:
    from flash4gen.cli.template_rows import found_at, unknown

    files = found_at(name, folders)
    problems: tuple[Any, ...] = () if files else (unknown(name, folders),)
    if output.json:
        output.document(problems, files=[str(file) for file in files])
    elif files:
        output.line(str(files[0]))
        for hidden in files[1:]:
            output.remark(f"instead of {hidden}")
    output.diagnostics(problems)
    output.end(ok=not problems)


def _new(kind: str, name: str, folders: Sequence[Path], output: Output) -> None:
    from flash4gen.cli.template_rows import begin

    file, problems = begin(kind, name, folders[0])
    if output.json:
        output.document(problems, file=str(file) if file else None)
    elif file:
        output.line(str(file))
    output.diagnostics(problems)
    output.end(ok=not problems)
