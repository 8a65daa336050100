"""Constant arithmetic: what one operator gives on known numbers, in Python's int and float64.

Used for `scale`, for the counts of a spec, for `requires` clauses and to refuse `k // 0` early.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Op

if TYPE_CHECKING:
    from collections.abc import Callable

Constant = bool | int | float

MAX_INT = 2**31 - 1
"""Positions and counts are 32-bit integers in every kernel."""

MAX_FLOAT = 3.4028234663852886e38
"""Largest float32: scores are float32 in every kernel."""


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _where(condition: Constant, yes: Constant, no: Constant) -> Constant:
    return yes if condition else no


_MEANING: dict[Op, Callable[..., Constant]] = {
    Op.ADD: operator.add,
    Op.SUB: operator.sub,
    Op.MUL: operator.mul,
    Op.DIV: operator.truediv,
    Op.FLOOR_DIV: operator.floordiv,
    Op.MOD: operator.mod,
    Op.NEG: operator.neg,
    Op.MIN: min,
    Op.MAX: max,
    Op.ABS: abs,
    Op.EXP: math.exp,
    Op.LOG: math.log,
    Op.TANH: math.tanh,
    Op.SIGMOID: _sigmoid,
    Op.SQRT: math.sqrt,
    Op.RSQRT: lambda x: 1.0 / math.sqrt(x),
    Op.POW: math.pow,
    Op.TO_FLOAT: float,
    Op.LT: operator.lt,
    Op.LE: operator.le,
    Op.GT: operator.gt,
    Op.GE: operator.ge,
    Op.EQ: operator.eq,
    Op.NE: operator.ne,
    Op.AND: lambda a, b: a and b,
    Op.OR: lambda a, b: a or b,
    Op.NOT: operator.not_,
    Op.WHERE: _where,
}


def evaluate(op: Op, args: tuple[Constant, ...]) -> Constant:
    """Return ``op`` on constants.

    Raises:
        ArithmeticError: there is no result, or none that a kernel can hold; the text says why.
    """
    try:
        value = _MEANING[op](*args)
    except ZeroDivisionError:
        raise ArithmeticError("division by zero") from None
    except OverflowError:
        raise ArithmeticError("the result is too large") from None
    except ValueError:
        raise ArithmeticError(f"`{op.value}` has no real result here") from None
    if out_of_range(value):
        raise ArithmeticError("the result is too large")
    return value


def out_of_range(value: Constant) -> bool:
    """Whether a kernel's int32 or float32 cannot hold a value."""
    limit = MAX_INT if isinstance(value, int) else MAX_FLOAT
    return not abs(value) <= limit
