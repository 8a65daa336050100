"""Syntax tree to IR: takes one parsed file, gives its items with every name resolved, and findings.

Never raises on any tree that the parser gives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.model import Label
from flash4gen.ir import library
from flash4gen.ir.lower_attention import lower_attention
from flash4gen.ir.lower_functions import collect
from flash4gen.ir.lower_hardware import lower_hardware
from flash4gen.syntax import parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.source import SourceFile
    from flash4gen.syntax import ast


@dataclass(frozen=True, slots=True)
class Lowered:
    """The items of one file that are without error, in the order of the text, and all findings."""

    attentions: tuple[Attention, ...]
    hardware: tuple[Hardware, ...]
    diagnostics: tuple[Diagnostic, ...]

    def target(self, name: str) -> Hardware:
        """Return a target by name: one of this file, else a shipped one.

        Raises:
            KeyError: there is none of this name.
        """
        own = next((item for item in self.hardware if item.name == name), None)
        return own if own is not None else library.target(name)


def analyse(source: SourceFile) -> Lowered:
    """Parse and lower a text; the findings of both are in the order of the text."""
    parsed = parse(source)
    lowered = lower(parsed.file)
    findings = Findings()
    findings.add(*parsed.diagnostics, *lowered.diagnostics)
    return replace(lowered, diagnostics=findings.in_order())


def lower(file: ast.File) -> Lowered:
    """Resolve names, fill in defaults and check types and values of a whole file."""
    findings = Findings()
    _check_unique(file.attentions, "attention", findings)
    _check_unique(file.hardware, "hardware", findings)
    _check_empty(file, findings)
    functions = collect(file.definitions, library.prelude(), findings, lost=file.lost)
    hardware = [lower_hardware(item, findings) for item in file.hardware]
    own = {item.name.text for item in file.hardware} | file.lost
    targets = frozenset(library.target_names()) | own
    attentions = [lower_attention(item, functions, targets, findings) for item in file.attentions]
    return Lowered(
        tuple(item for item in attentions if item is not None),
        tuple(item for item in hardware if item is not None),
        findings.in_order(),
    )


def _check_unique(
    items: Iterable[ast.Attention | ast.Hardware], kind: str, findings: Findings
) -> None:
    seen: dict[str, ast.Attention | ast.Hardware] = {}
    for item in items:
        first = seen.setdefault(item.name.text, item)
        if first is not item:
            findings.error(
                Code.DUPLICATE,
                f"{kind} `{item.name.text}` is defined twice",
                item.name.span,
                also=(Label(first.name.span, "first defined here"),),
            )


def _check_empty(file: ast.File, findings: Findings) -> None:
    if file.items or file.damaged:
        return
    findings.error(
        Code.EMPTY,
        f"{file.source.name} holds no item",
        None,
        helps=("start with `attention my_variant { dtype = bf16  heads = 32  head_dim = 128 }`",),
    )
