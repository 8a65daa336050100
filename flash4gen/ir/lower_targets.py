"""The field ``target`` of attention and model items: names of hardware, each known and once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import did_you_mean
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.source import Span


def target_names(
    field: ast.Field | None, known: frozenset[str], findings: Findings
) -> tuple[str, ...]:
    """Return the targets that a field names, without those that are wrong."""
    found: dict[str, Span] = {}
    for value in field.values if field else ():
        if not isinstance(value, ast.Name):
            _not_a_name(value, known, findings)
        elif value.text not in known:
            unknown_target(value, known, findings)
        elif value.text in found:
            findings.error(
                Code.DUPLICATE,
                f"target `{value.text}` is written twice",
                value.span,
                also=(Label(found[value.text], "first here"),),
            )
        else:
            found[value.text] = value.span
    return tuple(found)


def unknown_target(name: ast.Name, known: frozenset[str], findings: Findings) -> None:
    """Report the name of a hardware item that is not there."""
    findings.error(
        Code.UNKNOWN_TARGET,
        f"unknown target `{name.text}`",
        name.span,
        notes=(f"known targets: {', '.join(sorted(known))}",),
        helps=did_you_mean(name.text, known),
    )


def _not_a_name(value: ast.Value, known: frozenset[str], findings: Findings) -> None:
    name = value.value if isinstance(value, ast.String) else ""
    helps = (f"write it without quotes: `target = {name}`",) if name in known else ()
    findings.error(
        Code.BAD_VALUE, "a target is the name of a hardware item", value.span, helps=helps
    )
