"""Which loops over key tiles can have a turn at all, at some length, for some query tile.

In: ``KeyBounds``. Out: ``Turns``. A loop that is left out here is proven never to run: by bounds on
sums of positions and lengths (``order``), for every length and wherever the query tile is, be it
whole or the last one with fewer rows. A loop that stays may still never run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Var, Variable
from flash4gen.ir.masks.linear import Linear, UnanalysableError, linear
from flash4gen.ir.masks.order import never_positive
from flash4gen.ir.masks.scalar import Compute, Row, RowPosition, Scalar

if TYPE_CHECKING:
    from flash4gen.ir.masks.bounds import KeyBounds, Segment


class Turns(NamedTuple):
    """Loops over key tiles, beside that of the masked tiles behind the full ones.

    That one always may run: lengths are not whole tiles.

    Attributes:
        full: of tiles that every row sees. Without it all tiles are masked, in one loop.
        before: of masked tiles in front of those.
    """

    full: bool
    before: bool


def turns(known: KeyBounds, tile_k: int) -> Turns:
    """Return which loops may have a turn, for key tiles of ``tile_k`` keys."""
    if Var.B in known.reads:  # stands for something else in the proofs
        return Turns(full=known.has_full, before=known.has_full)
    # Two full ranges that touch become one.
    most = (tile_k - 1) // max(1, len(known.segments))
    full = not all(_holds_at_most(most, segment) for segment in known.segments)
    before = full and not all(_starts_whole(segment, tile_k) for segment in known.segments)
    return Turns(full=full, before=before)


def _holds_at_most(most: int, segment: Segment) -> bool:
    """Whether the full range is proven to have no more keys than that."""
    if not segment.has_full:
        return True
    try:
        keys = _linear(segment.full_end) - _linear(segment.full_start)
        return never_positive(keys.plus(-most))
    except UnanalysableError:
        return False


def _starts_whole(segment: Segment, tile_k: int) -> bool:
    """Whether a full range is proven to start with a tile, and no live tile to come before it.

    Clamping both starts to ``[0, seq_k]`` changes nothing of that.
    """
    if not segment.has_full:
        return True
    try:
        live, full = _linear(segment.live_start), _linear(segment.full_start)
        end = _linear(segment.full_end)
        return _divides(tile_k, full) and (
            never_positive(full - live) or _starts_below(end, full, live)
        )
    except UnanalysableError:
        return False


def _starts_below(end: Linear, full: Linear, live: Linear) -> bool:
    """Whether ``full < end`` is proven to make ``full <= live``, where ``live`` is rounded down.

    With ``live = c·(x // c) + shift`` and ``full`` a multiple of c, ``full <= live`` says no more
    than ``full <= x + shift``, and ``full`` is at most ``end - 1``; or ``end - c``, if that is such
    a multiple too. Chunks are so: a query tile within one has that chunk's start as both; one
    across two has nothing that all rows see.
    """
    if len(live.terms) != 1:
        return False
    ((term, weight),) = live.terms
    match term:
        case Apply(op=Op.FLOOR_DIV, args=(x, Literal(value=divisor))) if divisor == weight > 0:
            shift = live.constant
            if shift % weight or not _divides(weight, full):
                return False
            step = weight if _divides(weight, end) else 1
            return never_positive(end.plus(-step - shift) - linear(x))
    return False


def _divides(number: int, total: Linear) -> bool:
    """Whether a sum is a multiple of a number by its form."""
    return all(part % number == 0 for part in (total.constant, *(w for _, w in total.terms)))


def _linear(scalar: Scalar) -> Linear:
    """Return a scalar as a sum over ``q``, the first row, and ``b``, by how much the last is more.

    Of ``b`` no more is known than that it is not negative, which is true of both its meanings.
    """
    return linear(_expr(scalar))


def _expr(scalar: Scalar) -> Expr:
    match scalar:
        case Literal() | Variable():
            return scalar
        case RowPosition(row):
            first = Variable(Var.Q)
            return first if row is Row.FIRST else Apply(Op.ADD, (first, Variable(Var.B)))
        case Compute(op, args):
            return Apply(op, tuple(map(_expr, args)))
