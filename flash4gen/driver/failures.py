"""A kernel that Triton refuses, a module that cannot be imported: whose fault it is, and where."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Diagnostic, Label, Severity
from flash4gen.render.printed import no_python, printing_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from flash4gen.build.compile import CompileError
    from flash4gen.driver.model import Plan

_REFUSED = re.compile(r"^(.+)\n *\^+ *$", re.MULTILINE)
"""In what Triton prints, the line that it points at."""


def compile_failed(plan: Plan, error: CompileError, template_dirs: Sequence[Path]) -> Diagnostic:
    """Say that Triton refuses a kernel, and which line of a user's template it points at."""
    name, span = plan.attention.name, plan.attention.span
    helps = ["pin other tiles in a schedule { } block, and report this"]
    if template_dirs:
        lines = _REFUSED.findall(error.log)
        places = (printing_line(line, template_dirs) for line in reversed(lines))
        span = next((place for place in places if place is not None), span)
        helps = ["it has templates of yours: correct them, or see whether it compiles without"]
    return Diagnostic(
        code=Code.COMPILE_FAILED,
        severity=Severity.ERROR,
        message=f"Triton cannot compile `{name}` for {plan.hardware.name}: {error}",
        primary=None if span is None else Label(span),
        notes=tuple(error.log.strip().splitlines()[-12:]),
        helps=tuple(helps),
    )


def import_failed(error: Exception, file: Path, template_dirs: Sequence[Path]) -> Diagnostic | None:
    """Say which line of a module with a user's templates cannot be imported.

    None where there are no such templates, or the module's text is not to blame.
    """
    raised = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in raised if frame.filename == str(file)]
    if not template_dirs or not own:
        return None
    why = f"{type(error).__name__}: {error}".partition("\n")[0]
    return no_python(why, own[-1].lineno or 1, own[-1].line or "", template_dirs)
