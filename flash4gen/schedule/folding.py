"""Constant factors of a score, moved to where they cost nothing.

The product q·k is multiplied by the scale, the score expression follows, and its value is times
log2(e) in the exponent. A factor at either end of the expression joins its neighbour there:
50 · tanh(scale · qk / 50) becomes tanh(qk · (scale / 50)), with 50 · log2(e) in the exponent.
"""

from __future__ import annotations

from dataclasses import dataclass

from flash4gen.ir.expr import SCORE, Apply, Expr, Literal, Op, Var, lookups, variables, walk
from flash4gen.schedule.monotone import rises


@dataclass(frozen=True, slots=True)
class FoldedScore:
    """score(scale · qk) = factor · body(prescale · qk).

    Attributes:
        prescale: multiplies the product; 1 if the body is the identity.
        body: the rest of the expression, whose ``s`` is the prescaled product.
        factor: > 0.
    """

    prescale: float
    body: Expr
    factor: float

    @property
    def identity(self) -> bool:
        """Whether only factors are left."""
        return self.body == SCORE

    @property
    def monotone(self) -> bool:
        """Whether the body never falls as its product grows, and depends on nothing else."""
        alone = variables(self.body) == {Var.S} and not lookups(self.body)
        return alone and rises(self.body)


def fold(score: Expr, scale: float) -> FoldedScore:
    """Return a score with its constant factors taken out."""
    factor, body = _outer(score)
    inner = _inner(body)
    if inner is not None:
        body = _without(body, inner)
    prescale = scale * (1.0 if inner is None else inner)
    if body == SCORE:
        return FoldedScore(1.0, body, factor * prescale)
    return FoldedScore(prescale, body, factor)


def _outer(expr: Expr) -> tuple[float, Expr]:
    """Split off the positive constant that the whole expression is multiplied by."""
    match expr:
        case Apply(op=Op.MUL, args=(Literal(value=value), rest)) if value > 0:
            factor, body = _outer(rest)
            return factor * value, body
        case Apply(op=Op.MUL | Op.DIV as op, args=(rest, Literal(value=value))) if value > 0:
            factor, body = _outer(rest)
            return (factor * value if op is Op.MUL else factor / value), body
    return 1.0, expr


def _scaled(expr: Expr) -> float | None:
    """Return c if the expression is s · c, s / c or c · s."""
    match expr:
        case Apply(op=Op.MUL, args=(a, Literal(value=value))) if a == SCORE and value > 0:
            return float(value)
        case Apply(op=Op.MUL, args=(Literal(value=value), a)) if a == SCORE and value > 0:
            return float(value)
        case Apply(op=Op.DIV, args=(a, Literal(value=value))) if a == SCORE and value > 0:
            return 1.0 / value
    return None


def _inner(expr: Expr) -> float | None:
    """Return the constant that every ``s`` of the expression is multiplied by, if it is one."""
    found = {_scaled(node) for node in walk(expr)} - {None}
    products = sum(_scaled(node) is not None for node in walk(expr))
    reads = sum(node == SCORE for node in walk(expr))
    return found.pop() if len(found) == 1 and products == reads else None


def _without(expr: Expr, inner: float) -> Expr:
    if _scaled(expr) == inner:
        return SCORE
    if not isinstance(expr, Apply):
        return expr
    return Apply(expr.op, tuple(_without(arg, inner) for arg in expr.args), expr.span)
