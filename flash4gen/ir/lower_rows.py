"""Fields about whole rows: norms of queries and keys, and what becomes of the output.

Also says where a variable has no value: ``d`` and ``out`` are elements of rows, which scores and
masks know nothing of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.diagnostics.suggest import did_you_mean
from flash4gen.ir.expr import Literal, Type, Var, Variable, walk
from flash4gen.ir.lower_constants import MAX_FLOAT
from flash4gen.ir.nodes import DType, Norm
from flash4gen.syntax import ast

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flash4gen.ir.expr import Expr
    from flash4gen.ir.lower_expr import Expressions
    from flash4gen.ir.lower_fields import Fields
    from flash4gen.ir.lower_scope import Scope

RMS_NORM = "rms_norm"
_ARGUMENTS = ("eps", "weight")
_LEAST_EPS = 2.0**-126
_EXAMPLE = "write `rms_norm(eps = 1e-6)`, or `rms_norm(eps = 1e-6, weight = w[d])`"

_WHY = {
    Var.S: "norms come before the scores, and the output after them",
    Var.K: "it is the same for all keys",
    Var.Q: "it is the same for all queries",
    Var.D: "only the weight of a norm and `output` have elements of rows",
    Var.OUT: "only `output` knows the output",
}
"""Why a variable has no value in a field."""


class RowFields:
    """Lowers the fields about rows of one item."""

    def __init__(self, fields: Fields, expressions: Expressions, scope: Scope) -> None:
        self._fields = fields
        self._findings = fields.findings
        self._expressions = expressions
        self._scope = scope
        self.damaged = False

    def norm(self, name: str) -> Norm | None:
        """Return a norm; None where it is not written, or after an error."""
        if self._fields.get(name) is None:
            return None
        before = self._findings.errors
        found = self._norm(name)
        self.damaged |= self._findings.errors > before
        return found

    def output(self) -> Expr | None:
        """Return what an element of the output becomes; None where it stays, or after an error."""
        if self._fields.get("output") is None:
            return None
        before = self._findings.errors
        node = self._fields.expression("output")
        found = None if node is None else self._number("output", node)
        if found is not None and node is not None:
            self._no_value("output", found, node, (Var.S, Var.K))
        self.damaged |= self._findings.errors > before
        return None if found == Variable(Var.OUT) else found

    def check_elements(self, dtype: DType) -> None:
        """Refuse norms of 8-bit elements: normalised queries would be rounded to 8 bits again."""
        for name in ("q_norm", "k_norm"):
            field = self._fields.get(name)
            if field is not None and dtype is DType.FP8_E4M3:
                message = "norms take elements of 16 bits"
                helps = ("normalise queries and keys before they are made 8-bit ones",)
                self._wrong(message, Label(field.name.span), helps)

    def check(self, others: Mapping[str, Expr | None]) -> None:
        """Refuse elements of rows in the fields that know of none."""
        for name, expr in others.items():
            written = expr is not None and self._fields.get(name) is not None
            node = self._fields.expression(name) if written else None
            if expr is not None and node is not None:
                self._no_value(name, expr, node, (Var.D, Var.OUT))

    def _norm(self, name: str) -> Norm | None:
        node = self._fields.single(name)
        if node is None:
            return None
        if not isinstance(node, ast.Call) or node.function.text != RMS_NORM:
            self._wrong(f"`{name}` is a norm", Label(node.span))
            return None
        given: dict[str, ast.Expression] = {}
        for argument in node.arguments:
            key = argument.name.text if argument.name else ""
            if key not in _ARGUMENTS or key in given:
                known = "`rms_norm` has the arguments `eps` and `weight`, each once and by name"
                self._wrong(known, Label(argument.span), did_you_mean(key, _ARGUMENTS))
                return None
            given[key] = argument.value
        if "eps" not in given:
            self._wrong("`rms_norm` needs an `eps`", Label(node.span))
            return None
        eps = self._eps(given["eps"])
        weight: Expr | None = Literal(1.0)
        if "weight" in given:
            weight = self._number(name, given["weight"])
            if weight is not None:
                banned = (Var.S, Var.Q, Var.K, Var.OUT)
                self._no_value(name, weight, given["weight"], banned)
        return None if eps is None or weight is None else Norm(eps, weight)

    def _eps(self, node: ast.Expression) -> float | None:
        value = self._expressions.constant(node, self._scope)
        if value is None:
            return None
        if isinstance(value, bool) or not _LEAST_EPS <= value <= MAX_FLOAT:
            why = "`eps` is a number above 0 that float32 can hold: a row of zeros is divided by it"
            self._wrong(why, Label(node.span, f"this is {value}"))
            return None
        return float(value)

    def _number(self, name: str, node: ast.Expression) -> Expr | None:
        """Return a FLOAT expression, or None after an error."""
        found = self._expressions.lower(node, self._scope)
        if found is None:
            return None
        if found.type is Type.BOOL:
            self._findings.error(
                Code.WRONG_TYPE, f"`{name}` is a number, this is a condition", node.span
            )
            return None
        return self._expressions.to_float(found)

    def _no_value(self, name: str, expr: Expr, node: ast.Expression, banned: Iterable[Var]) -> None:
        for found in walk(expr):
            if isinstance(found, Variable) and found.var in banned:
                self._findings.error(
                    Code.NO_VALUE_HERE,
                    f"`{found.var.value}` has no value in `{name}`",
                    found.span or node.span,
                    notes=(_WHY[found.var],),
                )
                return

    def _wrong(self, message: str, at: Label, helps: tuple[str, ...] = ()) -> None:
        self._findings.error(Code.NORM, message, at, helps=helps or (_EXAMPLE,))
