"""Proofs of ``x <= y`` between integers, for every query, key, head and length.

What is known: positions, heads and batch entries start at 0, positions end below their length,
lengths are at least 1 (there is no element to speak of otherwise), and ``c·(x // c)`` lies in
``(x - c, x]``.
"""

from __future__ import annotations

from fractions import Fraction

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Var, Variable
from flash4gen.ir.masks.linear import Linear, UnanalysableError, linear

_LEAST = {Var.SEQ_Q: 1, Var.SEQ_K: 1}


def provably_le(x: Expr, y: Expr) -> bool:
    """Whether ``x <= y`` could be proven for all elements. False says nothing.

    Args:
        x: INT expression; ``min``, ``max`` and ``where`` at its top are taken apart.
        y: the same.
    """
    match x:
        case Apply(op=Op.MAX, args=(a, b)) | Apply(op=Op.WHERE, args=(_, a, b)):
            return provably_le(a, y) and provably_le(b, y)
    match y:
        case Apply(op=Op.MIN, args=(a, b)) | Apply(op=Op.WHERE, args=(_, a, b)):
            return provably_le(x, a) and provably_le(x, b)
        case Apply(op=Op.MAX, args=(a, b)) if provably_le(x, a) or provably_le(x, b):
            return True
    match x:
        case Apply(op=Op.MIN, args=(a, b)) if provably_le(a, y) or provably_le(b, y):
            return True
    try:
        return never_positive(linear(x) - linear(y))
    except UnanalysableError:
        return False


def never_positive(total: Linear) -> bool:
    """Whether a sum could be proven to be at most 0 for all elements."""
    weights: dict[Var, Fraction] = {}
    slack = _relax(total, Fraction(1), weights)
    if slack is None:
        return False
    for position, length in ((Var.Q, Var.SEQ_Q), (Var.K, Var.SEQ_K)):
        weight = weights.pop(position, Fraction(0))
        if weight > 0:  # its largest value is the length less 1
            weights[length] = weights.get(length, Fraction(0)) + weight
            slack -= weight
    if any(weight > 0 for weight in weights.values()):
        return False
    return slack + sum(w * _LEAST.get(var, 0) for var, w in weights.items()) <= 0


def sign(expr: Expr) -> int | None:
    """Return 1 or -1 where an INT expression is proven never negative or never positive."""
    try:
        total = linear(expr)
    except UnanalysableError:
        return None
    if never_positive(total.scaled(-1)):
        return 1
    return -1 if never_positive(total) else None


def _relax(total: Linear, factor: Fraction, weights: dict[Var, Fraction]) -> Fraction | None:
    """Add ``factor · total`` to ``weights`` and return the constant of an upper bound on the rest.

    None: a term has no such bound.
    """
    bound = factor * total.constant
    for term, weight in total.terms:
        scale = factor * weight
        match term:
            case Variable(var):
                weights[var] = weights.get(var, Fraction(0)) + scale
            case Apply(op=Op.FLOOR_DIV, args=(inner, Literal(divisor))):
                # x // c = (x - r) / c for a remainder r of 0 to c - 1
                part = _relax(linear(inner), scale / int(divisor), weights)
                if part is None:
                    return None
                bound += part + max(Fraction(0), -scale / int(divisor) * (int(divisor) - 1))
            case _ if scale < 0 and _never_negative(term):
                pass
            case _:
                return None
    return bound


def _never_negative(term: Expr) -> bool:
    """Whether a term that is not a sum is at least 0 by its form."""
    match term:
        case Apply(op=Op.ABS):
            return True
        case Apply(op=Op.MAX, args=(a, b)):
            return provably_le(Literal(0), a) or provably_le(Literal(0), b)
        case Apply(op=Op.MIN | Op.MUL, args=(a, b)) | Apply(op=Op.WHERE, args=(_, a, b)):
            return provably_le(Literal(0), a) and provably_le(Literal(0), b)
        case _:
            return False
