"""Which template directories a command uses: those of its options, then those of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        made: whether those that the project names must be there.
    """
    from flash4gen.driver.project import project_templates

    named, found = project_templates(made=made)
    if not succeeded(found):
        if output.json:
            output.document(found)
        output.diagnostics(found)
        output.end(ok=False)
    return tuple(dict.fromkeys((*(given or ()), *named)))
