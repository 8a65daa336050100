"""Finds lengths that make a kernel run each of its loops: what a mask skips, and what it does not.

In: attention and schedule. Out: a ``CasePlan``: the basic cases, and for every kind of loop that
they leave out the shortest case that runs it. The loops of a length are those of ``ir.masks.plan``,
which the kernel evaluates, so no list of masks is needed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import torch

from flash4gen.ir.expr import Literal, Var, lookups, walk
from flash4gen.ir.masks import KeyBounds, Loop, QueryTile, bounds, loops, query_tiles
from flash4gen.ir.nodes import Lengths
from flash4gen.validate.cases import Case, Values, basic_cases
from flash4gen.validate.oracle import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import AnySchedule

PROGRAM_STEPS = 4
"""What a program costs on the virtual GPU besides its loop, in steps of one key tile."""

MOST_STEPS = 9_000
"""How many such steps, about 0.4 ms each, all cases that are found here may take together."""

_MOST_TILES = 512
"""Lengths of more query tiles than this are not looked at."""

_MOST_PAIRS = 1 << 22
"""Masks of more elements than this are not written out to look for rows that see no key."""


class LoopKind(StrEnum):
    """What the loop over the keys of one query tile can come across."""

    NOTHING = "a query tile that sees no key"
    EMPTY_ROW = "a row that sees no key beside one that does"
    SKIPPED_BEFORE = "key tiles skipped before the first"
    MASKED_BEFORE = "masked tiles before full ones"
    FULL = "full tiles"
    LONG_FULL = "more full tiles in a row than stages"
    MASKED_AFTER = "masked tiles after full ones"
    MASKED_ONLY = "masked tiles without full ones"
    LONG_MASKED = "more masked tiles in a row than stages"
    SKIPPED_AFTER = "key tiles skipped after the last"
    GAP = "key tiles skipped between two ranges"


class Lookout(NamedTuple):
    """What a pair of lengths makes the kernel do, and what that costs in steps."""

    kinds: frozenset[LoopKind]
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePlan:
    """The cases of one module.

    Attributes:
        cases: in the order in which they run.
        loops: (kind of loop, name of the first case that runs it).
        too_long: kinds that occur only at lengths which would take too long here.
    """

    cases: tuple[Case, ...]
    loops: tuple[tuple[LoopKind, str], ...]
    too_long: tuple[LoopKind, ...]


def plan_cases(attention: Attention, schedule: AnySchedule) -> CasePlan:
    """Return the cases of a module: the basic ones and those that complete its loops."""
    known = bounds(attention.mask)
    cases = list(basic_cases(attention, schedule))
    seen: dict[LoopKind, str] = {}
    for case in cases:
        for kind in _look(attention, schedule, known, case.seq_q, case.seq_k).kinds:
            seen.setdefault(kind, case.name)
    found, too_long = _search(attention, schedule, known, frozenset(seen))
    for extra in found:
        cases.append(extra.case)
        seen |= {kind: extra.case.name for kind in extra.kinds if kind not in seen}
    return CasePlan(
        cases=tuple(cases),
        loops=tuple((kind, seen[kind]) for kind in LoopKind if kind in seen),
        too_long=tuple(kind for kind in LoopKind if kind in too_long and kind not in seen),
    )


class _Found(NamedTuple):
    """A case of the search and the kinds of loops it runs."""

    case: Case
    kinds: frozenset[LoopKind]


def _search(
    attention: Attention, schedule: AnySchedule, known: KeyBounds, basic: frozenset[LoopKind]
) -> tuple[list[_Found], frozenset[LoopKind]]:
    """Return few short cases with kinds of loops not seen yet, and the kinds of longer ones."""
    found: list[_Found] = []
    seen = basic
    left, too_long = MOST_STEPS, frozenset[LoopKind]()
    for seq_q, seq_k in _lengths(attention, schedule):
        kinds, steps = _look(attention, schedule, known, seq_q, seq_k)
        missing = kinds - seen
        if missing and steps > left:
            too_long |= missing
        elif missing:
            name = f"{seq_q} queries, {seq_k} keys"
            case = Case(name=name, seq_q=seq_q, seq_k=seq_k, values=Values.NEEDLES)
            found.append(_Found(case, kinds))
            seen |= missing
            left -= steps
    # A longer case often does all that a shorter one was taken for.
    for extra in tuple(found):
        others = (item.kinds for item in found if item is not extra)
        if extra.kinds <= basic.union(*others):
            found.remove(extra)
    return found, too_long


def _lengths(attention: Attention, schedule: AnySchedule) -> list[tuple[int, int]]:
    """Return pairs of lengths around the tiles and the mask's own constants, short ones first."""
    constants = {0} | {
        abs(node.value)
        for node in walk(attention.mask)
        if isinstance(node, Literal) and type(node.value) is int
    }
    tiles = schedule.depth + 2
    queries = {n + extra for n in constants for extra in (5, schedule.tile_rows + 9)}
    keys = {
        n + extra
        for n in constants
        for extra in (1, schedule.tile_k + 3, tiles * schedule.tile_k + 5)
    }
    if attention.lengths is Lengths.EQUAL:
        pairs = {(n, n) for n in queries | keys}
    else:
        pairs = set(product(queries, keys))
    short = (pair for pair in pairs if pair[0] <= _MOST_TILES * schedule.tile_rows)
    return sorted(short, key=lambda pair: (pair[0] * pair[1], pair))


def _look(
    attention: Attention, schedule: AnySchedule, known: KeyBounds, seq_q: int, seq_k: int
) -> Lookout:
    """Return what one pair of lengths makes the kernel do in its first and its last head."""
    if seq_q == 0 or seq_k == 0:
        return Lookout(frozenset(), 0)
    last = attention.heads - 1
    heads = (0, last) if known.reads & {Var.H, Var.HKV} and last else (0,)
    kinds: set[LoopKind] = set()
    steps = 0
    for h in heads:
        start = QueryTile(first=0, last=0, seq_q=seq_q, seq_k=seq_k, h=h, hkv=h // attention.group)
        for tile in query_tiles(start, schedule.tile_rows):
            found = loops(known, tile, schedule.tile_k)
            kinds.update(_kinds(found, -(-seq_k // schedule.tile_k), schedule.depth))
            steps += PROGRAM_STEPS + sum(loop.last - loop.first for loop in found)
    # Where the mask looks something up, what a row sees depends on what the tensors hold.
    short = seq_q * seq_k <= _MOST_PAIRS and not lookups(attention.mask)
    if short and _has_mixed_tile(attention, schedule, seq_q, seq_k):
        kinds.add(LoopKind.EMPTY_ROW)
    return Lookout(frozenset(kinds), steps * attention.heads // len(heads))


def _kinds(found: tuple[Loop, ...], key_tiles: int, stages: int) -> Iterator[LoopKind]:
    """Yield what the loops of one query tile come across."""
    runs = [loop for loop in found if loop.first < loop.last]
    if not runs:
        yield LoopKind.NOTHING
        return
    if runs[0].first > 0:
        yield LoopKind.SKIPPED_BEFORE
    if runs[-1].last < key_tiles:
        yield LoopKind.SKIPPED_AFTER
    if len(runs) > 1 and runs[0].last < runs[1].first:
        yield LoopKind.GAP
    for loop in runs:
        yield from _run_kinds(loop, stages)


def _run_kinds(loop: Loop, stages: int) -> Iterator[LoopKind]:
    """Yield what the tiles of one key range come across; there is at least one."""
    before, after = loop.full_first - loop.first, loop.last - loop.full_last
    full = loop.full_last - loop.full_first
    if full:
        yield LoopKind.FULL
    if full and before:
        yield LoopKind.MASKED_BEFORE
    if full and after:
        yield LoopKind.MASKED_AFTER
    if not full:
        yield LoopKind.MASKED_ONLY
    if full > stages:
        yield LoopKind.LONG_FULL
    if before + after > stages:
        yield LoopKind.LONG_MASKED


def _has_mixed_tile(attention: Attention, schedule: AnySchedule, seq_q: int, seq_k: int) -> bool:
    """Whether some query tile of the first head has a row that sees no key and one that does."""
    sees = visible(attention, seq_q, seq_k).any(dim=1)
    return any(
        bool(rows.any()) and not bool(rows.all()) for rows in torch.split(sees, schedule.tile_rows)
    )
