"""Loop bounds of a mask: which keys the rows of a query tile may see, and which all of them see.

In: the mask of an ``Attention``. Out: ``KeyBounds``, whose scalars the kernel evaluates once per
query tile. ``plan.py`` says which key tiles follow from them.

Sound for every mask: a key outside all live ranges is visible to no row of the tile, a key inside
a full range to every row. Tight, which is to say that no tile is visited in vain and no full tile
runs the mask, where in the mask every bound on ``k`` moves one way with ``q``, and

* the mask is a conjunction, and the keys of a row reach at least to where those of the next begin:
  causal, windows, chunks, prefixes, all aligned to the same end;
* or a disjunction of such whose keys are one interval in every row, provably;
* or a disjunction with a prefix that is the same for every row: ``k < 4 or window``.

Elsewhere some tiles may be visited in vain or with a mask that they do not need.
"""

from __future__ import annotations

from dataclasses import dataclass

from flash4gen.ir.expr import Expr, Var, variables
from flash4gen.ir.masks.extremes import End, extreme
from flash4gen.ir.masks.intervals import Interval, Piece, Pieces, hull, starts_first
from flash4gen.ir.masks.scalar import SEQ_K, ZERO, Scalar
from flash4gen.ir.masks.solve import solve
from flash4gen.ir.simplify import negated, simplify

MOST_SEGMENTS = 2


@dataclass(frozen=True, slots=True)
class Segment:
    """Two ranges of key positions, half open, before clamping; either may come out empty.

    A range whose start is not below its end is empty.

    Attributes:
        live_start: no row of the tile sees a key before it, as far as this segment goes.
        live_end: nor one at or after it.
        full_start: every row sees the keys from here
        full_end: up to, not including, here. ``0, 0`` where none is sure to be seen.
    """

    live_start: Scalar
    live_end: Scalar
    full_start: Scalar
    full_end: Scalar

    @property
    def has_full(self) -> bool:
        """Whether there can be a key that every row sees: whether a loop without mask pays."""
        return self.full_end != ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyBounds:
    """What the kernel's loops over keys follow from.

    Attributes:
        segments: none (the mask is never true), one or two. A visible key lies in the live range
            of one of them.
        ordered: with two segments, whether the first is proven to start no later than the second
            for every tile, after clamping to ``[0, seq_k]``. Else they are sorted at run time.
        always_full: the mask is true everywhere; only the end of the keys cuts a tile.
        reads: what the mask depends on.
    """

    segments: tuple[Segment, ...]
    ordered: bool
    always_full: bool
    reads: frozenset[Var]

    @property
    def has_full(self) -> bool:
        """Whether some tile may need no mask code."""
        return any(segment.has_full for segment in self.segments)

    @property
    def has_partial(self) -> bool:
        """Whether the mask, not just the end of the keys, may cut a tile."""
        return not self.always_full and bool(self.segments)


def bounds(mask: Expr) -> KeyBounds:
    """Return the loop bounds of a BOOL expression over positions, heads and lengths."""
    canonical = simplify(mask)
    pieces = _at_most_two(solve(canonical))
    ordered = True
    if len(pieces) > 1 and not starts_first(pieces[0].live, pieces[1].live):
        ordered = starts_first(pieces[1].live, pieces[0].live)
        pieces = tuple(reversed(pieces)) if ordered else pieces
    return KeyBounds(
        segments=tuple(_segment(piece) for piece in pieces),
        ordered=ordered,
        always_full=always_true(canonical),
        reads=variables(canonical),
    )


def never_true(mask: Expr) -> bool:
    """Whether a mask is proven to hide every key from every query, whatever the lengths."""
    return not solve(simplify(mask))


def always_true(mask: Expr) -> bool:
    """Whether a mask is proven to hide nothing, whatever the lengths."""
    return never_true(negated(simplify(mask)))


def _at_most_two(pieces: Pieces) -> Pieces:
    if len(pieces) <= MOST_SEGMENTS:
        return pieces
    kept, last = pieces[: MOST_SEGMENTS - 1], pieces[MOST_SEGMENTS - 1 :]
    merged: Piece = last[0]
    for piece in last[1:]:
        merged = hull(merged, piece)
    return (*kept, merged)


def _segment(piece: Piece) -> Segment:
    live_start, live_end = _extremes(piece.live, End.LOW)
    full_start, full_end = (ZERO, ZERO) if piece.full is None else _extremes(piece.full, End.HIGH)
    return Segment(live_start, live_end, full_start, full_end)


def _extremes(interval: Interval, start: End) -> tuple[Scalar, Scalar]:
    """Return the union (from the LOW start) or the intersection (HIGH) of the rows' intervals."""
    return (
        ZERO if interval.start is None else extreme(interval.start, start),
        SEQ_K if interval.end is None else extreme(interval.end, start.other),
    )
