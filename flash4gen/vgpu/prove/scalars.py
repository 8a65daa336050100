"""What scalar operations of TTGIR say, as integer arithmetic; what is not known is a new variable.

Integers are taken to be without end: a kernel whose lengths make an index wrap around is broken
before its barriers matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from flash4gen.vgpu.parse.tree import Operation, ScalarType
from flash4gen.vgpu.prove.integers import (
    FALSE,
    TRUE,
    All,
    Formula,
    NotNegative,
    Some,
    Sum,
    Variables,
    both,
    equal,
    less,
    negation,
)

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Type

Scalar: TypeAlias = "Sum | Formula"
"""An integer, or a condition."""


def unknown(kind: Type, variables: Variables) -> Scalar | None:
    """Return any value of a scalar type; None if it is neither an integer nor a condition."""
    if not isinstance(kind, ScalarType) or not (kind.name == "index" or kind.name[0] == "i"):
        return None
    anything = variables.new()
    return NotNegative(anything) if kind.name == "i1" else anything


def constant(op: Operation) -> Scalar | None:
    """Return the value of `arith.constant`."""
    if op.words and op.words[0] in ("true", "false"):
        return TRUE if op.words[0] == "true" else FALSE
    if op.operands and isinstance(op.operands[0], int):
        return Sum((), op.operands[0])
    return None


def evaluate(op: Operation, values: tuple[object, ...], variables: Variables) -> Scalar | None:
    """Return the value of an operation on scalars; None if nothing is known of it."""
    match op.name.removeprefix("arith."), values:
        case "addi", (Sum() as a, Sum() as b):
            return a + b
        case "subi", (Sum() as a, Sum() as b):
            return a - b
        case "muli", (Sum() as a, Sum() as b) if b.number is not None:
            return a * b.number
        case "muli", (Sum() as a, Sum() as b) if a.number is not None:
            return b * a.number
        case ("maxsi" | "minsi") as which, (Sum() as a, Sum() as b):
            return _extreme(a, b, variables, largest=which == "maxsi")
        case "divsi", (Sum() as a, Sum(terms=(), constant=b)) if b > 0:
            return _quotient(a, b, variables)
        case "remsi", (Sum() as a, Sum(terms=(), constant=b)) if b > 0:
            return a - _quotient(a, b, variables) * b
        case "cmpi", (Sum() as a, Sum() as b):
            return _compared(op.words[0], a, b)
        case "select", (c, a, b) if is_condition(c):
            return merged(((c, a), (negation(c), b)), variables)
        case "andi", (a, b) if is_condition(a) and is_condition(b):
            return both(a, b)
        case "ori", (a, b) if is_condition(a) and is_condition(b):
            return Some((a, b))
        case "xori", (a, b) if is_condition(a) and is_condition(b):
            return Some((both(a, negation(b)), both(negation(a), b)))
        case ("extsi" | "index_cast"), (Sum() as a,):
            return a
    return None


def is_condition(value: object) -> bool:
    """Whether a value is a condition."""
    return isinstance(value, Formula)


def merged(cases: tuple[tuple[Formula, object], ...], variables: Variables) -> Scalar | None:
    """Return the value that is the one of the case whose condition holds; one of them must."""
    values = [value for _, value in cases]
    if all(isinstance(value, Sum) for value in values):
        if all(value == values[0] for value in values):
            return values[0]
        result = variables.new()
        variables.defined(Some(tuple(both(c, equal(result, value)) for c, value in cases)))
        return result
    if all(is_condition(value) for value in values):
        return Some(tuple(both(c, value) for c, value in cases))
    return None


def _compared(predicate: str, a: Sum, b: Sum) -> Formula | None:
    match predicate:
        case "slt":
            return less(a, b)
        case "sgt":
            return less(b, a)
        case "sle":
            return negation(less(b, a))
        case "sge":
            return negation(less(a, b))
        case "eq":
            return equal(a, b)
        case "ne":
            return negation(equal(a, b))
    return None


def _extreme(a: Sum, b: Sum, variables: Variables, *, largest: bool) -> Sum:
    difference = a - b if largest else b - a
    if difference.number is not None:
        return a if difference.number >= 0 else b
    result = variables.new()
    first = both(NotNegative(difference), equal(result, a))
    variables.defined(Some((first, both(NotNegative(difference * -1 - 1), equal(result, b)))))
    return result


def _quotient(a: Sum, b: int, variables: Variables) -> Sum:
    """Return a / b, rounded towards zero."""
    if a.number is not None:
        return Sum((), abs(a.number) // b * (1 if a.number >= 0 else -1))
    result = variables.new()
    left = a - result * b
    up = All((NotNegative(a), NotNegative(left), NotNegative(left * -1 + (b - 1))))
    down = All((NotNegative(a * -1 - 1), NotNegative(left * -1), NotNegative(left + (b - 1))))
    variables.defined(Some((up, down)))
    return result
