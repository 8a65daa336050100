"""Simplification of integer arithmetic: operators on simplified operands, simplified.

Sums keep one constant, at their end; products keep theirs in front; minus signs cancel.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Expr, Literal, Op
from flash4gen.ir.semantics import compute

if TYPE_CHECKING:
    from flash4gen.source import Span


def is_number(expr: Expr, value: float) -> bool:
    """Whether an expression is this number, with this sign."""
    return (
        isinstance(expr, Literal)
        and expr.value == value
        and math.copysign(1, expr.value) == math.copysign(1, value)
    )


def integer(op: Op, args: tuple[Expr, ...], span: Span | None) -> Expr:
    """Return an INT operator on simplified operands, not all of them literals, simplified."""
    match op:
        case Op.ADD | Op.SUB:
            (a, constant_a), (b, constant_b) = split(args[0]), split(args[1])
            if op is Op.ADD:
                return _offset(_sum(a, b, span), constant_a + constant_b, span)
            return _offset(_difference(a, b, span), constant_a - constant_b, span)
        case Op.NEG:
            return _negative(args[0], span)
        case Op.MUL:
            return _product(args[0], args[1], span)
        case Op.FLOOR_DIV if is_number(args[1], 1):
            return args[0]
        case Op.MOD if is_number(args[1], 1) or is_number(args[1], -1):
            return Literal(0, span)
        case Op.MIN | Op.MAX:
            return _min_max(op, args[0], args[1], span)
        case Op.ABS:
            return _absolute(args[0], span)
    return Apply(op, args, span)


def split(expr: Expr) -> tuple[Expr, int]:
    """Return an integer expression as a base without a loose constant, and that constant."""
    match expr:
        case Literal(value):
            return Literal(0, expr.span), int(value)
        case Apply(op=Op.ADD, args=(base, Literal(value))):
            return base, int(value)
        case Apply(op=Op.SUB, args=(base, Literal(value))):
            return base, -int(value)
        case Apply(op=Op.SUB, args=(Literal(value), base)):
            return _negative(base, expr.span), int(value)
        case _:
            return expr, 0


def _offset(base: Expr, constant: int, span: Span | None) -> Expr:
    """The opposite of ``split``: ``x + 3``, ``x - 3``, ``3 - x``, ``x`` or ``3``."""
    if is_number(base, 0):
        return Literal(constant, span)
    if constant == 0:
        return base
    if isinstance(base, Apply) and base.op is Op.NEG:
        return Apply(Op.SUB, (Literal(constant, span), base.args[0]), span)
    op = Op.ADD if constant > 0 else Op.SUB
    return Apply(op, (base, Literal(abs(constant), span)), span)


def _sum(a: Expr, b: Expr, span: Span | None) -> Expr:
    """Add two expressions without loose constants."""
    if is_number(a, 0):
        return b
    if is_number(b, 0):
        return a
    if isinstance(b, Apply) and b.op is Op.NEG:
        return _difference(a, b.args[0], span)
    if isinstance(a, Apply) and a.op is Op.NEG:
        return _difference(b, a.args[0], span)
    return Apply(Op.ADD, (a, b), span)


def _difference(a: Expr, b: Expr, span: Span | None) -> Expr:
    """Subtract two expressions without loose constants."""
    if a == b:
        return Literal(0, span)
    if is_number(a, 0):
        return _negative(b, span)
    if is_number(b, 0):
        return a
    if isinstance(b, Apply) and b.op is Op.NEG:
        return _sum(a, b.args[0], span)
    if isinstance(a, Apply) and a.op is Op.NEG:
        return _negative(_sum(a.args[0], b, span), span)
    return Apply(Op.SUB, (a, b), span)


def _negative(a: Expr, span: Span | None) -> Expr:
    base, constant = split(a)
    match base:
        case Literal():
            return Literal(-constant, span)
        case Apply(op=Op.NEG, args=(inner,)):
            base = inner
        case Apply(op=Op.SUB, args=(x, y)):
            base = Apply(Op.SUB, (y, x), span)
        case Apply(op=Op.MUL, args=(Literal(value), x)):
            base = _product(Literal(-int(value), span), x, span)
        case _:
            base = Apply(Op.NEG, (base,), span)
    return _offset(base, -constant, span)


def _product(a: Expr, b: Expr, span: Span | None) -> Expr:
    """Put the constant first, as in ``64 * (q // 64)``."""
    if isinstance(b, Literal):
        a, b = b, a
    if not isinstance(a, Literal):
        return Apply(Op.MUL, (a, b), span)
    if is_number(a, 0):
        return Literal(0, span)
    if is_number(a, 1):
        return b
    match b:
        case Apply(op=Op.MUL, args=(Literal(value), x)):
            return _product(Literal(int(a.value) * int(value), span), x, span)
        case Apply(op=Op.NEG, args=(x,)):
            return _product(Literal(-int(a.value), span), x, span)
    if is_number(a, -1):
        return _negative(b, span)
    return Apply(Op.MUL, (a, b), span)


def _min_max(op: Op, a: Expr, b: Expr, span: Span | None) -> Expr:
    """Decide operands that differ by a constant; gather literals on the right."""
    if isinstance(a, Literal):
        a, b = b, a
    (base_a, constant_a), (base_b, constant_b) = split(a), split(b)
    if base_a == base_b:
        return a if compute(op, (constant_a, constant_b)) == constant_a else b
    match a, b:
        case Apply(op=inner, args=(x, Literal(value))), Literal(other) if inner is op:
            bound = Literal(int(compute(op, (value, other))), span)
            return Apply(op, (x, bound), span)
    return Apply(op, (a, b), span)


def _absolute(a: Expr, span: Span | None) -> Expr:
    match a:
        case Apply(op=Op.ABS):
            return a
        case Apply(op=Op.NEG, args=(inner,)):
            return _absolute(inner, span)
    return Apply(Op.ABS, (a,), span)
