"""Making and gathering diagnostics: short spellings for the stages that find many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.model import Diagnostic, Label, Severity
from flash4gen.source import Span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.diagnostics.codes import Code


class Findings:
    """A growing list of diagnostics that one stage passes along while it works.

    The same finding at the same place is kept once: a function that is expanded at several places
    would otherwise repeat itself.
    """

    def __init__(self) -> None:
        self._found: dict[Diagnostic, None] = {}

    def add(self, *diagnostics: Diagnostic) -> None:
        """Keep diagnostics that were made elsewhere."""
        self._found.update(dict.fromkeys(diagnostics))

    def error(
        self,
        code: Code,
        message: str,
        at: Span | Label | None,
        *,
        also: Iterable[Label] = (),
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
    ) -> None:
        """Add an error at a place, with ``also`` as its secondary labels."""
        self.add(
            Diagnostic(
                code=code,
                severity=Severity.ERROR,
                message=message,
                primary=Label(at) if isinstance(at, Span) else at,
                secondary=tuple(also),
                notes=tuple(notes),
                helps=tuple(helps),
            )
        )

    def warning(
        self,
        code: Code,
        message: str,
        at: Span | Label | None,
        *,
        also: Iterable[Label] = (),
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
    ) -> None:
        """Add a warning at a place, with ``also`` as its secondary labels."""
        self.add(
            Diagnostic(
                code=code,
                severity=Severity.WARNING,
                message=message,
                primary=Label(at) if isinstance(at, Span) else at,
                secondary=tuple(also),
                notes=tuple(notes),
                helps=tuple(helps),
            )
        )

    @property
    def errors(self) -> int:
        """How many errors there are so far."""
        return sum(found.severity is Severity.ERROR for found in self._found)

    def in_order(self) -> tuple[Diagnostic, ...]:
        """Return all findings, by their place in the text; those without a place first.

        Findings of one file stay together; files come in the order of their first finding.
        """
        files: dict[int, int] = {}
        for found in self._found:
            if found.primary is not None:
                files.setdefault(id(found.primary.span.source), len(files))
        return tuple(sorted(self._found, key=lambda found: _place(found, files)))


def _place(diagnostic: Diagnostic, files: dict[int, int]) -> tuple[int, int, int]:
    if diagnostic.primary is None:
        return (-1, -1, -1)
    span = diagnostic.primary.span
    return (files[id(span.source)], span.start, span.end)
