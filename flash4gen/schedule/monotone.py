"""Whether a score expression rises with the score: then the row maximum may be taken before it.

In: the expression of a score. Out: a verdict, on the safe side. What reads the key's position may
order the keys of a row differently, so it counts as unknown, however it treats the score.
"""

from __future__ import annotations

from enum import Enum, auto

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Var, Variable, variables

_RISING = {Op.EXP, Op.TANH, Op.SIGMOID}
"""Without log and sqrt: what has no result would hide behind a larger score that has one."""
_PICKING = {Op.MIN, Op.MAX}


class Trend(Enum):
    """How a value changes along a row, as the score rises."""

    SAME = auto()
    RISES = auto()
    FALLS = auto()
    UNKNOWN = auto()


_TURNED = {Trend.RISES: Trend.FALLS, Trend.FALLS: Trend.RISES}


def rises(score: Expr) -> bool:
    """Whether a larger score never gives a smaller result, in any row."""
    return trend(score) is Trend.RISES


def trend(expr: Expr) -> Trend:
    """Return how an expression changes along a row, as the score rises."""
    read = variables(expr)
    if Var.K in read:
        return Trend.UNKNOWN
    if Var.S not in read:
        return Trend.SAME
    match expr:
        case Variable():
            return Trend.RISES
        case Apply(op=op, args=(inner,)):
            return _of_one(op, trend(inner))
        case Apply(op=Op.MUL | Op.DIV as op, args=(left, right)):
            return _scaled(op, left, right)
        case Apply(op=op, args=(left, right)):
            return _of_two(op, trend(left), trend(right))
    return Trend.UNKNOWN


def _of_one(op: Op, inner: Trend) -> Trend:
    if op in _RISING:
        return inner
    return _turned(inner) if op is Op.NEG else Trend.UNKNOWN


def _of_two(op: Op, left: Trend, right: Trend) -> Trend:
    if op is Op.SUB:
        right = _turned(right)
    elif op is not Op.ADD and op not in _PICKING:
        return Trend.UNKNOWN
    both = {left, right} - {Trend.SAME}
    return both.pop() if len(both) == 1 else Trend.UNKNOWN


def _scaled(op: Op, left: Expr, right: Expr) -> Trend:
    """Return the trend of a product or quotient with a constant of known sign."""
    if isinstance(right, Literal):
        factor, scaled = right, left
    elif isinstance(left, Literal) and op is Op.MUL:
        factor, scaled = left, right
    else:
        return Trend.UNKNOWN
    if factor.value > 0:
        return trend(scaled)
    return _turned(trend(scaled)) if factor.value < 0 else Trend.UNKNOWN


def _turned(given: Trend) -> Trend:
    return _TURNED.get(given, given)
