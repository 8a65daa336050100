"""The canonical text of a spec, or what keeps it from being read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.model import Diagnostic, Severity
from flash4gen.syntax.layout import layout
from flash4gen.syntax.parser import parse

if TYPE_CHECKING:
    from flash4gen.source import SourceFile


def formatted(source: SourceFile) -> str | tuple[Diagnostic, ...]:
    """Return a text in its canonical form; what it means is not asked, only its grammar.

    Applied to its own result it changes nothing.
    """
    found = parse(source).diagnostics
    errors = tuple(item for item in found if item.severity is Severity.ERROR)
    return errors or layout(source.text)
