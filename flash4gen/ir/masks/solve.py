"""From a mask to the intervals of keys that each row sees: comparisons solved for ``k``.

In: a BOOL expression. Out: ``Pieces``. Exact for comparisons of ``k``, or ``k // c``, with anything
that does not read ``k``, and for ``min``, ``max``, ``abs`` and ``where`` around them. What remains,
such as ``k % 2 == 0``, is opaque: its keys may all be visible, and none is sure to be.
"""

from __future__ import annotations

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Type, Var, Variable
from flash4gen.ir.masks.extremes import End, certain, extreme, possible, row_independent
from flash4gen.ir.masks.intervals import ALL, NONE, OPAQUE, Pieces, both, either, exactly, select
from flash4gen.ir.masks.linear import Linear, UnanalysableError, linear, reads
from flash4gen.ir.masks.order import never_positive
from flash4gen.ir.simplify import INVERSE, make, negated

_K = Variable(Var.K)
MOST_CASES = 64
"""A comparison that ``min``, ``max`` and the like break into more cases than this is opaque."""


def solve(mask: Expr) -> Pieces:
    """Return the keys that every row may see and surely sees.

    Args:
        mask: BOOL expression, simplified.
    """
    if isinstance(mask, Literal):
        return ALL if mask.value else NONE
    match mask:
        case Apply(op=Op.AND | Op.OR, args=(a, b)):
            return _combined(mask.op, a, b)
        case Apply(op=op, args=(a, b)) if a.type is Type.INT:
            return _comparison(op, a, b)
        case _ if row_independent(mask):
            return select(mask, ALL, NONE)
        case Apply(op=Op.WHERE, args=(condition, a, b)):
            return _cases(condition, solve(a), solve(b))
        case Apply(op=Op.NOT, args=(a,)) if negated(a) != mask:
            return solve(negated(a))
        case _:
            return OPAQUE


def _combined(op: Op, a: Expr, b: Expr) -> Pieces:
    """Solve ``and``/``or``; a side that is the same for all rows switches the other on or off."""
    fixed, other = (a, b) if row_independent(a) else (b, a)
    if row_independent(fixed):
        return select(fixed, *((solve(other), NONE) if op is Op.AND else (ALL, solve(other))))
    return (both if op is Op.AND else either)(solve(a), solve(b))


def _cases(condition: Expr, a: Pieces, b: Pieces) -> Pieces:
    if row_independent(condition):
        return select(condition, a, b)
    return either(both(solve(condition), a), both(solve(negated(condition)), b))


def _comparison(op: Op, a: Expr, b: Expr) -> Pieces:
    try:
        difference = linear(a) - linear(b)
        decided = _decided(op, difference)
        if decided is not None:
            return ALL if decided else NONE
        rest = difference.expr()
        if row_independent(rest):
            as_written = row_independent(a) and row_independent(b)
            sides = (a, b) if as_written else (rest, Literal(0))
            return select(make(op, sides), ALL, NONE)
        return _compared_to_zero(op, difference)
    except UnanalysableError:
        return OPAQUE


def _decided(op: Op, difference: Linear) -> bool | None:
    """Return what ``difference op 0`` is if it is provably the same for every element."""
    match op:
        case Op.LE if never_positive(difference):
            return True
        case Op.LE if never_positive(difference.scaled(-1).plus(1)):
            return False
        case Op.LT:
            return _decided(Op.LE, difference.plus(1))
        case Op.EQ:
            sides = (_decided(Op.LE, difference), _decided(Op.LE, difference.scaled(-1)))
            return False if False in sides else None
        case Op.GE | Op.GT | Op.NE:
            opposite = _decided(INVERSE[op], difference)
            return None if opposite is None else not opposite
        case _:
            return None


def _compared_to_zero(op: Op, difference: Linear) -> Pieces:
    """Solve ``difference op 0``."""
    budget = _Budget()
    opposite = difference.scaled(-1)
    match op:
        case Op.LE:
            return _at_most_zero(difference, budget)
        case Op.LT:
            return _at_most_zero(difference.plus(1), budget)
        case Op.GE:
            return _at_most_zero(opposite, budget)
        case Op.GT:
            return _at_most_zero(opposite.plus(1), budget)
        case Op.EQ:
            return both(_at_most_zero(difference, budget), _at_most_zero(opposite, budget))
        case Op.NE:
            below, above = difference.plus(1), opposite.plus(1)
            return either(_at_most_zero(below, budget), _at_most_zero(above, budget))
        case _:
            raise UnanalysableError(op.value)


class _Budget:
    """Counts the cases that one comparison has fallen into."""

    def __init__(self) -> None:
        self.left = MOST_CASES

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise UnanalysableError("too many cases")


def _at_most_zero(total: Linear, budget: _Budget) -> Pieces:
    """Solve ``total <= 0`` for ``k``, one term that reads ``k`` after the other."""
    budget.spend()
    moving = [(term, weight) for term, weight in total.terms if reads(term, Var.K)]
    if not moving:
        return _row_condition(make(Op.LE, (total.expr(), Literal(0))))
    for term, weight in moving:
        if isinstance(term, Apply) and term.op in (Op.MIN, Op.MAX, Op.ABS, Op.WHERE):
            return _split(term, weight, total.without(term), budget)
    if len(moving) > 1:
        raise UnanalysableError("several terms in k")
    term, weight = moving[0]
    rest = total.without(term)
    if term == _K:
        return _key_bound(weight, rest)
    if isinstance(term, Apply) and term.op is Op.FLOOR_DIV:
        return _quotient_bound(term, weight, rest, budget)
    raise UnanalysableError(f"{term.op.value if isinstance(term, Apply) else term} of k")


def _row_condition(condition: Expr) -> Pieces:
    """Rows for which the condition holds see every key, the others none."""
    if row_independent(condition):
        return select(condition, ALL, NONE)
    possible(condition)
    certain(condition)
    end = Apply(Op.WHERE, (condition, Variable(Var.SEQ_K), Literal(0)))
    return exactly(None, end)


def _key_bound(weight: int, rest: Linear) -> Pieces:
    """Solve ``weight · k + rest <= 0`` where ``rest`` does not read ``k``."""
    if weight > 0:
        return exactly(None, _known(rest.scaled(-1).floor_div(weight).plus(1)))
    # k >= ceil(rest / |weight|), and a ceiling is a floor of the negative
    return exactly(_known(rest.scaled(-1).floor_div(-weight).scaled(-1)), None)


def _quotient_bound(term: Apply, weight: int, rest: Linear, budget: _Budget) -> Pieces:
    """Solve ``weight · (inner // c) + rest <= 0`` by the range of ``inner`` that gives it."""
    inner, divisor = linear(term.args[0]), term.args[1]
    assert isinstance(divisor, Literal)  # linear() admits no other divisor
    c = int(divisor.value)
    if weight > 0:  # inner // c <= most
        most = rest.scaled(-1).floor_div(weight)
        return _at_most_zero((inner - most.scaled(c)).plus(1 - c), budget)
    least = rest.scaled(-1).floor_div(-weight).scaled(-1)
    return _at_most_zero(least.scaled(c) - inner, budget)


def _split(term: Apply, weight: int, rest: Linear, budget: _Budget) -> Pieces:
    """Solve ``weight · term + rest <= 0`` for a term that is one of two alternatives."""

    def alternative(expr: Expr, factor: int) -> Pieces:
        return _at_most_zero(rest + linear(expr).scaled(factor), budget)

    match term:
        case Apply(op=Op.WHERE, args=(condition, a, b)):
            return _cases(condition, alternative(a, weight), alternative(b, weight))
        case Apply(op=Op.ABS, args=(a,)):  # the larger of a and -a
            first, second = alternative(a, weight), alternative(a, -weight)
            return (both if weight > 0 else either)(first, second)
        case Apply(op=Op.MIN | Op.MAX, args=(a, b)):
            all_of = (term.op is Op.MAX) == (weight > 0)
            return (both if all_of else either)(alternative(a, weight), alternative(b, weight))
        case _:
            raise UnanalysableError(term.op.value)


def _known(bound: Linear) -> Expr:
    """Return a bound as an expression, having made sure that its extremes over rows are known."""
    expr = bound.expr()
    extreme(expr, End.LOW)
    extreme(expr, End.HIGH)
    return expr
