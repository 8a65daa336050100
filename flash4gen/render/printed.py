"""What templates of users printed, where Python or Triton will not have it: back to the template.

A module does not say which template printed a line. The words that a template has between its tags
tell: the line that has most of them in common with a printed one is shown.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Diagnostic, DiagnosticError, Label, Severity
from flash4gen.render.contract import template_files
from flash4gen.render.overrides import line_span, template_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from flash4gen.source import Span

_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|\{[{%#].*$")
_FEWEST = 3
"""Characters that a template's line must share with a printed one to have printed it."""


def check_printed(text: str, overrides: Sequence[Path]) -> None:
    """Look whether the text of a module is Python, where templates of users printed some of it.

    Raises:
        DiagnosticError: it is none.
    """
    if not overrides:
        return
    try:
        ast.parse(text)
    except SyntaxError as error:
        number = error.lineno or 1
        line = [*text.splitlines(), ""][number - 1]
        raise DiagnosticError((no_python(error.msg, number, line, overrides),)) from error


def no_python(why: str, number: int, line: str, overrides: Sequence[Path]) -> Diagnostic:
    """Say that Python will not have a printed line, by its number in the module."""
    place = printing_line(line, overrides) or _first(overrides)
    return Diagnostic(
        code=Code.TEMPLATE_FAILED,
        severity=Severity.ERROR,
        message=f"with these templates the module is not Python that can be imported: {why}",
        primary=None if place is None else Label(place),
        notes=(f"line {number} of the module is `{line.strip()}`",),
    )


def printing_line(line: str, overrides: Sequence[Path]) -> Span | None:
    """Return the line of a user's template that most likely printed a line; None if none did."""
    found = [
        (sum(map(len, words)), source.name, number, source)
        for folder in overrides
        for source in map(template_source, template_files(folder))
        for number, words in _words(source.text)
        if all(word in line for word in words)
    ]
    most, _, number, source = max(found, key=lambda item: item[0], default=(0, "", 0, None))
    return line_span(source, number) if source is not None and most >= _FEWEST else None


def _words(template: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line that prints words of its own, and these."""
    for number, line in enumerate(template.splitlines(), 1):
        if words := [word for part in _TAG.split(line) if (word := part.strip())]:
            yield number, words


def _first(overrides: Sequence[Path]) -> Span | None:
    files = [file for folder in overrides for file in template_files(folder)]
    return line_span(template_source(files[0]), 1) if files else None
