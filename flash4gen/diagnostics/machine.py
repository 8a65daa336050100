"""Diagnostics as JSON, for editors and other programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.diagnostics.model import Diagnostic, Label


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Return a JSON list with one object per diagnostic, ending with a line end."""
    found = [as_object(diagnostic) for diagnostic in diagnostics]
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def as_object(diagnostic: Diagnostic) -> dict[str, Any]:
    """Return a diagnostic as plain data.

    Spans come with the primary one first. Lines and columns count from 1, in characters; the end
    is the position after the last character.
    """
    spans = [_span(label, role="secondary") for label in diagnostic.secondary]
    if diagnostic.primary is not None:
        spans.insert(0, _span(diagnostic.primary, role="primary"))
    return {
        "code": str(diagnostic.code),
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "spans": spans,
        "notes": list(diagnostic.notes),
        "helps": list(diagnostic.helps),
    }


def _span(label: Label, *, role: str) -> dict[str, Any]:
    span = label.span
    end_line, end_column = span.source.position(span.end)
    return {
        "role": role,
        "file": span.source.name,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
        "label": label.text,
    }
