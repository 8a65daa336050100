"""Constant arithmetic: what one operator gives on known numbers, in Python's int and float64.

Used for `scale`, for the counts of a spec, for `requires` clauses and to refuse `k // 0` early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.semantics import compute

if TYPE_CHECKING:
    from flash4gen.ir.expr import Op

Constant = bool | int | float

MAX_INT = 2**31 - 1
"""Positions and counts are 32-bit integers in every kernel."""

MAX_FLOAT = 3.4028234663852886e38
"""Largest float32: scores are float32 in every kernel."""


def evaluate(op: Op, args: tuple[Constant, ...]) -> Constant:
    """Return ``op`` on constants.

    Raises:
        ArithmeticError: there is no result, or none that a kernel can hold; the text says why.
    """
    try:
        value = compute(op, args)
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
    if isinstance(value, int):
        return not -MAX_INT - 1 <= value <= MAX_INT
    return not abs(value) <= MAX_FLOAT
