"""Finds lengths at which the first program of a launch goes through its loops most often.

In: attention and schedule. Out: pairs of lengths. A pipelined loop has copies of its body ahead of
it and predicates within, which take effect only from some number of turns on; a mask bounds how
many there are, and which lengths it leaves that many to is found here by trying.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Literal, walk
from flash4gen.ir.masks import KeyBounds, Loop, QueryTile, bounds, loops
from flash4gen.ir.masks.transpose import query_bounds
from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.blackwell.model import BlackwellSchedule, KeyLoops
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.schedule.model import TileOrder
from flash4gen.validate.cases import short_rows

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.model import LoopShape
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


@dataclass(frozen=True, slots=True)
class Way:
    """What the first program of a kernel walks: a tile of rows, and tiles of columns in a loop.

    Attributes:
        limits: of the loop, for a tile of rows.
        tile_rows: rows of that tile.
        tile_columns: columns of a tile that a turn is about.
        depth: software-pipeline depth of the loop.
        from_end: whether the first program has the last rows.
        key_loops: the loops of a specialised kernel; others mask both ends of a range in one.
    """

    limits: KeyBounds
    tile_rows: int
    tile_columns: int
    depth: int
    from_end: bool
    key_loops: KeyLoops | None = None

    @property
    def enough(self) -> int:
        """Turns that fill and drain the pipeline twice; more count for nothing."""
        return 2 * self.depth + 3

    @classmethod
    def of(cls, attention: Attention, schedule: AnySchedule) -> Way:
        """Return that of a forward kernel: rows are queries, columns keys."""
        from_end = schedule.order is TileOrder.LONGEST_FIRST
        sides = schedule.tile_rows, schedule.tile_k
        key_loops = schedule.key_loops if isinstance(schedule, BlackwellSchedule) else None
        return cls(bounds(attention.mask), *sides, schedule.depth, from_end, key_loops)

    @classmethod
    def of_queries(cls, attention: Attention, shape: LoopShape) -> Way:
        """Return that of the kernel of the gradient of queries, which looks alike."""
        return cls(bounds(attention.mask), shape.tile_q, shape.tile_k, shape.stages, from_end=True)

    @classmethod
    def of_keys(cls, attention: Attention, shape: LoopShape) -> Way:
        """Return that of the kernel of the gradients of keys: rows are keys, columns queries."""
        limits = query_bounds(attention.mask)
        return cls(limits, shape.tile_k, shape.tile_q, shape.stages, from_end=False)


def longest_loops(attention: Attention, schedule: AnySchedule, known: set[Shape]) -> set[Shape]:
    """Return what to add to some shapes so that each loop turns as often as a mask allows.

    Where short queries have a kernel of their own, its loops are looked at apart from the other's.
    Turns beyond those that fill and drain a pipeline twice count for nothing.
    """
    few = short_rows(schedule)
    way = Way.of(attention, schedule)
    candidates = _candidates(attention, way)
    added = _longest(
        way,
        {shape for shape in known if shape[0] > few},
        {shape for shape in candidates if shape[0] > few},
    )
    one = one_tile(schedule) if isinstance(schedule, BlackwellSchedule) else None
    if one is None:
        return added
    return added | _longest(
        Way.of(attention, one),
        {shape for shape in known if shape[0] <= few},
        {shape for shape in candidates if shape[0] <= few},
    )


def loop_shapes(attention: Attention, way: Way) -> set[Shape]:
    """Return rows and columns that half fill a way's pipeline, fill it, and turn its loops most."""
    half, full = way.depth * way.tile_columns + 1, way.enough * way.tile_columns + 3
    shapes = {(1, 1), (way.tile_rows, half), (way.tile_rows, full)}
    if attention.lengths is Lengths.EQUAL:
        shapes = {(max(shape), max(shape)) for shape in shapes}
    candidates = _candidates(attention, way)
    # Where a mask is aligned to the ends, many columns see the first rows only if rows are many.
    long = {columns + way.tile_rows for _, columns in candidates}
    candidates |= {(length, length) for length in long}
    return shapes | _longest(way, shapes, candidates)


def _longest(way: Way, known: set[Shape], candidates: set[Shape]) -> set[Shape]:
    """Return what one kernel's loops lack, of the candidates."""
    turns = {shape: _turns(way, shape) for shape in known | candidates}
    turns = {shape: found for shape, found in turns.items() if sum(found) <= _MOST_TURNS}
    added: set[Shape] = set()
    for loop in range(len(next(iter(turns.values()), ()))):
        worth = {shape: _worth(way, found, loop) for shape, found in turns.items()}
        reached = max((worth[shape] for shape in known | added if shape in worth), default=-1)
        best = max(worth.values())
        if best > reached:
            shapes = (shape for shape in worth if worth[shape] == best)
            added.add(min(shapes, key=lambda shape: (sum(turns[shape]), shape)))
    return added


def _worth(way: Way, turns: tuple[int, ...], loop: int) -> int:
    """Return how many of a loop's turns count."""
    far = way.key_loops is not None and sum(turns) > _SHORT
    return min(turns[loop], _PHASES if far else way.enough)


def _candidates(attention: Attention, way: Way) -> set[Shape]:
    """Return lengths around the tiles and the mask's own constants."""
    constants = {0} | {
        abs(node.value)
        for node in walk(attention.mask)
        if isinstance(node, Literal) and type(node.value) is int
    }
    queries = {1} | {way.tile_rows * n + extra for n in (1, 2) for extra in (-1, 0, 1)}
    queries |= {n + way.tile_rows for n in constants}
    keys = {
        n + tiles * way.tile_columns + extra
        for n in constants
        for tiles in range(2 * way.depth + 5)
        # Without a rest: a window no longer than a tile holds a whole one for a single query.
        for extra in (0, 1, way.tile_columns // 2 + 1)
        if n + tiles + extra
    }
    if attention.lengths is Lengths.EQUAL:
        return {(n, n) for n in queries | keys}
    return {(q, k) for q in queries for k in keys}


def _turns(way: Way, shape: Shape) -> tuple[int, ...]:
    """Return the turns of the first program's loops, of each range of columns."""
    rows, columns = shape
    tile = (rows - 1) // way.tile_rows if way.from_end else 0
    first = tile * way.tile_rows
    last = min(first + way.tile_rows, rows) - 1
    at = QueryTile(first=first, last=last, seq_q=rows, seq_k=columns, h=0, hkv=0)
    found = loops(way.limits, at, way.tile_columns)
    return tuple(n for loop in found for n in _split(way.key_loops, loop))


def _split(kinds: KeyLoops | None, loop: Loop) -> tuple[int, ...]:
    """Return the turns of a kernel's loops over one range: masked and full, or in their order."""
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
