"""Which template directories a command uses: those of its options, then those of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from flash4gen.cli.output import succeeded

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from flash4gen.cli.output import Output


def template_dirs(
    given: Iterable[Path] | None, output: Output, *, made: bool = True
) -> tuple[Path, ...]:
    """Return the directories, first come first; end the command if settings cannot be used.

    Args:
        given: those of the options.
        output: of the command.
        made: whether they must be there, those that the project names among them.
    """
    from flash4gen.driver.project import project_templates

    given = tuple(given or ())
    if made and (missing := [folder for folder in given if not folder.is_dir()]):
        raise typer.BadParameter(f"--template-dir: there is no folder {missing[0]}")
    named, found = project_templates(made=made)
    if not succeeded(found):
        if output.json:
            output.document(found)
        output.diagnostics(found)
        output.end(ok=False)
    return tuple(dict.fromkeys((*given, *named)))
