"""Tracks of a recorded run and loops of the SASS → the roles of a program of the clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from flash4gen.clock.program import Role, Step, Turn
from flash4gen.simulate import events
from flash4gen.simulate.plain import plain
from flash4gen.simulate.weave import Groups, fits, weave

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flash4gen.simulate.events import Place
    from flash4gen.simulate.ways import SassLoop, Way
    from flash4gen.vgpu.parse.tree import Operation
    from flash4gen.vgpu.record import Note, Track

_LOOPS = ("scf.for", "scf.while")
_FEW = 3
"""Turns that make a loop one over key tiles, and not one over parts of a tile or over work."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Operations of a role in a row: one turn of an innermost loop, or what lies between.

    Attributes:
        loop: the loop's operation, None between loops.
        notes: without the loop's own.
    """

    loop: Operation | None
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Built:
    """A role, and how much of it the SASS has told.

    Attributes:
        role: for the clock.
        turns: of loops over key tiles.
        woven: of these, those that follow the SASS.
    """

    role: Role
    turns: int
    woven: int


def stretches(track: Track) -> tuple[Stretch, ...]:
    """Cut a track into turns of innermost loops and what lies between."""
    found: list[tuple[Operation | None, list[Note]]] = [(None, [])]
    last: dict[int, int] = {}  # line of an innermost loop -> its last line
    for note in track.notes:
        op = note.op
        if op.name in _LOOPS:
            if op.line not in last and _innermost(op):
                last[op.line] = _last_line(op)
            found.append((op if op.line in last else None, []))
            continue
        loop = found[-1][0]
        if loop is not None and op.line > last[loop.line]:
            found.append((None, []))
        found[-1][1].append(note)
    return _working(tuple(Stretch(loop, tuple(notes)) for loop, notes in found if notes or loop))


def _working(cut: tuple[Stretch, ...]) -> tuple[Stretch, ...]:
    """Take loops that do nothing but wait, as at the end of a ring, for what lies between loops."""
    does = {
        stretch.loop.line
        for stretch in cut
        if stretch.loop is not None and any(map(_works, stretch.notes))
    }
    return tuple(
        stretch
        if stretch.loop is None or stretch.loop.line in does
        else Stretch(None, stretch.notes)
        for stretch in cut
    )


def _works(note: Note) -> bool:
    """Whether a role does something, and not only wait and count."""
    name = note.op.name
    return name != events.WAIT and not name.startswith(("arith.", "ttg.memdesc_"))


def build_role(
    name: str, track: Track, loops: Sequence[SassLoop], place: Place, *, packed: bool
) -> Built:
    """Return the role of a track.

    Args:
        name: for people.
        track: what was recorded.
        loops: of the whole kernel's SASS.
        place: names of barriers and lines, warps and CTAs.
        packed: whether the target has packed arithmetic and three-input maxima.
    """
    cut = stretches(track)
    matched = match(cut, loops, track.warps)
    keyed = _key_loops(cut) | matched.keys()
    steps: list[Step] = []
    groups = Groups()
    number = woven = turns = 0
    for stretch in cut:
        if stretch.loop is None or stretch.loop.line not in keyed:
            steps += plain(stretch.notes, place, packed=packed)
            continue
        turns += 1
        steps.append(Turn(number=number, line=place.names.line(stretch.loop)))
        way = _taken(matched.get(stretch.loop.line, ()), stretch.notes, track.warps)
        if way is None:
            steps += plain(stretch.notes, place, packed=packed)
        else:
            woven += 1
            steps += weave(way, stretch.notes, place, number, groups)
        number += 1
    return Built(Role(name=name, warps=track.warps, steps=tuple(steps)), turns, woven)


def _key_loops(cut: Sequence[Stretch]) -> set[int]:
    """Return the lines of the loops that turn often enough to be over key tiles."""
    lines = Counter(stretch.loop.line for stretch in cut if stretch.loop is not None)
    return {line for line, turns in lines.items() if turns >= _FEW}


def match(
    cut: Sequence[Stretch], loops: Sequence[SassLoop], warps: int
) -> dict[int, tuple[Way, ...]]:
    """Return for each loop of a track, by its line of TTGIR, the ways of the same loop in the SASS.

    Loops that share a loop around them come in the same order in both texts. Among the groups of
    the SASS the first is taken that has as many loops as the track, or at least as many, with ways
    that fit most of each loop's turns.
    """
    turns: dict[int, list[tuple[Note, ...]]] = {}
    for stretch in cut:
        if stretch.loop is not None:
            turns.setdefault(stretch.loop.line, []).append(stretch.notes)
    for group in _groups(loops):
        found = _aligned(sorted(turns.items()), group, warps)
        if found:
            return found
    return {}


def _groups(loops: Sequence[SassLoop]) -> Iterator[list[SassLoop]]:
    ordered = sorted(loops, key=lambda loop: (loop.around, loop.address))
    for _, group in groupby(ordered, key=lambda loop: loop.around):
        yield list(group)


def _aligned(
    turns: Sequence[tuple[int, list[tuple[Note, ...]]]], group: Sequence[SassLoop], warps: int
) -> dict[int, tuple[Way, ...]]:
    """Align the last loops of a track with the last of a group.

    Most turns must fit. Others may have gone a way between the longest and the shortest, as where a
    correction rescales one accumulator of two.
    """
    found: dict[int, tuple[Way, ...]] = {}
    rest = list(group)
    for line, ran in reversed(turns):
        while rest:
            loop = rest.pop()
            fitting = sum(_taken(loop.ways, notes, warps) is not None for notes in ran)
            if 2 * fitting > len(ran):
                found[line] = loop.ways
                break
    return found if len(found) == len(turns) or len(found) == len(group) else {}


def _taken(ways: Sequence[Way], notes: Sequence[Note], warps: int) -> Way | None:
    return next((way for way in ways if fits(way, notes, warps)), None)


def _innermost(loop: Operation) -> bool:
    return not any(op.name in _LOOPS for op in _inside(loop))


def _last_line(loop: Operation) -> int:
    return max((op.line for op in _inside(loop)), default=loop.line)


def _inside(op: Operation) -> Iterator[Operation]:
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner
                yield from _inside(inner)
