"""Operators: takes typed operands, gives one typed node, promoting int to float where that is safe.

Also knows of every node that it made: how large and deep it is, and its value where it is constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.diagnostics.codes import Code
from flash4gen.diagnostics.model import Label
from flash4gen.ir.expr import (
    BITWISE,
    Apply,
    Expr,
    Literal,
    Lookup,
    Op,
    Type,
    children,
    result_type,
)
from flash4gen.ir.lower_constants import MAX_INT, Constant, evaluate

if TYPE_CHECKING:
    from flash4gen.diagnostics.collect import Findings
    from flash4gen.ir.lower_scope import Scope
    from flash4gen.source import Span

MAX_NODES = 4000
MAX_DEPTH = 128

_ALWAYS_FLOAT = {Op.DIV, Op.POW, Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID, Op.SQRT, Op.RSQRT}
_MIXED_FLOAT = {Op.ADD, Op.SUB, Op.MUL, Op.MIN, Op.MAX, Op.WHERE}
_COMPARISONS = {Op.LT, Op.LE, Op.GT, Op.GE, Op.EQ, Op.NE}
_DIVISIONS = {Op.DIV, Op.FLOOR_DIV, Op.MOD}

_POWER = {Op.BIT_XOR: ("powers are written `**`",)}

_KIND = {
    Type.FLOAT: "a score or another float",
    Type.INT: "a position or another whole number",
    Type.BOOL: "true or false",
}


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is known of a node. Holds the node, so that its id stays its own."""

    expr: Expr
    nodes: int
    depth: int
    constant: Constant | None


class Operators:
    """Makes nodes, reporting to one list of findings."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._facts: dict[int, _Facts] = {}

    def constant(self, expr: Expr) -> Constant | None:
        """Return the value of a constant expression, None for any other."""
        return self._known(expr).constant

    def plus(self, operand: Expr, at: Span, scope: Scope) -> Expr | None:
        """Return the operand of a unary plus, which must be a number."""
        if operand.type is Type.BOOL:
            self._wrong_type(Op.ADD, (operand,), at, scope)
            return None
        return operand

    def apply(
        self, op: Op, args: tuple[Expr, ...], at: Span, whole: Span, scope: Scope
    ) -> Expr | None:
        """Return ``op`` on operands, or None after an error.

        Args:
            op: the operator.
            args: its operands, typed.
            at: place of the operator itself, for messages.
            whole: place of the whole application.
            scope: where this stands.
        """
        power = _whole_power(op, args, scope.site or whole)
        if power is not None:
            return power
        args = self._promoted(op, args)
        types = tuple(arg.type for arg in args)
        if result_type(op, types) is None:
            self._wrong_type(op, args, at, scope)
            return None
        span = scope.site or whole
        short = self._short_cut(op, args, span)
        if short is not None:
            return short
        try:
            value = self._evaluated(op, args)
        except ArithmeticError as problem:
            where, also = scope.place(whole)
            self._findings.error(
                Code.ARITHMETIC, f"constant arithmetic has no result: {problem}", where, also=also
            )
            return None
        if isinstance(value, bool):
            return Literal(value, span)
        facts = [self._known(arg) for arg in args]
        nodes = 1 + sum(known.nodes for known in facts)
        depth = 1 + max(known.depth for known in facts)
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            self.too_large(whole, scope)
            return None
        expr = Apply(op, args, span)
        self._facts[id(expr)] = _Facts(expr, nodes, depth, value)
        return expr

    def to_float(self, expr: Expr) -> Expr:
        """Return an int expression as a float one; a literal becomes a float literal."""
        if expr.type is not Type.INT:
            return expr
        if isinstance(expr, Literal):
            return Literal(float(expr.value), expr.span)
        known = self._known(expr)
        value = None if known.constant is None else float(known.constant)
        result = Apply(Op.TO_FLOAT, (expr,), expr.span)
        self._facts[id(result)] = _Facts(result, known.nodes + 1, known.depth + 1, value)
        return result

    def _known(self, expr: Expr) -> _Facts:
        found = self._facts.get(id(expr))
        if found is not None:
            return found
        if isinstance(expr, Apply | Lookup):  # q_end and look-ups, which are made elsewhere
            parts = [self._known(arg) for arg in children(expr)]
            return _Facts(
                expr, 1 + sum(p.nodes for p in parts), 1 + max(p.depth for p in parts), None
            )
        return _Facts(expr, 1, 1, expr.value if isinstance(expr, Literal) else None)

    def _promoted(self, op: Op, args: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """Turn ints to floats where the operator wants it.

        Arithmetic does so freely. A comparison does so for constants alone: `k < 0.5 * q` would
        compare positions as floats, which is exact only below 2²⁴ and seldom meant.
        """
        some_float = any(arg.type is Type.FLOAT for arg in args)
        if op in _ALWAYS_FLOAT or (op in _MIXED_FLOAT and some_float):
            return tuple(self.to_float(arg) for arg in args)
        if op in _COMPARISONS and some_float:
            return tuple(
                self.to_float(arg) if self.constant(arg) is not None else arg for arg in args
            )
        return args

    def _short_cut(self, op: Op, args: tuple[Expr, ...], span: Span) -> Expr | None:
        """Fold what decides itself: folded symbols leave `where` and `and` with literal conditions.

        A negative literal is a literal too.
        """
        match op, args:
            case Op.WHERE, (Literal(value=bool(condition)), yes, no):
                return yes if condition else no
            case (
                (Op.AND | Op.OR),
                (Literal(value=bool(decided)) as literal, other)
                | (
                    other,
                    Literal(value=bool(decided)) as literal,
                ),
            ):
                return literal if decided is (op is Op.OR) else other
            case Op.NOT, (Literal(value=bool(value)),):
                return Literal(not value, span)
            case Op.NEG, (Literal(value=value),):
                return Literal(-value, span)
            case _:
                return None

    def _evaluated(self, op: Op, args: tuple[Expr, ...]) -> Constant | None:
        values = [self._known(arg).constant for arg in args]
        if op in _DIVISIONS and values[1] == 0:
            raise ArithmeticError("division by zero")
        present = tuple(value for value in values if value is not None)
        return evaluate(op, present) if len(present) == len(values) else None

    def _wrong_type(self, op: Op, args: tuple[Expr, ...], at: Span, scope: Scope) -> None:
        where, also = scope.place(at)
        parts = [
            Label(arg.span, f"this is {_KIND[arg.type]}")
            for arg in args
            if arg.span is not None and scope.site is None
        ]
        kinds = " and ".join(arg.type.value for arg in args)
        self._findings.error(
            Code.WRONG_TYPE,
            f"`{at.text}` does not take {kinds}",
            where,
            also=(*also, *parts),
            helps=_advice(op, args),
        )

    def too_large(self, whole: Span, scope: Scope) -> None:
        """Report that an expression has outgrown what is followed."""
        self._findings.error(
            Code.TOO_LARGE,
            "the expression grows too large",
            scope.place(whole)[0],
            notes=(
                f"with all functions expanded it has more than {MAX_NODES} operations "
                f"or {MAX_DEPTH} levels",
            ),
        )


def _whole_power(op: Op, args: tuple[Expr, ...], span: Span) -> Literal | None:
    """Fold `2 ** 12` to a whole number; every other power is a float."""
    match op, args:
        case Op.POW, (Literal(value=int(base)), Literal(value=int(exponent))):
            small = 0 <= exponent < MAX_INT.bit_length() and abs(base**exponent) <= MAX_INT
            return Literal(base**exponent, span) if small else None
        case _:
            return None


def _advice(op: Op, args: tuple[Expr, ...]) -> tuple[str, ...]:
    types = {arg.type for arg in args}
    if op in _COMPARISONS and types == {Type.INT, Type.FLOAT}:
        divides = any(isinstance(arg, Apply) and arg.op is Op.DIV for arg in args)
        return (
            *(["positions divide with `//`, which gives a whole number"] if divides else ()),
            "compare whole numbers with whole numbers; to compare as floats, multiply by `1.0`",
        )
    if op in _COMPARISONS and Type.BOOL in types:
        return ("combine conditions with `and`, `or` and `not`",)
    if op in (Op.AND, Op.OR, Op.NOT):
        return ("`and`, `or` and `not` take conditions, such as `k <= q`",)
    if op is Op.WHERE:
        return ("`where(condition, a, b)` takes a condition and two values of one kind",)
    if op in BITWISE and Type.BOOL in types:
        return ("bits are those of whole numbers; join conditions with `and`, `or` and `not`",)
    if op in BITWISE:
        return ("bits are those of whole numbers", *_POWER.get(op, ()))
    if op in (Op.FLOOR_DIV, Op.MOD) and Type.FLOAT in types:
        return ("`//` and `%` are for positions; scores divide with `/`",)
    if Type.BOOL in types:
        return ("turn a condition into a number with `where(condition, 1, 0)`",)
    return ()
