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
    Zero,
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
    name = op.name.removeprefix("arith.")
    match values:
        case (Sum() as a, Sum() as b) if name == "cmpi":
            return _compared(op.words[0], a, b)
        case (Sum() as a, Sum() as b):
            return _integer(name, a, b, variables)
        case (Sum() as a,) if name in ("extsi", "index_cast"):
            return a
        case (NotNegative() | Zero() | All() | Some() as a, *rest):
            if name == "select":
                return merged(((a, rest[0]), (negation(a), rest[1])), variables)
            return _condition(name, a, rest[0]) if rest else None
    return None


def _integer(name: str, a: Sum, b: Sum, variables: Variables) -> Sum | None:
    match name:
        case "addi":
            return a + b
        case "subi":
            return a - b
        case "muli":
            factor, other = (b.number, a) if b.number is not None else (a.number, b)
            return None if factor is None else other * factor
        case "maxsi" | "minsi":
            return _extreme(a, b, variables, largest=name == "maxsi")
        case "divsi" | "remsi" if (b.number or 0) > 0:
            quotient = _quotient(a, b.constant, variables)
            return quotient if name == "divsi" else a - quotient * b.constant
    return None


def _condition(name: str, a: Formula, b: object) -> Formula | None:
    if not isinstance(b, Formula):
        return None
    match name:
        case "andi":
            return both(a, b)
        case "ori":
            return Some((a, b))
        case "xori":
            return Some((both(a, negation(b)), both(negation(a), b)))
    return None


def merged(cases: tuple[tuple[Formula, object], ...], variables: Variables) -> Scalar | None:
    """Return the value that is the one of the case whose condition holds; one of them must."""
    sums = [(when, value) for when, value in cases if isinstance(value, Sum)]
    conditions = [(when, value) for when, value in cases if isinstance(value, Formula)]
    if len(sums) == len(cases):
        if all(value == sums[0][1] for _, value in sums):
            return sums[0][1]
        result = variables.new()
        variables.defined(Some(tuple(both(when, equal(result, value)) for when, value in sums)))
        return result
    if len(conditions) == len(cases):
        return Some(tuple(both(when, value) for when, value in conditions))
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
