"""Whether the modules on disk are what their specs compile to now: texts compared, nothing run."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.driver.build import Run, recorded_plan, render_plan

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.diagnostics.collect import Findings
    from flash4gen.driver.model import Plan
    from flash4gen.render.module import RenderedModule

_SHOWN = 12


def compare_plan(plan: Plan, run: Run, findings: Findings, *, certificates: bool) -> None:
    """Add what is stale or missing of one plan's outputs."""
    file = run.module_path(plan)
    text = _read(file)
    if text is None:
        findings.error(
            Code.NO_MODULE,
            f"{file} does not exist",
            plan.attention.span,
            helps=[_command(plan)],
        )
        return
    rendered = render_plan(recorded_plan(plan, text), run)
    if text != rendered.text:
        findings.error(
            Code.STALE,
            f"{file} is not what the spec compiles to now",
            plan.attention.span,
            notes=_difference(text, rendered.text),
            helps=[_command(plan)],
        )
    elif certificates:
        _compare_certificate(plan, rendered, file.with_suffix(".certificate.json"), findings)


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
    findings.error(Code.STALE, message, plan.attention.span, helps=[_command(plan)])


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


def _command(plan: Plan) -> str:
    source = plan.attention.span.source.name if plan.attention.span else plan.attention.name
    return f"run `flash4gen compile {source} --target {plan.hardware.name}`"
