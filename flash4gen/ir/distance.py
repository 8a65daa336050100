"""Which expressions read positions through their distance alone.

In: an expression, simplified. Out: whether it is a function of ``k − q`` and of what is no
position. Then it has one value for all scores of a distance, whichever query they are of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Literal, Op, Type, Var, Variable, children, variables

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr, Lookup

_ALIKE = frozenset({Op.MIN, Op.MAX})
_COMPARED = frozenset({Op.LT, Op.LE, Op.GT, Op.GE, Op.EQ, Op.NE})


def of_distance(expr: Expr) -> bool:
    """Whether an expression reads positions as ``k − q`` alone, for all whole numbers q and k.

    False is also the answer where that is true and not seen to be.
    """
    return moves(expr) == 0


def by_distance(lookup: Lookup) -> bool:
    """Whether what a look-up reads differs with the query and the key, but by distance alone."""
    return {Var.Q, Var.K} <= variables(lookup) and all(map(of_distance, lookup.indices))


def moves(expr: Expr) -> int | None:
    """Return by how much an expression grows where q and k are both one more.

    That is one number for all q and k, or None where it is not known to be. What a function of
    ``k − q`` grows by is 0, and everything that 0 is known of is such a function.
    """
    if isinstance(expr, Literal):
        return 0
    if isinstance(expr, Variable):
        return int(expr.var in (Var.Q, Var.K))
    parts = [moves(child) for child in children(expr)]
    if all(part == 0 for part in parts):
        return 0
    if None in parts or not isinstance(expr, Apply):
        return None
    return _applied(expr, [part for part in parts if part is not None])


def _applied(expr: Apply, parts: list[int]) -> int | None:
    """Return the same for an operator on operands that grow by ``parts``, not all of them 0."""
    match expr.op:
        case Op.ADD if expr.type is Type.INT:
            return parts[0] + parts[1]
        case Op.SUB if expr.type is Type.INT:
            return parts[0] - parts[1]
        case Op.NEG if expr.type is Type.INT:
            return -parts[0]
        case Op.MUL if expr.type is Type.INT:
            return _multiplied(expr, parts)
        case Op.WHERE if parts[0] == 0 and parts[1] == parts[2]:
            return parts[1]
        case op if op in _ALIKE and parts[0] == parts[1]:
            return parts[0]
        case op if op in _COMPARED and parts[0] == parts[1]:
            return 0
    return None


def _multiplied(expr: Apply, parts: list[int]) -> int | None:
    for factor, part in ((0, parts[1]), (1, parts[0])):
        number = expr.args[factor]
        if isinstance(number, Literal):
            return int(number.value) * part
    return None
