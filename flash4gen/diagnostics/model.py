"""A diagnostic as data: what is wrong, where, why, and what to write instead."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.source import Span


class Severity(StrEnum):
    """How bad it is. Only errors stop a compile."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A marked place with an optional remark printed beside its underline."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding about a user's input.

    Attributes:
        code: stable code such as ``F4G102``; its meaning is registered in ``codes.py``.
        severity: error or warning.
        message: one line, lower case, without a full stop.
        primary: the place to look at first; None where no text is to blame (a missing file).
        secondary: other places that explain the first.
        notes: facts that help to understand.
        helps: what to write instead.
    """

    code: str
    severity: Severity
    message: str
    primary: Label | None = None
    secondary: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    helps: tuple[str, ...] = ()


class DiagnosticError(Exception):
    """Carries collected diagnostics, at least one of them an error, up to the edge."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        super().__init__("; ".join(f"{d.code}: {d.message}" for d in diagnostics))
        self.diagnostics = diagnostics
