"""Which form of a function a call means, and which argument goes to which parameter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import did_you_mean
from flash4gen.ir.lower_functions import ALIGNMENTS
from flash4gen.ir.nodes import Lengths

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.lower_scope import Scope
    from flash4gen.source import Span
    from flash4gen.syntax import ast

WINDOW = "window"
WINDOW_HELPS = (
    "`window(keys = {n})`: a query sees {n} keys, its own position included",
    "`window(left_inclusive = {less})`: the same window, as libraries count that take the keys "
    "to the left",
)


@dataclass(frozen=True, slots=True)
class Binding:
    """A form of a function and the arguments that were given for its parameters."""

    form: ast.Definition
    given: Mapping[str, ast.Argument]


@dataclass(frozen=True, slots=True)
class _Misfit:
    """Why a form does not take a call."""

    form: ast.Definition
    span: Span
    message: str
    helps: tuple[str, ...] = ()
    code: Code = Code.WRONG_ARGUMENTS


def choose_form(
    call: ast.Call, forms: tuple[ast.Definition, ...], scope: Scope, findings: Findings
) -> Binding | None:
    """Return the form that takes the call's arguments, or None after an error.

    Forms of one name differ in their parameters' names, so at most one fits a call that names its
    arguments; where several do, the first in the text is meant.
    """
    attempts = [_bind(call, form, scope) for form in forms]
    fitting = next((attempt for attempt in attempts if isinstance(attempt, Binding)), None)
    if fitting is not None:
        return fitting
    misfits = [attempt for attempt in attempts if isinstance(attempt, _Misfit)]
    if call.function.text == WINDOW and any(not argument.name for argument in call.arguments):
        bare_window(call.arguments[0].value, findings, scope.place(call.span)[0])
        return None
    if len(misfits) == 1:
        _report(misfits[0], scope, findings)
        return None
    at, also = scope.place(call.span)
    findings.error(
        Code.WRONG_ARGUMENTS,
        f"no form of `{call.function.text}` takes these arguments",
        at,
        also=also,
        helps=tuple(f"write `{signature(form)}`" for form in forms),
    )
    return None


def bare_window(size: ast.Value, findings: Findings, at: Label) -> None:
    """Report a window given as a number alone, with both ways to say what was meant."""
    value = getattr(size, "value", None)
    known = isinstance(value, int) and not isinstance(value, bool) and value > 1
    n, less = (str(value), str(value - 1)) if known and value else ("N", "N - 1")
    findings.error(
        Code.BARE_WINDOW,
        "a window must say what its number counts",
        at,
        notes=("some count the query's own position, some do not; the two differ by one key",),
        helps=tuple("write " + text.format(n=n, less=less) for text in WINDOW_HELPS),
    )


def signature(form: ast.Definition) -> str:
    """Spell a form as its `def` does: ``window(*, keys, align : start | end = end)``."""
    parts = []
    starred = False
    for parameter in form.parameters:
        if parameter.keyword_only and not starred:
            parts.append("*")
            starred = True
        parts.append(" ".join(parameter.span.text.split()))
    return f"{form.name.text}({', '.join(parts)})"


def _bind(call: ast.Call, form: ast.Definition, scope: Scope) -> Binding | _Misfit:
    name = call.function.text
    places = [p.name.text for p in form.parameters if not p.keyword_only]
    known = [p.name.text for p in form.parameters]
    given: dict[str, ast.Argument] = {}
    for i, argument in enumerate(call.arguments):
        if argument.name is not None:
            key = argument.name.text
        elif i < len(places):
            key = places[i]
        else:
            what = f"`{name}` takes {len(places) or 'no'} argument{'s' * (len(places) != 1)}"
            what += " without a name" if len(places) < len(known) else ""
            return _Misfit(form, argument.span, what)
        if key not in known:
            hint = did_you_mean(key, known)
            return _Misfit(form, argument.span, f"`{name}` has no parameter `{key}`", hint)
        if key in given:
            return _Misfit(form, argument.span, f"`{key}` is given twice")
        given[key] = argument
    for parameter in form.parameters:
        missing = parameter.name.text not in given and parameter.default is None
        if missing and not _may_be_left_out(parameter, scope):
            return _missing(call, form, parameter)
    return Binding(form, given)


def _may_be_left_out(parameter: ast.Parameter, scope: Scope) -> bool:
    """Where both lengths are equal, start and end are the same alignment."""
    return scope.lengths is Lengths.EQUAL and _is_alignment(parameter)


def _is_alignment(parameter: ast.Parameter) -> bool:
    return {choice.text for choice in parameter.choices} == ALIGNMENTS


def _missing(call: ast.Call, form: ast.Definition, parameter: ast.Parameter) -> _Misfit:
    name, wanted = call.function.text, parameter.name.text
    if not _is_alignment(parameter):
        helps = (f"write `{signature(form)}`",)
        return _Misfit(form, call.span, f"`{name}` needs `{wanted}`", helps)
    return _Misfit(
        form,
        call.span,
        f"`{name}` must say where it is aligned, as the query and key lengths may differ",
        (
            f"write `{name}({wanted} = end)`: the last query meets the last key "
            "(decoding, chunked prefill)",
            f"write `{name}({wanted} = start)`: the first query meets the first key",
            "or add the field `lengths = equal`, which makes both the same",
        ),
        Code.ALIGN,
    )


def _report(misfit: _Misfit, scope: Scope, findings: Findings) -> None:
    at, also = scope.place(misfit.span)
    also = (*also, Label(misfit.form.name.span, "defined here"))
    findings.error(
        misfit.code,
        misfit.message,
        at,
        also=also if misfit.code is not Code.ALIGN else (),
        helps=misfit.helps,
    )
