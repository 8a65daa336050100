"""What every operator means on plain Python numbers: an operator and values in, one value out.

The oracle in ``validate/`` is the meaning on tensors; this one folds constants, evaluates loop
bounds and single mask elements, and needs no torch.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from flash4gen.ir.expr import WORD, Apply, Expr, Literal, Lookup, Op, Var, Variable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Value = bool | int | float

_MEANING: dict[Op, Callable[..., Any]] = {
    Op.ADD: operator.add,
    Op.SUB: operator.sub,
    Op.MUL: operator.mul,
    Op.DIV: operator.truediv,
    Op.FLOOR_DIV: operator.floordiv,
    Op.MOD: operator.mod,
    Op.BIT_AND: operator.and_,
    Op.BIT_OR: operator.or_,
    Op.BIT_XOR: operator.xor,
    Op.SHIFT_LEFT: lambda a, b: _word(a << b % WORD),
    Op.SHIFT_RIGHT: lambda a, b: a >> b % WORD,
    Op.NEG: operator.neg,
    Op.MIN: min,
    Op.MAX: max,
    Op.ABS: abs,
    Op.EXP: math.exp,
    Op.LOG: math.log,
    Op.TANH: math.tanh,
    Op.SIGMOID: lambda x: 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)),
    Op.SQRT: math.sqrt,
    Op.RSQRT: lambda x: 1 / math.sqrt(x),
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
    Op.WHERE: lambda condition, a, b: a if condition else b,
}


def _word(value: int) -> int:
    """Return what is left of a number in a word."""
    half = 1 << (WORD - 1)
    return (value + half) % (2 * half) - half


def compute(op: Op, args: tuple[Value, ...]) -> Value:
    """Return ``op`` on values: integers exact and rounding down, floats in float64.

    Raises:
        ArithmeticError: division by zero, overflow.
        ValueError: outside the operator's domain, such as ``log(0.0)``.
    """
    result: Value = _MEANING[op](*args)
    return result


def evaluate(expr: Expr, values: Mapping[Var, Value]) -> Value:
    """Return the value of an expression at one point. Both sides of every operator are computed.

    Args:
        expr: an expression that looks nothing up.
        values: a value for every variable that it reads.

    Raises:
        KeyError: a variable has no value.
        ArithmeticError: as for ``compute``.
        ValueError: as for ``compute``; or what a tensor holds would have to be known.
    """
    match expr:
        case Literal(value):
            return value
        case Variable(var):
            return values[var]
        case Apply(op, args):
            return compute(op, tuple(evaluate(arg, values) for arg in args))
        case Lookup(tensor):
            raise ValueError(f"what {tensor.name} holds is known at run time only")
