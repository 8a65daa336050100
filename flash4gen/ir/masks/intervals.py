"""Which keys a row may see and surely sees, as unions of intervals that move with the row.

A mask becomes a short tuple of ``Piece``. For every row, each visible key lies in the ``live``
interval of some piece, and each key in a ``full`` interval is visible. Intersection and union keep
both promises; they are exact while ``full`` equals ``live``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, zip_longest

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Var, Variable, walk
from flash4gen.ir.masks.order import provably_le
from flash4gen.ir.simplify import make

MOST_PIECES = 4
"""Beyond this many intervals in an intermediate result, the last ones become their hull."""

_CHOICES = (Op.MIN, Op.MAX, Op.WHERE)
MOST_CHOICES = 6
"""A bound with more ``min``, ``max`` and ``where`` than this is given up: too long for a kernel."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Keys ``[start, end)`` of one row, as expressions over ``q``, heads and lengths.

    None stands for the first and the last key there is.
    """

    start: Expr | None = None
    end: Expr | None = None


EVERYTHING = Interval()
_NO_KEYS = Interval(None, Literal(0))


@dataclass(frozen=True, slots=True)
class Piece:
    """One interval of keys that may be visible and the part of it that is; None: no such part."""

    live: Interval
    full: Interval | None


Pieces = tuple[Piece, ...]

_NOTHING = Piece(_NO_KEYS, _NO_KEYS)

ALL: Pieces = (Piece(EVERYTHING, EVERYTHING),)
NONE: Pieces = ()
OPAQUE: Pieces = (Piece(EVERYTHING, None),)


def exactly(start: Expr | None, end: Expr | None) -> Pieces:
    """Return the pieces of a row that sees just the keys ``[start, end)``."""
    interval = Interval(start, end)
    return () if is_empty(interval) else (Piece(interval, interval),)


def is_empty(interval: Interval) -> bool:
    """Whether an interval is proven to hold no key in any row."""
    start = Literal(0) if interval.start is None else interval.start
    end = Variable(Var.SEQ_K) if interval.end is None else interval.end
    return (
        provably_le(end, start)
        or provably_le(end, Literal(0))
        or provably_le(Variable(Var.SEQ_K), start)
    )


def both(a: Pieces, b: Pieces) -> Pieces:
    """Return the keys visible under both."""
    met = (_readable(_intersect(x, y)) for x in a for y in b)
    return _joined(tuple(piece for piece in met if not is_empty(piece.live)))


def either(a: Pieces, b: Pieces) -> Pieces:
    """Return the keys visible under one or the other."""
    return _joined((*a, *b))


def select(condition: Expr, a: Pieces, b: Pieces) -> Pieces:
    """Return ``a`` where a row-independent condition holds and ``b`` elsewhere."""
    pairs = zip_longest(a, b, fillvalue=_NOTHING)
    return tuple(
        _readable(
            Piece(_select(condition, x.live, y.live), _select_full(condition, x.full, y.full))
        )
        for x, y in pairs
    )


def hull(a: Piece, b: Piece) -> Piece:
    """Return one piece for two, with the keys between them live but not full."""
    return _readable(Piece(_hull(a.live, b.live), a.full if a.full is not None else b.full))


def starts_first(a: Interval, b: Interval) -> bool:
    """Whether the first existing key of ``a`` is proven not to come after that of ``b``."""
    if a.start is None or provably_le(a.start, Literal(0)):
        return True
    return b.start is not None and provably_le(a.start, b.start)


def _intersect(a: Piece, b: Piece) -> Piece:
    live = _meet(a.live, b.live)
    if a.full is None or b.full is None:
        return Piece(live, None)
    full = live if (a.full, b.full) == (a.live, b.live) else _meet(a.full, b.full)
    return Piece(live, None if is_empty(full) else full)


def _meet(a: Interval, b: Interval) -> Interval:
    return Interval(_later(a.start, b.start), _earlier(a.end, b.end))


def _hull(a: Interval, b: Interval) -> Interval:
    return Interval(
        None if a.start is None or b.start is None else _least(a.start, b.start),
        None if a.end is None or b.end is None else _greatest(a.end, b.end),
    )


def _later(a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None:
        return b if a is None else a
    return _greatest(a, b)


def _earlier(a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None:
        return b if a is None else a
    return _least(a, b)


def _greatest(a: Expr, b: Expr) -> Expr:
    if provably_le(a, b):
        return b
    return a if provably_le(b, a) else make(Op.MAX, (a, b))


def _least(a: Expr, b: Expr) -> Expr:
    if provably_le(a, b):
        return a
    return b if provably_le(b, a) else make(Op.MIN, (a, b))


def _joined(pieces: Pieces) -> Pieces:
    """Unite what can be united into one interval in every row, until nothing more can."""
    found = next(
        ((i, j, union)
         for (i, a), (j, b) in combinations(enumerate(pieces), 2)
         if (union := _unite(a, b)) is not None),
        None,
    )  # fmt: skip
    if found is not None:
        i, j, union = found
        rest = (piece for index, piece in enumerate(pieces) if index not in (i, j))
        return _joined((union, *rest))
    if len(pieces) > MOST_PIECES:
        return _joined((*pieces[:-2], hull(*pieces[-2:])))
    return pieces


def _unite(a: Piece, b: Piece) -> Piece | None:
    """Return one piece with the keys of both, if they are one interval in every row.

    Two intervals leave no gap if each starts no later than the other ends. That suffices where one
    of them is empty, too: its start then lies at or beyond its end, inside or at the edge of the
    other, and the hull is the other.
    """
    live = _gapless(a.live, b.live)
    if live is None:
        return None
    if a.full is None or b.full is None:
        full = b.full if a.full is None else a.full
    elif (a.full, b.full) == (a.live, b.live):
        full = live
    else:
        full = _gapless(a.full, b.full)
        if full is None:
            return None
    return _readable(Piece(live, full))


def _readable(piece: Piece) -> Piece:
    """Give up bounds that have grown too long, on the side that keeps both promises."""
    start, end = piece.live.start, piece.live.end
    live = Interval(None if _is_long(start) else start, None if _is_long(end) else end)
    if piece.full is None or _is_long(piece.full.start) or _is_long(piece.full.end):
        return Piece(live, None)
    return Piece(live, piece.full)


def _is_long(bound: Expr | None) -> bool:
    if bound is None:
        return False
    choices = [node for node in walk(bound) if isinstance(node, Apply) and node.op in _CHOICES]
    return len(choices) > MOST_CHOICES


def _gapless(a: Interval, b: Interval) -> Interval | None:
    if _contains(a, b):
        return a
    if _contains(b, a):
        return b
    return _hull(a, b) if _reaches(a, b) and _reaches(b, a) else None


def _contains(outer: Interval, inner: Interval) -> bool:
    start = outer.start is None or (
        inner.start is not None and provably_le(outer.start, inner.start)
    )
    end = outer.end is None or (inner.end is not None and provably_le(inner.end, outer.end))
    return start and end


def _reaches(a: Interval, b: Interval) -> bool:
    """Whether ``a`` starts no later than ``b`` ends."""
    return a.start is None or b.end is None or provably_le(a.start, b.end)


def _select(condition: Expr, a: Interval, b: Interval) -> Interval:
    # An interval that ends at key 0 is empty wherever it starts: no need to choose the start.
    a_start = b.start if a == _NO_KEYS else a.start
    b_start = a.start if b == _NO_KEYS else b.start
    return Interval(
        _choose(condition, a_start, b_start, Literal(0)),
        _choose(condition, a.end, b.end, Variable(Var.SEQ_K)),
    )


def _select_full(condition: Expr, a: Interval | None, b: Interval | None) -> Interval | None:
    if a is None and b is None:
        return None
    return _select(condition, a or _NO_KEYS, b or _NO_KEYS)


def _choose(condition: Expr, a: Expr | None, b: Expr | None, default: Expr) -> Expr | None:
    if a is None and b is None:
        return None
    return make(Op.WHERE, (condition, a or default, b or default))
