"""What a disk refuses, as diagnostics."""

from __future__ import annotations

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Diagnostic, Severity


def not_written(error: OSError, *helps: str) -> Diagnostic:
    """Say that outputs cannot be written, and that nothing was changed."""
    return Diagnostic(
        code=Code.CANNOT_WRITE,
        severity=Severity.ERROR,
        message=f"cannot write {error.filename or 'the outputs'}: {error.strerror or error}",
        notes=("nothing was changed",),
        helps=helps,
    )
