"""A mask without the comparisons that another one of it implies: fewer instructions per element.

``causal and window`` states twice that no key lies in the future. Comparisons of integers are
brought to the form ``sum <= constant``; of those with the same sum, a conjunction needs only the
one with the smallest constant, a disjunction the one with the largest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Expr, Op, Type
from flash4gen.ir.masks.linear import Linear, UnanalysableError, linear
from flash4gen.ir.simplify import simplify

if TYPE_CHECKING:
    from collections.abc import Iterator

_Sum = tuple[tuple[Expr, int], ...]


def minimal(mask: Expr) -> Expr:
    """Return a mask of the same value everywhere, simplified and without implied comparisons.

    The comparisons that stay keep their order and the words in which they were written.
    """
    return _minimal(simplify(mask))


def _minimal(mask: Expr) -> Expr:
    if not (isinstance(mask, Apply) and mask.op in (Op.AND, Op.OR)):
        return mask
    terms = [_minimal(term) for term in _chain(mask.op, mask)]
    sums = [_at_most(term) for term in terms]
    kept = [term for i, term in enumerate(terms) if not _implied(mask.op, i, sums)]
    result, *rest = kept
    for term in rest:
        result = Apply(mask.op, (result, term), mask.span)
    return result


def _implied(op: Op, index: int, sums: list[tuple[_Sum, int] | None]) -> bool:
    """Whether another term makes this one superfluous; of equal terms the first one stays."""
    own = sums[index]
    if own is None:
        return False
    for place, other in enumerate(sums):
        if other is None or place == index or other[0] != own[0]:
            continue
        if other[1] == own[1]:
            if place < index:
                return True
        elif (other[1] < own[1]) == (op is Op.AND):
            return True
    return False


def _at_most(term: Expr) -> tuple[_Sum, int] | None:
    """Return (sum, constant) where a term says ``sum <= constant``, None where it says else."""
    if not (isinstance(term, Apply) and len(term.args) == 2 and term.args[0].type is Type.INT):
        return None
    try:
        a, b = (linear(arg) for arg in term.args)
    except UnanalysableError:
        return None
    match term.op:
        case Op.LE:
            difference = a - b
        case Op.LT:
            difference = (a - b).plus(1)
        case Op.GE:
            difference = b - a
        case Op.GT:
            difference = (b - a).plus(1)
        case _:
            return None
    return _parts(difference)


def _parts(difference: Linear) -> tuple[_Sum, int]:
    return difference.terms, -difference.constant


def _chain(op: Op, expr: Expr) -> Iterator[Expr]:
    if isinstance(expr, Apply) and expr.op is op:
        for arg in expr.args:
            yield from _chain(op, arg)
    else:
        yield expr
