"""Refuses expressions and patterns nested so deeply that following them could exhaust the stack."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.diagnostics.collect import Findings

MAX_DEPTH = 64
MAX_NESTING = 8


def prune(file: ast.File, findings: Findings) -> ast.File:
    """Return the file without the fields and definitions that are nested too deeply."""
    items: list[ast.Item] = []
    lost: set[str] = set()
    for item in file.items:
        if isinstance(item, ast.Definition):
            if _report(_parts(item), findings):
                lost.add(item.name.text)
            else:
                items.append(item)
            continue
        if isinstance(item, ast.Use):
            items.append(item)
            continue
        kept = tuple(field for field in item.fields if not _report(field.values, findings))
        damaged = item.damaged or len(kept) < len(item.fields)
        if isinstance(item, ast.Attention):
            inputs = tuple(entry for entry in item.inputs if not _report(entry.axes, findings))
            damaged = damaged or len(inputs) < len(item.inputs)
            item = replace(item, inputs=inputs)
        if isinstance(item, ast.Model):
            flat = tuple(entry for entry in item.layers if not _report_layers(entry, findings))
            damaged = damaged or len(flat) < len(item.layers)
            item = replace(item, layers=flat)
        items.append(replace(item, fields=kept, damaged=damaged))
    return replace(
        file, items=tuple(items), damaged=file.damaged or bool(lost), lost=file.lost | lost
    )


def _parts(definition: ast.Definition) -> list[ast.Value]:
    defaults = [p.default for p in definition.parameters if p.default is not None]
    requires = [definition.requires] if definition.requires is not None else []
    return [definition.body, *defaults, *requires]


def _report(values: Iterable[ast.Value], findings: Findings) -> bool:
    deep = [value for value in values if _too_deep(value)]
    for value in deep:
        findings.error(
            Code.TOO_DEEP,
            "the expression is nested too deeply",
            value.span,
            notes=(f"at most {MAX_DEPTH} operators and calls can stand inside each other",),
            helps=("give parts of it names with `def`",),
        )
    return bool(deep)


def _report_layers(layers: ast.Layers, findings: Findings) -> bool:
    level = list(layers.runs)
    for _ in range(MAX_NESTING):
        level = [inner for run in level if isinstance(run.what, tuple) for inner in run.what]
        if not level:
            return False
    findings.error(
        Code.TOO_DEEP,
        "the pattern is nested too deeply",
        layers.span,
        notes=(f"at most {MAX_NESTING} brackets can stand inside each other",),
    )
    return True


def _too_deep(value: ast.Value) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in ast.children(node)]
        if not level:
            return False
    return True
