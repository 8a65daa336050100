"""Syntax tree to IR: takes a file and those that it uses, gives its items with every name resolved.

Never raises on any tree that the parser gives.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.collect import Findings
from flash4gen.diagnostics.model import Label
from flash4gen.ir import library
from flash4gen.ir.lower_attention import lower_attention
from flash4gen.ir.lower_functions import collect
from flash4gen.ir.lower_gpus import lower_gpus
from flash4gen.ir.lower_models import lower_model
from flash4gen.syntax import link, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.lower_functions import Functions
    from flash4gen.ir.model import Model
    from flash4gen.ir.nodes import Attention
    from flash4gen.source import SourceFile
    from flash4gen.syntax import Unit, ast

_ECHOES = frozenset(
    {Code.UNKNOWN_NAME, Code.UNKNOWN_FUNCTION, Code.UNKNOWN_TARGET, Code.UNKNOWN_ATTENTION}
)
"""What may follow from a `use` that failed: the missing file may hold the name."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """The items of one file that are without error, in the order of the text, and all findings.

    ``used_hardware`` is that of other files. Findings are those of all files.
    """

    attentions: tuple[Attention, ...]
    hardware: tuple[Hardware, ...]
    models: tuple[Model, ...]
    used_hardware: tuple[Hardware, ...]
    diagnostics: tuple[Diagnostic, ...]

    def target(self, name: str) -> Hardware:
        """Return a target by name: one of this file or of those it uses, else a shipped one.

        Raises:
            KeyError: there is none of this name.
        """
        near = (*self.hardware, *self.used_hardware)
        own = next((item for item in near if item.name == name), None)
        return own if own is not None else library.target(name)


def analyse(source: SourceFile) -> Lowered:
    """Parse and lower a text and the files that it uses; findings in the order of the text."""
    unit, diagnostics = link(parse(source))
    lowered = lower(unit)
    findings = Findings()
    findings.add(*diagnostics, *lowered.diagnostics)
    return replace(lowered, diagnostics=findings.in_order())


def lower(unit: Unit) -> Lowered:
    """Resolve names, fill in defaults and check types and values of a file and what it uses."""
    lowering = _Lowering()
    file = lowering.file(unit)
    return Lowered(
        tuple(item for item in file.attentions.values() if item is not None),
        tuple(item for item in file.hardware.values() if item is not None),
        file.models,
        tuple(item for item in file.used_hardware.values() if item is not None),
        lowering.findings(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Items:
    """What one file defines, by name; None for what has an error. ``names`` are their places."""

    functions: Functions
    hardware: dict[str, Hardware | None]
    attentions: dict[str, Attention | None]
    models: tuple[Model, ...]
    names: dict[tuple[str, str], ast.Name]
    used_hardware: dict[str, Hardware | None]


@dataclass(slots=True)
class _Lowering:
    """Lowers each file once, after those that it uses."""

    _done: dict[Unit, _Items] = field(default_factory=dict)
    _found: Findings = field(default_factory=Findings)

    def findings(self) -> tuple[Diagnostic, ...]:
        return self._found.in_order()

    def file(self, unit: Unit) -> _Items:
        if unit not in self._done:
            used = [(use, self.file(other)) for use, other in unit.uses]
            findings = Findings()
            self._done[unit] = _lower_file(unit.file, used, findings)
            told = findings.in_order()
            if not unit.complete:
                told = tuple(item for item in told if item.code not in _ECHOES)
            self._found.add(*told)
        return self._done[unit]


def _lower_file(file: ast.File, used: list[tuple[ast.Use, _Items]], findings: Findings) -> _Items:
    names = _own_names(file, findings)
    _check_clashes(names, used, findings)
    _check_empty(file, findings)
    others = [items for _, items in used]
    functions = collect(
        file.definitions,
        library.prelude(),
        findings,
        used=[items.functions for items in others],
        lost=file.lost,
    )
    used_hardware = {name: gpu for items in others for name, gpu in items.hardware.items()}
    targets = frozenset(library.target_names()) | used_hardware.keys() | file.lost
    targets |= {item.name.text for item in file.hardware}
    hardware = lower_gpus(file.hardware, used_hardware, targets, findings)
    attentions = {
        item.name.text: lower_attention(item, functions, targets, findings)
        for item in file.attentions
    }
    visible: dict[str, Attention | None] = dict.fromkeys(file.lost)
    for items in others:
        visible |= items.attentions
    models = [lower_model(item, visible | attentions, targets, findings) for item in file.models]
    return _Items(
        functions=functions,
        hardware=hardware,
        attentions=attentions,
        models=tuple(model for model in models if model is not None),
        names=names,
        used_hardware=used_hardware,
    )


_WHAT = {"item": "`{}`", "hardware": "hardware `{}`", "function": "function `{}`"}


def _own_names(file: ast.File, findings: Findings) -> dict[tuple[str, str], ast.Name]:
    """Return the places of the names that a file defines; those defined twice are reported.

    Attention and model items share their names, as they share the files that are made of them.
    """
    found: dict[tuple[str, str], ast.Name] = {}
    _check_unique("attention", "item", (item.name for item in file.attentions), found, findings)
    _check_unique("model", "item", (item.name for item in file.models), found, findings)
    _check_unique("hardware", "hardware", (item.name for item in file.hardware), found, findings)
    for item in file.definitions:
        found.setdefault(("function", item.name.text), item.name)
    return found


def _check_unique(
    word: str,
    kind: str,
    names: Iterable[ast.Name],
    found: dict[tuple[str, str], ast.Name],
    findings: Findings,
) -> None:
    for name in names:
        first = found.setdefault((kind, name.text), name)
        if first is not name:
            findings.error(
                Code.DUPLICATE,
                f"{word} `{name.text}` is defined twice",
                name.span,
                also=(Label(first.span, "first defined here"),),
            )


def _check_clashes(
    own: Mapping[tuple[str, str], ast.Name],
    used: list[tuple[ast.Use, _Items]],
    findings: Findings,
) -> None:
    """Report names that come from two places: which one is meant would be a matter of order."""
    seen = dict(own)
    for use, items in used:
        for (kind, text), name in items.names.items():
            first = seen.setdefault((kind, text), name)
            if first is not name:
                findings.error(
                    Code.DUPLICATE,
                    f"{_WHAT[kind].format(text)} comes from two files",
                    Label(use.path.span, "it is defined there"),
                    also=(Label(first.span, "and here"),),
                    helps=("rename one of them",),
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
