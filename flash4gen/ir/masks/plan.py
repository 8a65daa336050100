"""The key tiles that one query tile visits: the twin, in Python, of the loops a kernel runs.

In: ``KeyBounds`` and the place of a query tile. Out: per segment a ``Loop``: tiles with mask code,
tiles without, tiles with mask code again. Tests hold the bounds to brute force with it; ``cost``
and ``explain`` count with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.ir.masks.scalar import QueryTile, evaluate_scalar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.masks.bounds import KeyBounds, Segment


@dataclass(frozen=True, slots=True)
class Keys:
    """A segment of one query tile: integers, clamped to ``[0, seq_k]``, an empty range ``0, 0``."""

    live_start: int
    live_end: int
    full_start: int
    full_end: int


@dataclass(frozen=True, slots=True)
class Loop:
    """Key tiles of one segment, by index: ``first <= full_first <= full_last <= last``.

    Tiles ``[first, full_first)`` and ``[full_last, last)`` run the mask, those between do not.
    """

    first: int
    full_first: int
    full_last: int
    last: int


class Visit(NamedTuple):
    """One key tile that a query tile visits, and whether it runs the mask there."""

    tile: int
    masked: bool


def evaluate_bounds(bounds: KeyBounds, at: QueryTile) -> tuple[Keys, ...]:
    """Return the key ranges of one query tile in the order in which they are visited.

    Two ranges are sorted by their first live key. If their full parts touch, they become one, so
    that a tile across the seam counts as full; the second is then empty.
    """
    keys = tuple(_clamped(segment, at) for segment in bounds.segments)
    if len(keys) < 2:
        return keys
    first, second = keys
    if not bounds.ordered and second.live_start < first.live_start:
        first, second = second, first
    if min(first.full_end, second.full_end) >= max(first.full_start, second.full_start, 1):
        joined = Keys(
            min(first.live_start, second.live_start),
            max(first.live_end, second.live_end),
            min(first.full_start, second.full_start),
            max(first.full_end, second.full_end),
        )
        return joined, Keys(0, 0, 0, 0)
    return first, second


def loops(bounds: KeyBounds, at: QueryTile, tile_k: int) -> tuple[Loop, ...]:
    """Return the loops over key tiles of ``tile_k`` keys for one query tile."""
    result: list[Loop] = []
    begin = 0
    for keys in evaluate_bounds(bounds, at):
        first = max(keys.live_start // tile_k, begin)
        last = max(-(-keys.live_end // tile_k), first)
        full_first = min(max(-(-keys.full_start // tile_k), first), last)
        full_last = min(max(keys.full_end // tile_k, full_first), last)
        result.append(Loop(first, full_first, full_last, last))
        begin = last
    return tuple(result)


def visited_tiles(bounds: KeyBounds, at: QueryTile, tile_k: int) -> tuple[Visit, ...]:
    """Return the key tiles that one query tile visits, in order."""
    return tuple(visit for loop in loops(bounds, at, tile_k) for visit in _visits(loop))


def query_tiles(template: QueryTile, tile_q: int) -> Iterator[QueryTile]:
    """Yield the query tiles of ``tile_q`` rows that cover ``seq_q``, at the template's place."""
    for first in range(0, template.seq_q, tile_q):
        yield QueryTile(
            first=first,
            last=min(first + tile_q, template.seq_q) - 1,
            seq_q=template.seq_q,
            seq_k=template.seq_k,
            h=template.h,
            hkv=template.hkv,
            b=template.b,
        )


def _visits(loop: Loop) -> Iterator[Visit]:
    for tile in range(loop.first, loop.last):
        yield Visit(tile, masked=not loop.full_first <= tile < loop.full_last)


def _clamped(segment: Segment, at: QueryTile) -> Keys:
    scalars = (segment.live_start, segment.live_end, segment.full_start, segment.full_end)
    live_start, live_end, full_start, full_end = (int(evaluate_scalar(s, at)) for s in scalars)
    return Keys(*_range(live_start, live_end, at), *_range(full_start, full_end, at))


def _range(start: int, end: int, at: QueryTile) -> tuple[int, int]:
    start, end = max(start, 0), min(end, at.seq_k)
    return (start, end) if start < end else (0, 0)
