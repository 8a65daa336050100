"""Exact simplification of expressions: an expression in, one of the same value everywhere out.

Constants fold (integers exactly, floats in float64), identities and neutral elements go, integer
constants gather on one side. Nothing is rewritten that could change a float result: ``x + 0.0``
stays, because it turns −0 into 0. Float operands keep the order in which they were written.

The result is a fixed point: every rewrite builds its nodes through ``make``, which assumes
simplified operands and returns a simplified node. A node built anew carries the span of the node
that it replaces.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.ir.expr import ALWAYS, NEVER, Apply, Expr, Literal, Lookup, Op, Type
from flash4gen.ir.semantics import compute
from flash4gen.ir.simplify_integers import integer, is_number, split

if TYPE_CHECKING:
    from flash4gen.source import Span

INVERSE = {
    Op.LT: Op.GE,
    Op.GE: Op.LT,
    Op.LE: Op.GT,
    Op.GT: Op.LE,
    Op.EQ: Op.NE,
    Op.NE: Op.EQ,
}
"""The comparison that holds exactly where the key does not, on integers."""

_MIRROR = {
    Op.LT: Op.GT,
    Op.GT: Op.LT,
    Op.LE: Op.GE,
    Op.GE: Op.LE,
    Op.EQ: Op.EQ,
    Op.NE: Op.NE,
}
_EXACT_IN_FLOAT64 = 2**53


def simplify(expr: Expr) -> Expr:
    """Return the canonical form of an expression; a second time, nothing changes."""
    if isinstance(expr, Lookup):
        return Lookup(expr.tensor, tuple(simplify(index) for index in expr.indices), expr.span)
    if not isinstance(expr, Apply):
        return expr
    if expr.op in (Op.AND, Op.OR):  # a long chain is gone through once, not once per link
        terms = tuple(simplify(term) for term in _chain(expr.op, expr))
        return _logical(expr.op, terms, expr.span)
    return make(expr.op, tuple(simplify(arg) for arg in expr.args), expr.span)


def make(op: Op, args: tuple[Expr, ...], span: Span | None = None) -> Expr:
    """Return ``op`` on operands that are simplified already, simplified itself."""
    folded = _fold(op, args, span)
    if folded is not None:
        return folded
    match op:
        case Op.AND | Op.OR:
            return _logical(op, args, span)
        case Op.NOT:
            return _not(args[0], span)
        case Op.WHERE:
            return _where(args, span)
        case Op.LT | Op.LE | Op.GT | Op.GE | Op.EQ | Op.NE:
            return _comparison(op, (args[0], args[1]), span)
    if args[0].type is Type.INT:
        return integer(op, args, span)
    return _float(op, args, span)


def negated(expr: Expr) -> Expr:
    """Return the opposite of a BOOL expression with ``not`` pushed inward as far as it is exact."""
    match expr:
        case Apply(op=Op.AND, args=(a, b)):
            return make(Op.OR, (negated(a), negated(b)), expr.span)
        case Apply(op=Op.OR, args=(a, b)):
            return make(Op.AND, (negated(a), negated(b)), expr.span)
        case Apply(op=Op.WHERE, args=(condition, a, b)):
            return make(Op.WHERE, (condition, negated(a), negated(b)), expr.span)
        case _:
            return make(Op.NOT, (expr,), expr.span)


def _fold(op: Op, args: tuple[Expr, ...], span: Span | None) -> Literal | None:
    if not all(isinstance(arg, Literal) for arg in args):
        return None
    values = tuple(arg.value for arg in args if isinstance(arg, Literal))
    if op is Op.TO_FLOAT and abs(values[0]) > _EXACT_IN_FLOAT64:
        return None
    try:
        result = compute(op, values)
    except (ArithmeticError, ValueError):
        return None  # no finite value: left for whoever runs it
    if isinstance(result, float) and not math.isfinite(result):
        return None
    return Literal(result, span)


def _logical(op: Op, args: tuple[Expr, ...], span: Span | None) -> Expr:
    """Flatten a chain of one operator, drop what repeats, stop at what decides."""
    neutral, decisive = (ALWAYS, NEVER) if op is Op.AND else (NEVER, ALWAYS)
    terms: dict[Expr, None] = {}
    opposites: set[Expr] = set()
    for term in (link for arg in args for link in _chain(op, arg)):
        if term == decisive or term in opposites:
            return Literal(decisive.value, span)
        if term != neutral and term not in terms:
            terms[term] = None
            opposites.add(make(Op.NOT, (term,)))
    if not terms:
        return Literal(neutral.value, span)
    result, *rest = terms
    for term in rest:
        result = Apply(op, (result, term), span)
    return result


def _chain(op: Op, expr: Expr) -> tuple[Expr, ...]:
    if isinstance(expr, Apply) and expr.op is op:
        return (*_chain(op, expr.args[0]), *_chain(op, expr.args[1]))
    return (expr,)


def _not(arg: Expr, span: Span | None) -> Expr:
    match arg:
        case Apply(op=Op.NOT, args=(inner,)):
            return inner
        case Apply(op=op, args=(a, b)) if op in INVERSE:
            # With a NaN, `not a < b` and `a >= b` differ; == and != are opposites even then.
            if a.type is Type.INT or op in (Op.EQ, Op.NE):
                return Apply(INVERSE[op], (a, b), span)
    return Apply(Op.NOT, (arg,), span)


def _where(args: tuple[Expr, ...], span: Span | None) -> Expr:
    condition, a, b = args
    if isinstance(condition, Literal):
        return a if condition.value else b
    if a == b:
        return a
    if isinstance(condition, Apply) and condition.op is Op.NOT:
        return make(Op.WHERE, (condition.args[0], b, a), span)
    match a, b:
        case (Literal(True), _):
            return make(Op.OR, (condition, b), span)
        case (_, Literal(False)):
            return make(Op.AND, (condition, a), span)
        case (Literal(False), _):
            return make(Op.AND, (make(Op.NOT, (condition,), span), b), span)
        case (_, Literal(True)):
            return make(Op.OR, (make(Op.NOT, (condition,), span), a), span)
    return Apply(Op.WHERE, args, span)


def _comparison(op: Op, args: tuple[Expr, Expr], span: Span | None) -> Expr:
    """Put a lone constant on the right; decide integers that differ by a constant."""
    a, b = args
    if isinstance(a, Literal):
        return make(_MIRROR[op], (b, a), span)
    if a.type is not Type.INT:
        return Apply(op, args, span)
    (base_a, constant_a), (base_b, constant_b) = split(a), split(b)
    if base_a == base_b:
        return Literal(bool(compute(op, (constant_a, constant_b))), span)
    if isinstance(b, Literal) and constant_a != 0:
        moved = Literal(constant_b - constant_a, b.span)
        return make(op, (base_a, moved), span)
    return Apply(op, args, span)


def _float(op: Op, args: tuple[Expr, ...], span: Span | None) -> Expr:
    """Only what holds for every float, infinities, zeros of both signs and NaN included."""
    match op:
        case Op.MUL if is_number(args[0], 1.0):
            return args[1]
        case Op.MUL | Op.DIV | Op.POW if is_number(args[1], 1.0):
            return args[0]
        case Op.SUB if is_number(args[1], 0.0):
            return args[0]
        case Op.ADD if is_number(args[1], -0.0):
            return args[0]
        case Op.MIN | Op.MAX if args[0] == args[1]:
            return args[0]
    match op, args[0]:
        case Op.NEG, Apply(op=Op.NEG, args=(inner,)):
            return inner
        case Op.ABS, Apply(op=Op.NEG, args=(inner,)):
            return make(Op.ABS, (inner,), span)
        case Op.ABS, Apply(op=Op.ABS):
            return args[0]
    return Apply(op, args, span)
