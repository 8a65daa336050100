"""Integer expressions as sums: a constant plus whole multiples of terms that are not sums.

A term is a variable, or an operator that a sum cannot absorb (``//`` by a positive literal,
``min``, ``max``, ``abs``, ``where``, a product). The form is canonical: equal sums compare equal,
so that ``q + (seq_k - seq_q)`` cancels between the two sides of a comparison however it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Expr, Literal, Lookup, Op, Type, Var, Variable, walk

if TYPE_CHECKING:
    from collections.abc import Iterable

_RANK = {var: rank for rank, var in enumerate((Var.K, Var.Q, Var.SEQ_K, Var.SEQ_Q, Var.H))}


class UnanalysableError(Exception):
    """The expression is outside what the bounds analysis knows; the mask element is opaque."""


@dataclass(frozen=True, slots=True)
class Linear:
    """``constant + Σ weight · term``, terms in a fixed order, no weight zero."""

    constant: int
    terms: tuple[tuple[Expr, int], ...] = ()

    def __add__(self, other: Linear) -> Linear:
        return _collect((*self.terms, *other.terms), self.constant + other.constant)

    def __sub__(self, other: Linear) -> Linear:
        return self + other.scaled(-1)

    def scaled(self, factor: int) -> Linear:
        """Return the sum times a whole number."""
        return _collect(((t, w * factor) for t, w in self.terms), self.constant * factor)

    def plus(self, constant: int) -> Linear:
        """Return the sum with a constant added."""
        return Linear(self.constant + constant, self.terms)

    def weight(self, term: Expr) -> int:
        """Return the weight of a term, 0 if it does not occur."""
        return next((w for t, w in self.terms if t == term), 0)

    def without(self, term: Expr) -> Linear:
        """Return the sum without one term."""
        return Linear(self.constant, tuple((t, w) for t, w in self.terms if t != term))

    def floor_div(self, divisor: int) -> Linear:
        """Return the sum divided by a positive whole number, rounded down.

        Whole multiples of the divisor leave the fraction:
        ``(8·x + y + 9) // 8 = x + 1 + (y + 1) // 8``.
        """
        whole = tuple((t, w // divisor) for t, w in self.terms if w % divisor == 0)
        rest = tuple((t, w) for t, w in self.terms if w % divisor != 0)
        quotient, remainder = divmod(self.constant, divisor)
        if not rest:
            return Linear(quotient, whole)
        fraction = Apply(Op.FLOOR_DIV, (Linear(remainder, rest).expr(), Literal(divisor)))
        return _collect((*whole, (fraction, 1)), quotient)

    def expr(self) -> Expr:
        """Return the sum as one would write it: added terms, subtracted terms, the constant."""
        added = [_times(t, w) for t, w in self.terms if w > 0]
        taken = [_times(t, -w) for t, w in self.terms if w < 0]
        constant = self.constant
        if not added:
            if not taken or constant != 0:
                added, constant = [Literal(constant)], 0
            else:
                added = [Apply(Op.NEG, (taken.pop(0),))]
        total = added[0]
        for term in added[1:]:
            total = Apply(Op.ADD, (total, term))
        for term in taken:
            total = Apply(Op.SUB, (total, term))
        if constant == 0:
            return total
        return Apply(Op.ADD if constant > 0 else Op.SUB, (total, Literal(abs(constant))))


def linear(expr: Expr) -> Linear:
    """Return the canonical sum of an INT expression.

    Raises:
        UnanalysableError: it divides by something that is not a non-zero literal, or reads a
            tensor.
    """
    match expr:
        case Literal(value):
            return Linear(int(value))
        case Variable():
            return Linear(0, ((expr, 1),))
        case Apply(op=Op.WHERE, args=(condition, a, b)):
            return _where(condition, linear(a), linear(b))
        case Apply(op=Op.ABS, args=(a,)):
            return _absolute(linear(a))
        case Apply(op=Op.NEG, args=(a,)):
            return linear(a).scaled(-1)
        case Apply(op, args=(a, b)):
            return _binary(op, linear(a), linear(b))
        case Lookup(tensor):
            raise UnanalysableError(f"what {tensor.name} holds")
        case _:
            raise UnanalysableError(f"{expr.op.value} on integers")


def is_exact(expr: Expr) -> bool:
    """Whether an expression has a value everywhere and the same one in every float width.

    Divisors that are not literals may be zero, and floats are rounded where the kernel runs. What a
    tensor holds is not known before.
    """
    if any(isinstance(node, Lookup) for node in walk(expr)):
        return False
    nodes = [node for node in walk(expr) if isinstance(node, Apply)]
    divisors = [node.args[1] for node in nodes if node.op in (Op.FLOOR_DIV, Op.MOD)]
    return all(isinstance(d, Literal) and d.value != 0 for d in divisors) and all(
        arg.type is not Type.FLOAT for node in nodes for arg in node.args
    )


def reads(expr: Expr, var: Var) -> bool:
    """Whether an expression reads a variable."""
    return any(isinstance(node, Variable) and node.var is var for node in walk(expr))


def _binary(op: Op, a: Linear, b: Linear) -> Linear:
    match op:
        case Op.ADD:
            return a + b
        case Op.SUB:
            return a - b
        case Op.MUL:
            return _product(a, b)
        case Op.FLOOR_DIV | Op.MOD:
            return _division(op, a, b)
        case Op.MIN | Op.MAX:
            return _min_max(op, a, b)
        case _:
            raise UnanalysableError(f"{op.value} on integers")


def _product(a: Linear, b: Linear) -> Linear:
    if not a.terms:
        return b.scaled(a.constant)
    if not b.terms:
        return a.scaled(b.constant)
    first, second = sorted((a.expr(), b.expr()), key=_order)
    return Linear(0, ((Apply(Op.MUL, (first, second)), 1),))


def _division(op: Op, a: Linear, b: Linear) -> Linear:
    if b.terms or b.constant == 0:
        raise UnanalysableError("a divisor that may be zero")
    divisor = b.constant
    quotient = (a if divisor > 0 else a.scaled(-1)).floor_div(abs(divisor))
    return quotient if op is Op.FLOOR_DIV else a - quotient.scaled(divisor)


def _min_max(op: Op, a: Linear, b: Linear) -> Linear:
    difference = a - b
    if not difference.terms:
        first_wins = (difference.constant <= 0) == (op is Op.MIN)
        return a if first_wins else b
    return Linear(0, ((Apply(op, (a.expr(), b.expr())), 1),))


def _absolute(a: Linear) -> Linear:
    if not a.terms:
        return Linear(abs(a.constant))
    return Linear(0, ((Apply(Op.ABS, (a.expr(),)), 1),))


def _where(condition: Expr, a: Linear, b: Linear) -> Linear:
    if a == b:
        return a
    if isinstance(condition, Literal):
        return a if condition.value else b
    if not is_exact(condition):
        raise UnanalysableError("a condition on floats or with a divisor that may be zero")
    return Linear(0, ((Apply(Op.WHERE, (condition, a.expr(), b.expr())), 1),))


def _times(term: Expr, weight: int) -> Expr:
    return term if weight == 1 else Apply(Op.MUL, (Literal(weight), term))


def _collect(terms: Iterable[tuple[Expr, int]], constant: int) -> Linear:
    weights: dict[Expr, int] = {}
    for term, weight in terms:
        weights[term] = weights.get(term, 0) + weight
    kept = [(term, weight) for term, weight in weights.items() if weight != 0]
    return Linear(constant, tuple(sorted(kept, key=lambda item: _order(item[0]))))


def _order(term: Expr) -> tuple[int, str]:
    """Positions first, then lengths, then heads, then what is not a variable, by its repr."""
    if isinstance(term, Variable):
        return _RANK.get(term.var, len(_RANK)), term.var.value
    return len(_RANK) + 1, repr(term)
