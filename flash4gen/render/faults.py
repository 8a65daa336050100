"""What goes wrong while templates of users run, as diagnostics that point into the template.

Jinja puts template lines into tracebacks. The innermost one of a user's file is to blame; where
there is none, the innermost of all.
"""

from __future__ import annotations

import re
import traceback
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jinja2

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Diagnostic, DiagnosticError, Label, Severity
from flash4gen.diagnostics.suggest import did_you_mean
from flash4gen.render.context_types import TYPES
from flash4gen.render.contract import shipped_templates
from flash4gen.render.overrides import line_span, template_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flash4gen.source import Span

_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_FIELD = re.compile(r"'(?:[\w.]+\.)?(\w+) object' has no attribute '(\w+)'")
_PARAMETER = re.compile(r"parameter '(\w+)' was not provided")
_EXPORT = re.compile(r"the template '([^']+)' .*does not export the requested name '(\w+)'")


class Said(NamedTuple):
    """What a fault comes to, before its place is known."""

    code: Code
    message: str
    word: str = ""
    helps: tuple[str, ...] = ()


@contextmanager
def blamed(overrides: Sequence[Path]) -> Iterator[None]:
    """Turn what a user's templates raise into diagnostics.

    Without templates of users, a fault is ours, and leaves as it is.

    Raises:
        DiagnosticError: a template of a user failed, or made a shipped one fail.
    """
    try:
        yield
    except Exception as error:
        places = _places(error) if overrides else []
        if not places:
            raise
        raise DiagnosticError((_diagnostic(error, places, overrides),)) from error


def _places(error: Exception) -> list[tuple[Path, int]]:
    """Return the template lines of a traceback, outermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [(Path(f.filename), f.lineno or 1) for f in frames if f.filename.endswith(".j2")]
    if isinstance(error, jinja2.TemplateSyntaxError) and error.filename:
        places.append((Path(error.filename), error.lineno))
    return places


def _diagnostic(
    error: Exception, places: list[tuple[Path, int]], overrides: Sequence[Path]
) -> Diagnostic:
    def own(place: tuple[Path, int]) -> bool:
        return any(place[0].is_relative_to(folder) for folder in overrides)

    blame = next((place for place in reversed(places) if own(place)), places[-1])
    said = _said(error)
    label = Label(line_span(template_source(blame[0]), blame[1], said.word))
    inner = places[-1]
    also = () if inner == blame else (Label(_span(inner, said.word), "raised here"),)
    return Diagnostic(
        code=said.code,
        severity=Severity.ERROR,
        message=said.message,
        primary=label,
        secondary=also,
        helps=said.helps,
    )


def _span(place: tuple[Path, int], word: str) -> Span:
    return line_span(template_source(place[0]), place[1], word)


def _said(error: Exception) -> Said:
    text = str(error)
    if isinstance(error, jinja2.TemplateNotFound):
        name = str(error.name or text)
        known = (*shipped_templates(), *(f"builtin/{one}" for one in shipped_templates()))
        helps = did_you_mean(name, known) or ("`flash4gen templates list` prints the names",)
        return Said(Code.TEMPLATE_NAME, f"there is no template `{name}`", "", helps)
    if isinstance(error, jinja2.TemplateSyntaxError):
        return Said(Code.TEMPLATE_SYNTAX, (error.message or text).rstrip("."))
    if isinstance(error, RecursionError):
        return Said(Code.TEMPLATE_FAILED, "this template extends or imports itself without end")
    if isinstance(error, jinja2.UndefinedError):
        return _undefined(text)
    return Said(Code.TEMPLATE_FAILED, f"{type(error).__name__}: {text}".partition("\n")[0])


def _undefined(text: str) -> Said:
    """Say what is not there: a variable, a field of the context, or a macro."""
    if found := _EXPORT.search(text):
        known = shipped_templates().get(found[1].removeprefix("builtin/"))
        helps = did_you_mean(found[2], known.macros) if known else ()
        return Said(Code.TEMPLATE_NAME, f"`{found[1]}` has no macro `{found[2]}`", found[2], helps)
    if found := _FIELD.search(text):
        owner, name = found.groups()
        if owner == "TemplateModule":
            helps = ("`flash4gen templates list` prints the macros of every template",)
            message = f"the imported template has no macro `{name}`"
            return Said(Code.TEMPLATE_NAME, message, name, helps)
        helps = did_you_mean(name, _fields(owner)) or (
            "docs/template_context.md lists what there is",
        )
        return Said(Code.TEMPLATE_NAME, f"`{owner}` has no field `{name}`", name, helps)
    if found := _PARAMETER.search(text):
        return Said(Code.TEMPLATE_NAME, f"a macro is called without its parameter `{found[1]}`")
    if found := _UNDEFINED.search(text):
        helps = ("macros see their parameters and what the file imports, nothing else",)
        return Said(Code.TEMPLATE_NAME, f"`{found[1]}` is not defined here", found[1], helps)
    return Said(Code.TEMPLATE_NAME, text.rstrip("."))


def _fields(owner: str) -> tuple[str, ...]:
    """Return the fields of a class of the context, by its name."""
    kind = TYPES.get(owner)
    return () if kind is None else tuple(field.name for field in fields(kind))
