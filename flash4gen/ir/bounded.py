"""Which expressions are finite, whatever the score is: a factor of 0 then makes them 0.

In: an expression. Out: whether it has bounds. NaN is not ruled out: a score that is NaN stays so.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Literal, Op, Type

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr

_BOUNDED = frozenset({Op.TANH, Op.SIGMOID})
"""Functions with bounds, also where their argument has none."""

_KEEP = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.NEG, Op.ABS, Op.MIN, Op.MAX, Op.TO_FLOAT})
"""Operators that have bounds where their operands do."""


def is_bounded(expr: Expr) -> bool:
    """Whether an expression stays between bounds; positions do, scores and look-ups do not."""
    if expr.type is not Type.FLOAT:
        return True
    if isinstance(expr, Literal):
        return math.isfinite(expr.value)
    if not isinstance(expr, Apply):
        return False
    if expr.op is Op.WHERE:
        return all(map(is_bounded, expr.args[1:]))
    return expr.op in _BOUNDED or (expr.op in _KEEP and all(map(is_bounded, expr.args)))
