"""Whether the modules on disk are what their specs compile to now: texts compared, nothing run."""

from __future__ import annotations

import difflib
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import DiagnosticError
from flash4gen.driver.build import Run, recorded_plan, render_plan
from flash4gen.render.index import render_index

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.driver.model import IndexPlan, Plan
    from flash4gen.render.module import RenderedModule
    from flash4gen.source import Span

_SHOWN = 12
_OUT = Path("generated")
"""Where a compile writes unless it is told otherwise."""


def compare_plan(plan: Plan, run: Run, findings: Findings, *, certificates: bool) -> None:
    """Add what is stale or missing of one plan's outputs."""
    try:
        _compare_module(plan, run, findings, certificates=certificates)
    except DiagnosticError as error:
        findings.add(*error.diagnostics)
    except OSError as error:
        _unreadable(error, plan.attention.span, findings)


def _compare_module(plan: Plan, run: Run, findings: Findings, *, certificates: bool) -> None:
    file, span = run.module_path(plan), plan.attention.span
    help_line = _command(plan.attention.name, span, plan.hardware.name, run)
    text = _read(file)
    if text is None:
        _missing(file, span, help_line, findings)
        return
    rendered = render_plan(recorded_plan(plan, text), run)
    findings.add(*rendered.warnings)
    if text != rendered.text:
        _stale(file, (text, rendered.text), span, help_line, findings)
    elif certificates and (fault := _certificate_fault(rendered, file)):
        findings.error(Code.STALE, fault, span, helps=[help_line])


def compare_index(plan: IndexPlan, run: Run, findings: Findings) -> None:
    """Add whether the index module of a model is stale or missing."""
    file, span = run.index_path(plan), plan.model.span
    help_line = _command(plan.model.name, span, plan.hardware.name, run)
    try:
        text, now = _read(file), render_index(plan.model, plan.hardware)
    except OSError as error:
        _unreadable(error, span, findings)
        return
    if text is None:
        _missing(file, span, help_line, findings)
    elif text != now:
        _stale(file, (text, now), span, help_line, findings)


def _missing(file: Path, span: Span | None, help_line: str, findings: Findings) -> None:
    findings.error(Code.NO_MODULE, f"{file} does not exist", span, helps=[help_line])


def _stale(
    file: Path, texts: tuple[str, str], span: Span | None, help_line: str, findings: Findings
) -> None:
    findings.error(
        Code.STALE,
        f"{file} is not what the spec compiles to now",
        span,
        notes=_difference(*texts),
        helps=[help_line],
    )


def _unreadable(error: OSError, span: Span | None, findings: Findings) -> None:
    reason = (error.strerror or str(error)).lower()
    findings.error(Code.UNREADABLE, f"cannot read {error.filename}: {reason}", span)


def _certificate_fault(rendered: RenderedModule, module: Path) -> str:
    """Return what is wrong with a module's certificate; nothing if it is the one of this text."""
    file = module.with_suffix(".certificate.json")
    text = _read(file)
    if text is None:
        return f"{file} does not exist"
    if _provenance(text) != rendered.provenance.as_mapping():
        return f"{file} certifies another version of the module"
    return ""


def _provenance(text: str) -> object:
    try:
        certificate = json.loads(text)
    except json.JSONDecodeError:
        return None
    return certificate.get("provenance") if isinstance(certificate, dict) else None


def _read(file: Path) -> str | None:
    """Return what a file holds, if there is one. Bytes that are no text make it differ, no more."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None


def _difference(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "on disk", "compiled now", lineterm="", n=0
    )
    shown = list(lines)
    if len(shown) > _SHOWN:
        shown = [*shown[:_SHOWN], f"... and {len(shown) - _SHOWN} more lines"]
    return shown


def _command(name: str, span: Span | None, target: str, run: Run) -> str:
    words = ["flash4gen", "compile", span.source.name if span else name, "--target", target]
    words += [] if run.out == _OUT else ["-o", str(run.out)]
    return f"run `{shlex.join(words)}`"
