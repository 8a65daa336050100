"""The smallest and the largest value of a row-dependent integer over the rows of a query tile.

In: an expression over ``q``, heads and lengths. Out: a ``Scalar`` over the tile's first and last
row. Sound always; attained by some row where the expression is monotone in ``q``, or is a ``min``
of such for the smallest value, a ``max`` of such for the largest.
"""

from __future__ import annotations

from enum import IntEnum

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Type, Var, Variable
from flash4gen.ir.masks.linear import Linear, UnanalysableError, is_exact, linear, reads
from flash4gen.ir.masks.order import provably_le, sign
from flash4gen.ir.masks.scalar import ZERO, Compute, Row, Scalar, place
from flash4gen.ir.simplify import INVERSE, negated

Terms = tuple[tuple[Expr, int], ...]


class End(IntEnum):
    """Which end of the range of values is asked for."""

    LOW = -1
    HIGH = 1

    @property
    def other(self) -> End:
        """The opposite end."""
        return End(-self)

    def toward(self, weight: int) -> End:
        """The end of a term that matters when the term has this weight."""
        return self if weight > 0 else self.other

    def row(self, direction: int) -> Row:
        """The row that has this extreme of something that rises (1) or falls (-1) with ``q``."""
        return Row.LAST if self * direction > 0 else Row.FIRST


def extreme(expr: Expr, end: End) -> Scalar:
    """Return a bound on an INT expression over all rows of a tile.

    Raises:
        UnanalysableError: how the expression moves with ``q`` is not known.
    """
    total = linear(expr)
    moves = {term: _direction(term) for term, _ in total.terms}
    rising = _moving(total, moves, 1)
    falling = _moving(total, moves, -1)
    steady = tuple(item for item in total.terms if moves[item[0]] == 0)
    main = -1 if falling and not rising else 1
    lead = rising if main == 1 else falling
    # One row serves all that moves one way: q_last + seq_k - seq_q + 1.
    kept = tuple(item for item in total.terms if item in steady or item in lead)
    parts = [place(Linear(total.constant, kept).expr(), end.row(main))]
    if main == 1 and falling:
        parts.append(place(Linear(0, falling).expr(), end.row(-1)))
    for term, weight in total.terms:
        if moves[term] is None:
            bound = _bounded(term, end.toward(weight))
            parts.append(bound if weight == 1 else Compute(Op.MUL, (Literal(weight), bound)))
    if len(parts) > 1 and parts[0] == ZERO:
        parts.pop(0)
    bound = parts[0]
    for part in parts[1:]:
        bound = Compute(Op.ADD, (bound, part))
    return bound


def row_independent(expr: Expr) -> bool:
    """Whether an expression is one value for the whole tile, and one that is always defined."""
    return not reads(expr, Var.Q) and not reads(expr, Var.K) and is_exact(expr)


def possible(condition: Expr) -> Scalar:
    """Return a scalar that is true if the condition holds for some row; it may be true elsewhere.

    Raises:
        UnanalysableError: as for ``extreme``.
    """
    if row_independent(condition):
        return place(condition)
    match condition:
        case Apply(op=Op.AND | Op.OR, args=(a, b)):
            return Compute(condition.op, (possible(a), possible(b)))
        case Apply(op=Op.NOT, args=(a,)) if negated(a) != condition:
            return possible(negated(a))
        case Apply(op=Op.LT | Op.LE, args=(a, b)) if a.type is Type.INT:
            return Compute(condition.op, (extreme(a, End.LOW), extreme(b, End.HIGH)))
        case Apply(op=Op.GT | Op.GE, args=(a, b)) if a.type is Type.INT:
            return Compute(condition.op, (extreme(a, End.HIGH), extreme(b, End.LOW)))
        case Apply(op=Op.EQ, args=(a, b)) if a.type is Type.INT:
            return possible(Apply(Op.AND, (Apply(Op.LE, (a, b)), Apply(Op.GE, (a, b)))))
        case Apply(op=Op.NE, args=(a, b)) if a.type is Type.INT:
            return possible(Apply(Op.OR, (Apply(Op.LT, (a, b)), Apply(Op.GT, (a, b)))))
        case _:
            raise UnanalysableError("a condition that varies with the row")


def certain(condition: Expr) -> Scalar:
    """Return a scalar that is true only if the condition holds for every row.

    Raises:
        UnanalysableError: as for ``extreme``.
    """
    return _opposite(possible(negated(condition)))


def _opposite(condition: Scalar) -> Scalar:
    match condition:
        case Literal(value):
            return Literal(not value)
        case Compute(op=Op.AND | Op.OR, args=args):
            dual = Op.OR if condition.op is Op.AND else Op.AND
            return Compute(dual, tuple(_opposite(arg) for arg in args))
        case Compute(op=op, args=args) if op in INVERSE:
            return Compute(INVERSE[op], args)
        case _:
            return Compute(Op.NOT, (condition,))


def _moving(total: Linear, moves: dict[Expr, int | None], direction: int) -> Terms:
    """Return the terms that, with their weight, rise (1) or fall (-1) from row to row."""
    return tuple(
        (term, weight)
        for term, weight in total.terms
        if (move := moves[term]) is not None and move * weight * direction > 0
    )


def _direction(expr: Expr) -> int | None:
    """Return 1, 0 or -1 for what never falls, never moves, never rises with ``q``; else None."""
    if row_independent(expr):
        return 0
    match expr:
        case Variable(var=Var.Q):
            return 1
        case Apply(op=Op.FLOOR_DIV, args=(a, Literal())):
            return _joint(_weighted(linear(a)))
        case Apply(op=Op.MIN | Op.MAX, args=(a, b)):
            return _joint((*_weighted(linear(a)), *_weighted(linear(b))))
        case Apply(op=Op.MUL, args=(a, b)):
            fixed, moving = (a, b) if row_independent(a) else (b, a)
            factor = sign(fixed) if row_independent(fixed) else None
            move = _joint(_weighted(linear(moving)))
            return None if factor is None or move is None else factor * move
        case _:
            return None


def _weighted(total: Linear) -> tuple[int | None, ...]:
    """Return the direction of every term of a sum, with its weight taken into account."""
    moves = ((_direction(term), weight) for term, weight in total.terms)
    return tuple(None if m is None else m * (1 if weight > 0 else -1) for m, weight in moves)


def _joint(moves: tuple[int | None, ...]) -> int | None:
    """Return the direction of something that follows all of these, None where they disagree."""
    if None in moves:
        return None
    found = {move for move in moves if move}
    return None if len(found) > 1 else next(iter(found), 0)


def _bounded(term: Expr, end: End) -> Scalar:
    """Return the extreme of a term that is not monotone, from the extremes of its operands."""
    match term:
        case Apply(op=Op.MIN | Op.MAX, args=(a, b)):
            return Compute(term.op, (extreme(a, end), extreme(b, end)))
        case Apply(op=Op.FLOOR_DIV, args=(a, Literal() as divisor)):
            return Compute(Op.FLOOR_DIV, (extreme(a, end), divisor))
        case Apply(op=Op.WHERE, args=(condition, a, b)):
            return _selected(condition, a, b, end)
        case Apply(op=Op.ABS, args=(a,)):
            low, high = extreme(a, End.LOW), extreme(a, End.HIGH)
            pair = (high, Compute(Op.NEG, (low,))) if end is End.HIGH else (
                low, Compute(Op.NEG, (high,)))  # fmt: skip
            bound = Compute(Op.MAX, pair)
            return bound if end is End.HIGH else Compute(Op.MAX, (bound, ZERO))
        case _:
            raise UnanalysableError(f"{term} moves with q in an unknown way")


def _selected(condition: Expr, a: Expr, b: Expr, end: End) -> Scalar:
    """Return the extreme of ``where(condition, a, b)``.

    Where one side is known to be the larger, the row that decides is the one most, or least,
    inclined to take it; else both sides may be taken.
    """
    first, second = extreme(a, end), extreme(b, end)
    if row_independent(condition):
        return Compute(Op.WHERE, (place(condition), first, second))
    if provably_le(b, a):
        chosen = possible(condition) if end is End.HIGH else certain(condition)
    elif provably_le(a, b):
        chosen = certain(condition) if end is End.HIGH else possible(condition)
    else:
        return Compute(Op.MAX if end is End.HIGH else Op.MIN, (first, second))
    return Compute(Op.WHERE, (chosen, first, second))
