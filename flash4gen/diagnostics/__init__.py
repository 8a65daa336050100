"""Findings about a user's input: as data, with stable codes.

``text`` and ``machine`` print them; they are imported by those who have something to print.
"""

from __future__ import annotations

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.model import Diagnostic, DiagnosticError, Label, Severity

__all__ = ["Code", "Diagnostic", "DiagnosticError", "Findings", "Label", "Severity"]
