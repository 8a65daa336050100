"""Finds lengths at which the first program of a launch goes through its loops most often.

In: attention and schedule. Out: pairs of lengths. A pipelined loop has copies of its body ahead of
it and predicates within, which take effect only from some number of turns on; a mask bounds how
many there are, and which lengths it leaves that many to is found here by trying.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Literal, walk
from flash4gen.ir.masks import KeyBounds, Loop, QueryTile, bounds, loops
from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.blackwell.model import BlackwellSchedule, KeyLoops
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.schedule.model import TileOrder
from flash4gen.validate.cases import short_rows

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import AnySchedule

Shape = tuple[int, int]
"""Queries and keys."""

_MOST_TURNS = 300
"""Lengths that make one program take more turns than this are left alone."""

_SHORT = 48
"""Those with more than this are not worth it to specialised kernels for turns beyond ``_PHASES``.

Nothing in their loops depends on how many turns there were but the phases of barriers, two of them
in turn, and the ring, which all loops walk together.
"""

_PHASES = 3
"""Turns that meet either phase of a barrier, and the first again."""


def longest_loops(attention: Attention, schedule: AnySchedule, known: set[Shape]) -> set[Shape]:
    """Return what to add to some shapes so that each loop turns as often as a mask allows.

    Where short queries have a kernel of their own, its loops are looked at apart from the other's.
    Turns beyond those that fill and drain a pipeline twice count for nothing.
    """
    few = short_rows(schedule)
    candidates = _candidates(attention, schedule)
    added = _longest(
        attention,
        schedule,
        {shape for shape in known if shape[0] > few},
        {shape for shape in candidates if shape[0] > few},
    )
    one = one_tile(schedule) if isinstance(schedule, BlackwellSchedule) else None
    if one is None:
        return added
    return added | _longest(
        attention,
        one,
        {shape for shape in known if shape[0] <= few},
        {shape for shape in candidates if shape[0] <= few},
    )


def _longest(
    attention: Attention, schedule: AnySchedule, known: set[Shape], candidates: set[Shape]
) -> set[Shape]:
    """Return what one kernel's loops lack, of the candidates."""
    enough = 2 * schedule.depth + 3
    far = _PHASES if isinstance(schedule, BlackwellSchedule) else enough
    limits = bounds(attention.mask)
    turns = {shape: _turns(schedule, limits, shape) for shape in known | candidates}
    turns = {shape: found for shape, found in turns.items() if sum(found) <= _MOST_TURNS}
    added: set[Shape] = set()
    for loop in range(len(next(iter(turns.values()), ()))):
        worth = {
            shape: min(found[loop], enough if sum(found) <= _SHORT else far)
            for shape, found in turns.items()
        }
        reached = max((worth[shape] for shape in known | added if shape in worth), default=-1)
        best = max(worth.values())
        if best > reached:
            shapes = (shape for shape in worth if worth[shape] == best)
            added.add(min(shapes, key=lambda shape: (sum(turns[shape]), shape)))
    return added


def _candidates(attention: Attention, schedule: AnySchedule) -> set[Shape]:
    """Return lengths around the tiles and the mask's own constants."""
    constants = {0} | {
        abs(node.value)
        for node in walk(attention.mask)
        if isinstance(node, Literal) and type(node.value) is int
    }
    queries = {1} | {schedule.tile_rows * n + extra for n in (1, 2) for extra in (-1, 0, 1)}
    queries |= {n + schedule.tile_rows for n in constants}
    keys = {
        n + tiles * schedule.tile_k + extra
        for n in constants
        for tiles in range(2 * schedule.depth + 5)
        # Without a rest: a window no longer than a tile holds a whole one for a single query.
        for extra in (0, 1, schedule.tile_k // 2 + 1)
        if n + tiles + extra
    }
    if attention.lengths is Lengths.EQUAL:
        return {(n, n) for n in queries | keys}
    return {(q, k) for q in queries for k in keys}


def _turns(schedule: AnySchedule, limits: KeyBounds, shape: Shape) -> tuple[int, ...]:
    """Return the turns of the first program's loops, of each range of keys."""
    seq_q, seq_k = shape
    last_tile = (seq_q - 1) // schedule.tile_rows
    tile = last_tile if schedule.order is TileOrder.LONGEST_FIRST else 0
    first = tile * schedule.tile_rows
    last = min(first + schedule.tile_rows, seq_q) - 1
    at = QueryTile(first=first, last=last, seq_q=seq_q, seq_k=seq_k, h=0, hkv=0)
    kinds = schedule.key_loops if isinstance(schedule, BlackwellSchedule) else None
    return tuple(n for loop in loops(limits, at, schedule.tile_k) for n in _split(kinds, loop))


def _split(kinds: KeyLoops | None, loop: Loop) -> tuple[int, ...]:
    """Return the turns of a kernel's loops over one range; portable ones mask both ends in one."""
    before, full = loop.full_first - loop.first, loop.full_last - loop.full_first
    after = loop.last - loop.full_last
    match kinds:
        case None:
            return (after + before, full)
        case KeyLoops.MASKED:
            return (after + full + before,)
        case KeyLoops.MASKED_FULL:
            return (after, full)
        case KeyLoops.MASKED_FULL_MASKED:
            return (after, full, before)
