"""Functions of the language: the table of `def`s, the checks on each, and how a call finds its own.

A function is a macro. What can be said about a `def` without a call is said here, once, at the
`def`; what depends on the arguments is said at the call, by ``lower_expr``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import did_you_mean
from flash4gen.ir.expr import Op, Var
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flash4gen.diagnostics.collect import Findings

BUILTINS: dict[str, tuple[Op, int]] = {
    "where": (Op.WHERE, 3),
    "min": (Op.MIN, 2),
    "max": (Op.MAX, 2),
    "abs": (Op.ABS, 1),
    "exp": (Op.EXP, 1),
    "log": (Op.LOG, 1),
    "tanh": (Op.TANH, 1),
    "sigmoid": (Op.SIGMOID, 1),
    "sqrt": (Op.SQRT, 1),
    "rsqrt": (Op.RSQRT, 1),
}
"""Name → operator and number of arguments. `min` and `max` also take more."""

_STEPS = (
    "positions divide into whole numbers with `//`; a score has no whole numbers, as a step has "
    "no derivative: bend it with `softcap(s, cap)`, `min` or `max`"
)
INSTEAD = {
    **dict.fromkeys(("int", "floor", "ceil", "round", "trunc"), _STEPS),
    "sign": "write `where(s < 0, -1.0, 1.0)`; to train, `tanh(s)`, which does not jump",
    "relu": "write `max(s, 0.0)`",
    "clamp": "write `min(max(s, low), high)`",
    "clip": "write `min(max(s, low), high)`",
    "pow": "write `x ** y`",
    "float": "whole numbers become floats by themselves: leave it out",
}
"""What to write for functions that other languages have."""

Q_END = "q_end"
VARIABLES: tuple[str, ...] = (*(var.value for var in Var), Q_END)
CONSTANTS: tuple[str, ...] = ("heads", "kv_heads", "head_dim", "value_dim", "scale")
ALIGNMENTS = frozenset({"start", "end"})


@dataclass(frozen=True)
class Functions:
    """The functions that a piece of text can call.

    Attributes:
        table: name → its forms; forms of one name differ in their parameters' names.
        broken: names with an error at their `def`; a call of one gives nothing, silently.
        elsewhere: the names that are defined in another file, with that file's table.
    """

    table: Mapping[str, tuple[ast.Definition, ...]]
    broken: frozenset[str] = frozenset()
    elsewhere: Mapping[str, Functions] = field(default_factory=dict)

    def owner(self, name: str) -> Functions:
        """Return the table that a function's body is to be read with: that of its own file."""
        return self.elsewhere.get(name, self)

    def own(self) -> dict[str, ast.Name]:
        """Return the functions of this file, each with the name at its first `def`."""
        return {
            name: forms[0].name for name, forms in self.table.items() if name not in self.elsewhere
        }


def collect(
    definitions: tuple[ast.Definition, ...],
    prelude: Functions | None,
    findings: Findings,
    *,
    used: Sequence[Functions] = (),
    lost: frozenset[str] = frozenset(),
) -> Functions:
    """Check `def` items and put them over the prelude, which a user's name hides.

    Args:
        definitions: the items, in the order of the text.
        prelude: what can be called besides; None for the prelude itself.
        findings: where to report.
        used: the functions of files that this one uses; of theirs, their own can be called.
        lost: names of items that a syntax error took out of the file.
    """
    own: dict[str, tuple[ast.Definition, ...]] = {}
    elsewhere = dict.fromkeys(prelude.table, prelude) if prelude else {}
    for functions in used:
        elsewhere |= dict.fromkeys(functions.own(), functions)
    broken = set(lost)
    broken.update(name for name, home in elsewhere.items() if name in home.broken)
    for definition in definitions:
        before = findings.errors
        forms = own.get(definition.name.text, ())
        _check_form(definition, forms, findings)
        own[definition.name.text] = (*forms, definition)
        if findings.errors > before:
            broken.add(definition.name.text)
    table = {**{name: home.table[name] for name, home in elsewhere.items()}, **own}
    for definition in definitions:
        if not _Names(table, definition, findings, lost).check():
            broken.add(definition.name.text)
    broken |= _recursive(own, findings)
    elsewhere = {name: home for name, home in elsewhere.items() if name not in own}
    return Functions(table, frozenset(broken), elsewhere)


def _check_form(
    definition: ast.Definition, others: tuple[ast.Definition, ...], findings: Findings
) -> None:
    name = definition.name
    if name.text in BUILTINS or name.text in VARIABLES or name.text in CONSTANTS:
        findings.error(
            Code.RESERVED_NAME,
            f"`{name.text}` is part of the language",
            name.span,
            helps=("give the function another name",),
        )
    names = {parameter.name.text for parameter in definition.parameters}
    for other in others:
        if names == {parameter.name.text for parameter in other.parameters}:
            findings.error(
                Code.DUPLICATE,
                f"`{name.text}` is defined twice with the same parameters",
                name.span,
                also=(Label(other.name.span, "first defined here"),),
            )
    seen: dict[str, ast.Parameter] = {}
    for parameter in definition.parameters:
        if first := seen.get(parameter.name.text):
            findings.error(
                Code.DUPLICATE,
                f"`{name.text}` has two parameters `{parameter.name.text}`",
                parameter.name.span,
                also=(Label(first.span, "first here"),),
            )
        seen[parameter.name.text] = parameter
        _check_default(parameter, findings)


def _check_default(parameter: ast.Parameter, findings: Findings) -> None:
    choices = [choice.text for choice in parameter.choices]
    default = parameter.default
    if not choices or default is None:
        return
    if not isinstance(default, ast.Name) or default.text not in choices:
        findings.error(
            Code.WRONG_SYMBOL,
            f"the default of `{parameter.name.text}` is not one of its symbols",
            default.span,
            helps=(f"write one of {', '.join(choices)}",),
        )


@dataclass(frozen=True, slots=True)
class _Names:
    """Checks that every name in a body means something, whatever the arguments are."""

    table: Mapping[str, tuple[ast.Definition, ...]]
    definition: ast.Definition
    findings: Findings
    lost: frozenset[str]

    def check(self) -> bool:
        before = self.findings.errors
        names = {parameter.name.text for parameter in self.definition.parameters}
        for node in (self.definition.requires, self.definition.body):
            if node is not None:
                self._expression(node, names)
        for parameter in self.definition.parameters:
            if parameter.default is not None and not parameter.choices:
                self._expression(parameter.default, set())
        return self.findings.errors == before

    def _expression(self, node: ast.Expression, names: set[str]) -> None:
        if isinstance(node, ast.Name):
            known = {*names, *VARIABLES, *CONSTANTS, *self.table, *self.lost}
            if node.text not in known:
                unknown_name(node, known, self.findings)
            return
        if isinstance(node, ast.Call) and not self._callable(node):
            return
        if isinstance(node, ast.Index) and node.tensor.text not in names:
            helps = ("hand the tensor over: a parameter can be one",)
            found = f"`{node.tensor.text}` is no parameter of `{self.definition.name.text}`"
            self.findings.error(Code.LOOKUP, found, node.tensor.span, helps=helps)
        allowed = names | self._symbols(node)
        for child in ast.children(node):
            self._expression(child, allowed)

    def _callable(self, node: ast.Call) -> bool:
        if node.function.text in {*BUILTINS, *self.table, *self.lost}:
            return True
        unknown_function(node.function, self.table, self.findings)
        return False

    def _symbols(self, node: ast.Expression) -> set[str]:
        """Symbols that may stand directly below a node, beside the ordinary names."""
        if isinstance(node, ast.Call):
            forms = self.table.get(node.function.text, ())
            return {c.text for form in forms for p in form.parameters for c in p.choices}
        if isinstance(node, ast.Compare):
            compared = {child.text for child in node.operands if isinstance(child, ast.Name)}
            own = self.definition.parameters
            return {c.text for p in own if p.name.text in compared for c in p.choices}
        return set()


def unknown_name(node: ast.Name, known: set[str], findings: Findings) -> None:
    """Report a name that means nothing, with the nearest one that does."""
    findings.error(
        Code.UNKNOWN_NAME,
        f"unknown name `{node.text}`",
        node.span,
        helps=did_you_mean(node.text, {*known, *BUILTINS, "true", "false"}),
    )


def unknown_function(
    name: ast.Name, table: Mapping[str, tuple[ast.Definition, ...]], findings: Findings
) -> None:
    """Report a call of something that is no function."""
    helps = did_you_mean(name.text, {*table, *BUILTINS})
    if name.text in VARIABLES or name.text in CONSTANTS:
        helps = (f"`{name.text}` is a value; write it without parentheses",)
    elif name.text in INSTEAD and name.text not in table:
        helps = (INSTEAD[name.text],)
    findings.error(Code.UNKNOWN_FUNCTION, f"unknown function `{name.text}`", name.span, helps=helps)


def _uses(definition: ast.Definition) -> Iterator[ast.Name]:
    """Yield every name in a definition that may be a call, unless it is a parameter."""
    own = {parameter.name.text for parameter in definition.parameters}
    defaults = [p.default for p in definition.parameters if p.default and not p.choices]
    open_nodes = [definition.body, *defaults]
    if definition.requires is not None:
        open_nodes.append(definition.requires)
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, ast.Call):
            yield node.function
        elif isinstance(node, ast.Name) and node.text not in own:
            yield node
        open_nodes.extend(ast.children(node))


def _recursive(
    table: Mapping[str, tuple[ast.Definition, ...]], findings: Findings
) -> frozenset[str]:
    """Report each cycle of calls once, at its first `def`; return every name that is in one."""
    calls = {
        name: {use.text: use for form in forms for use in _uses(form) if use.text in table}
        for name, forms in table.items()
    }
    found: set[str] = set()
    for cycle in _cycles(calls):
        found.update(cycle)
        steps = [*cycle, cycle[0]]
        findings.error(
            Code.RECURSIVE,
            f"`{cycle[0]}` calls itself: {' → '.join(steps)}",
            table[cycle[0]][0].name.span,
            also=tuple(
                Label(calls[caller][called].span, f"`{caller}` calls `{called}`")
                for caller, called in pairwise(steps)
            ),
            notes=("functions are expanded where they are called, so a cycle would never end",),
        )
    return frozenset(found)


def _cycles(calls: Mapping[str, Mapping[str, ast.Name]]) -> Iterator[list[str]]:
    """Yield the cycles that a depth-first walk closes; every recursive function is in one."""
    finished: set[str] = set()
    for start in calls:
        if start in finished:
            continue
        path = [start]
        pending = [iter(calls[start])]
        on_path = {start}
        while pending:
            called = next(pending[-1], None)
            if called is None:
                pending.pop()
                on_path.discard(path[-1])
                finished.add(path.pop())
            elif called in on_path:
                yield path[path.index(called) :]
            elif called not in finished:
                path.append(called)
                pending.append(iter(calls[called]))
                on_path.add(called)
