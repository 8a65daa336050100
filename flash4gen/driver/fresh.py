"""Whether the modules on disk are what their specs compile to now: texts compared, nothing run."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import DiagnosticError
from flash4gen.driver.build import Run, recorded_plan, render_plan
from flash4gen.render.index import render_index

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.diagnostics.collect import Findings
    from flash4gen.driver.model import IndexPlan, Plan
    from flash4gen.render.module import RenderedModule
    from flash4gen.source import Span

_SHOWN = 12


def compare_plan(plan: Plan, run: Run, findings: Findings, *, certificates: bool) -> None:
    """Add what is stale or missing of one plan's outputs."""
    file = run.module_path(plan)
    text = _read(file)
    name, span = plan.attention.name, plan.attention.span
    if text is None:
        _missing(file, span, _command(name, span, plan.hardware.name), findings)
        return
    try:
        rendered = render_plan(recorded_plan(plan, text), run)
    except DiagnosticError as error:
        findings.add(*error.diagnostics)
        return
    if text != rendered.text:
        help_line = _command(name, span, plan.hardware.name)
        _stale(file, (text, rendered.text), span, help_line, findings)
    elif certificates:
        _compare_certificate(plan, rendered, file.with_suffix(".certificate.json"), findings)


def compare_index(plan: IndexPlan, run: Run, findings: Findings) -> None:
    """Add whether the index module of a model is stale or missing."""
    file, span = run.index_path(plan), plan.model.span
    help_line = _command(plan.model.name, span, plan.hardware.name)
    text, now = _read(file), render_index(plan.model, plan.hardware)
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


def _compare_certificate(
    plan: Plan, rendered: RenderedModule, file: Path, findings: Findings
) -> None:
    text = _read(file)
    if text is None:
        message = f"{file} does not exist"
    elif _provenance(text) != rendered.provenance.as_mapping():
        message = f"{file} certifies another version of the module"
    else:
        return
    span = plan.attention.span
    help_line = _command(plan.attention.name, span, plan.hardware.name)
    findings.error(Code.STALE, message, span, helps=[help_line])


def _provenance(text: str) -> object:
    try:
        certificate = json.loads(text)
    except json.JSONDecodeError:
        return None
    return certificate.get("provenance") if isinstance(certificate, dict) else None


def _read(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _difference(old: str, new: str) -> list[str]:
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), "on disk", "compiled now", lineterm="", n=0
    )
    shown = list(lines)
    if len(shown) > _SHOWN:
        shown = [*shown[:_SHOWN], f"... and {len(shown) - _SHOWN} more lines"]
    return shown


def _command(name: str, span: Span | None, target: str) -> str:
    return f"run `flash4gen compile {span.source.name if span else name} --target {target}`"
