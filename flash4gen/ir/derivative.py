"""Symbolic derivatives of scores and sinks, and where an expression has none.

In: a FLOAT expression and what to differentiate by: the score, or one look-up. Out: an
expression, simplified as numbers are (``0 · x`` is 0), that is built from the very subexpressions
of its source, so that a kernel which computes both computes what they share once.

At a kink, where ``abs``, ``min``, ``max`` or a ``where`` change sides, the derivative is that of
one of the sides: a subgradient. What jumps has none: ``jumps`` names the comparisons at fault.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.ir.expr import (
    SCORE,
    Apply,
    Expr,
    Literal,
    Op,
    Type,
    Var,
    variables,
    walk,
)
from flash4gen.ir.simplify import simplify

if TYPE_CHECKING:
    from collections.abc import Iterator

ZERO = Literal(0.0)
ONE = Literal(1.0)

COMPARISONS = frozenset({Op.LT, Op.LE, Op.GT, Op.GE, Op.EQ, Op.NE})
_CLOSE = 1e-12
"""Relative distance of two constants that count as one: both have been through float64."""


def derivative(expr: Expr, by: Expr) -> Expr:
    """Return d expr / d by.

    Args:
        expr: a FLOAT expression, simplified.
        by: ``SCORE`` or a look-up; everything else counts as constant, conditions too.
    """
    return _Derivatives(by).of(expr)


def jumps(expr: Expr) -> tuple[Apply, ...]:
    """Return the comparisons by which an expression jumps, or may jump, as the score moves.

    A comparison that reads the score is harmless as the condition of a ``where`` whose sides are
    the same where its operands are: ``where(s > 0, s, 0.1 * s)``.
    """
    return tuple(dict.fromkeys(_jumps(simplify(expr))))


class _Derivatives:
    """Differentiates by one thing; an expression that occurs twice is gone through once."""

    def __init__(self, by: Expr) -> None:
        self._by = by
        self._known: dict[Expr, Expr] = {by: ONE}

    def of(self, expr: Expr) -> Expr:
        found = self._known.get(expr)
        if found is None:
            found = self._apply(expr) if isinstance(expr, Apply) else ZERO
            self._known[expr] = found
        return found

    def _apply(self, expr: Apply) -> Expr:
        if expr.type is not Type.FLOAT or expr.op is Op.TO_FLOAT:
            return ZERO  # a whole number is a constant between its jumps
        if expr.op is Op.WHERE:
            condition, a, b = expr.args
            return _where(condition, self.of(a), self.of(b))
        if len(expr.args) == 1:
            return _times(self.of(expr.args[0]), _outer(expr))
        a, b = expr.args
        return _binary(expr, a, b, self.of(a), self.of(b))


def _outer(expr: Apply) -> Expr:
    """Return the derivative of a function of one operand by that operand."""
    (a,) = expr.args
    match expr.op:
        case Op.NEG:
            return Literal(-1.0)
        case Op.EXP:
            return expr
        case Op.LOG:
            return Apply(Op.DIV, (ONE, a))
        case Op.TANH:
            return Apply(Op.SUB, (ONE, _times(expr, expr)))
        case Op.SIGMOID:
            return _times(expr, Apply(Op.SUB, (ONE, expr)))
        case Op.SQRT:
            return Apply(Op.DIV, (Literal(0.5), expr))
        case Op.RSQRT:
            return _times(Literal(-0.5), _times(expr, _times(expr, expr)))
        case Op.ABS:
            return _where(Apply(Op.LT, (a, ZERO)), Literal(-1.0), ONE)
        case _:
            raise ValueError(f"no derivative of {expr.op.value}")


def _binary(expr: Apply, a: Expr, b: Expr, da: Expr, db: Expr) -> Expr:
    """Return the derivative of an operator on a and b, whose own derivatives are given."""
    match expr.op:
        case Op.ADD:
            return _plus(da, db)
        case Op.SUB:
            return _plus(da, _times(Literal(-1.0), db))
        case Op.MUL:
            return _plus(_times(da, b), _times(a, db))
        case Op.DIV:
            return _over(_plus(da, _times(Literal(-1.0), _times(expr, db))), b)
        case Op.MIN:
            return _where(Apply(Op.LE, (a, b)), da, db)
        case Op.MAX:
            return _where(Apply(Op.GE, (a, b)), da, db)
        case Op.POW:
            base = _times(_times(b, _power(a, b)), da)
            exponent = ZERO if db == ZERO else _times(_times(expr, Apply(Op.LOG, (a,))), db)
            return _plus(ZERO if da == ZERO else base, exponent)
        case _:
            raise ValueError(f"no derivative of {expr.op.value}")


def _power(a: Expr, b: Expr) -> Expr:
    """Return a ** (b − 1)."""
    if isinstance(b, Literal):
        less = float(b.value) - 1.0
        if less in (0.0, 1.0):
            return a if less else ONE
        return Apply(Op.POW, (a, Literal(less)))
    return Apply(Op.POW, (a, Apply(Op.SUB, (b, ONE))))


def _split(expr: Expr) -> tuple[float, Expr]:
    """Return an expression as a constant factor and the rest, which is 1 if there is none."""
    match expr:
        case Literal(value=value):
            return float(value), ONE
        case Apply(op=Op.NEG, args=(a,)):
            factor, rest = _split(a)
            return -factor, rest
        case Apply(op=Op.MUL, args=(Literal(value=value), rest)):
            factor, rest = _split(rest)
            return float(value) * factor, rest
        case Apply(op=Op.MUL | Op.DIV, args=(rest, Literal(value=value))) if value:
            factor, rest = _split(rest)
            return (factor * value if expr.op is Op.MUL else factor / value), rest
    return 1.0, expr


def _times(a: Expr, b: Expr) -> Expr:
    """Return a · b, constant factors gathered in front."""
    (factor_a, rest_a), (factor_b, rest_b) = _split(a), _split(b)
    factor = factor_a * factor_b
    if factor == 0.0:
        return ZERO
    if rest_a == ONE or rest_b == ONE:
        return _scaled(factor, rest_b if rest_a == ONE else rest_a)
    if factor_a == factor_b == 1.0:
        return Apply(Op.MUL, (a, b))
    return _scaled(factor, Apply(Op.MUL, (rest_a, rest_b)))


def _scaled(factor: float, rest: Expr) -> Expr:
    if rest == ONE:
        return Literal(factor)
    if math.isclose(factor, 1.0, rel_tol=_CLOSE):
        return rest
    if math.isclose(factor, -1.0, rel_tol=_CLOSE):
        return Apply(Op.NEG, (rest,))
    return Apply(Op.MUL, (Literal(factor), rest))


def _over(a: Expr, b: Expr) -> Expr:
    """Return a / b."""
    if a == ZERO:
        return ZERO
    if isinstance(b, Literal) and b.value:
        return _times(Literal(1.0 / b.value), a)
    factor, rest = _split(a)
    return Apply(Op.DIV, (a, b)) if rest == ONE else _scaled(factor, Apply(Op.DIV, (rest, b)))


def _plus(a: Expr, b: Expr) -> Expr:
    """Return a + b."""
    if a == ZERO or b == ZERO:
        return b if a == ZERO else a
    factor_a, rest_a = _split(a)
    factor_b, rest_b = _split(b)
    if rest_a == rest_b:
        return _times(Literal(factor_a + factor_b), rest_a)
    if factor_b < 0:
        return Apply(Op.SUB, (a, _scaled(-factor_b, rest_b)))
    return Apply(Op.ADD, (a, b))


def _where(condition: Expr, a: Expr, b: Expr) -> Expr:
    return a if a == b else Apply(Op.WHERE, (condition, a, b))


def _jumps(expr: Expr) -> Iterator[Apply]:
    if not isinstance(expr, Apply):
        return
    if expr.op in COMPARISONS and Var.S in variables(expr):
        yield expr
        return
    args = expr.args
    if expr.op is Op.WHERE and _meet(*args):
        args = args[1:]
    for arg in args:
        yield from _jumps(arg)


def _meet(condition: Expr, a: Expr, b: Expr) -> bool:
    """Whether the two sides of a ``where`` are the same where its condition changes."""
    if not (isinstance(condition, Apply) and condition.op in COMPARISONS):
        return False
    left, right = condition.args
    if Var.S in variables(right):
        left, right = right, left
    if Var.S in variables(right) or (left != SCORE and not isinstance(left, Apply)):
        return False
    sides = [simplify(_replaced(side, left, right)) for side in (a, b)]
    if any(SCORE in walk(side) for side in sides) and sides[0] != sides[1]:
        return False
    match sides:
        case [Literal(value=first), Literal(value=second)]:
            return math.isclose(first, second, rel_tol=_CLOSE, abs_tol=_CLOSE)
    return sides[0] == sides[1]


def _replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    if expr == old:
        return new
    if isinstance(expr, Apply):
        return Apply(expr.op, tuple(_replaced(arg, old, new) for arg in expr.args), expr.span)
    return expr  # the indices of a look-up are whole numbers and never read the score
