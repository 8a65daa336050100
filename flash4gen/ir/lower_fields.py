"""Fields of an item: finding them by name, and the checks that every kind of item shares."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.ir.module_names import taken
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

    from flash4gen.diagnostics.collect import Findings

MAX_NAME = 60
_COMMENT = re.compile(r"#[^\n]*")

Choice = TypeVar("Choice", bound="StrEnum")


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one item, each name once."""

    owner: ast.Name
    by_name: dict[str, ast.Field]
    findings: Findings

    def get(self, name: str) -> ast.Field | None:
        """Return a field, or None where it was not written."""
        return self.by_name.get(name)

    def single(self, name: str) -> ast.Value | None:
        """Return the value of a field that has exactly one; None if absent or after an error."""
        found = self.get(name)
        if found is None:
            return None
        if len(found.values) == 1:
            return found.values[0]
        self.findings.error(
            Code.BAD_VALUE, f"`{name}` has one value, not {len(found.values)}", found.values_span
        )
        return None

    def expression(self, name: str) -> ast.Expression | None:
        """Return a field that is an expression; None if absent or after an error."""
        value = self.single(name)
        if not isinstance(value, ast.String | ast.Quantity | ast.Sequence):
            return value
        self.findings.error(Code.BAD_VALUE, f"`{name}` is an expression", value.span)
        return None

    def text(self, name: str) -> str:
        """Return a string field, empty where absent or after an error."""
        value = self.single(name)
        if value is None or isinstance(value, ast.String):
            return value.value if value else ""
        self.findings.error(
            Code.BAD_VALUE,
            f"`{name}` is a text",
            value.span,
            helps=(f'write {name} = "{value.span.text}"',),
        )
        return ""

    def choice(self, name: str, kind: type[Choice], default: Choice | None) -> Choice | None:
        """Return one of an enum's values; the default where absent; None after an error."""
        if self.get(name) is None:
            return default
        value = self.single(name)
        return None if value is None else choose(name, value, kind, self.findings)


def choose(name: str, value: ast.Value, kind: type[Choice], findings: Findings) -> Choice | None:
    """Return the member of an enum that a value names, or None after an error."""
    choices = [member.value for member in kind]
    if isinstance(value, ast.Name) and value.text in choices:
        return kind(value.text)
    written = value.value if isinstance(value, ast.String) else value.span.text
    helps = did_you_mean(written, choices)
    if isinstance(value, ast.String) and written in choices:
        helps = (f"write it without quotes: `{name} = {written}`",)
    findings.error(Code.BAD_VALUE, f"`{name}` is {one_of(choices)}", value.span, helps=helps)
    return None


def gather(
    owner: ast.Name,
    fields: Iterable[ast.Field],
    known: tuple[str, ...],
    findings: Findings,
    advice: dict[str, str],
) -> Fields:
    """Return an item's fields by name, reporting unknown ones and those written twice.

    Args:
        owner: the item's name.
        fields: as written.
        known: every field that this kind of item has.
        findings: where to report.
        advice: what to write instead of names that other libraries use.
    """
    by_name: dict[str, ast.Field] = {}
    for field in fields:
        name = field.name.text
        if name not in known:
            instead = advice.get(name)
            helps = (instead,) if instead else did_you_mean(name, known)
            findings.error(
                Code.UNKNOWN_FIELD,
                f"unknown field `{name}`",
                field.name.span,
                helps=helps or (f"the fields are: {', '.join(known)}",),
            )
        elif first := by_name.get(name):
            findings.error(
                Code.DUPLICATE,
                f"`{name}` is written twice",
                field.name.span,
                also=(Label(first.name.span, "first here"),),
            )
        else:
            by_name[name] = field
    return Fields(owner, by_name, findings)


def check_item_name(name: ast.Name, findings: Findings, *, of_function: bool = False) -> None:
    """Refuse names that cannot name a Python function and a file, or a file alone."""
    text = name.text
    if keyword.iskeyword(text) or keyword.issoftkeyword(text):
        why = "is a word of Python, in which kernels are written"
    elif text.startswith("_"):
        why = "starts with an underscore, which marks helpers in generated code"
    elif of_function and taken(text):
        why = "is a name that generated code uses itself"
    elif len(text) > MAX_NAME:
        why = f"is longer than {MAX_NAME} characters"
    else:
        return
    findings.error(
        Code.RESERVED_NAME, f"`{text[:MAX_NAME]}` {why}", name.span, helps=("choose another name",)
    )


def value_text(field: ast.Field) -> str:
    """Return a field's values as written, on one line and without comments."""
    text = field.values_span.text
    if any(isinstance(value, ast.String) for value in field.values):
        return text
    return plain_text(text)


def plain_text(text: str) -> str:
    """Return a text without strings on one line and without comments."""
    return " ".join(_COMMENT.sub("", text).split())
