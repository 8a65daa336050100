"""What roles, barriers and lines are called: by the names that the module's source gives them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Operation
    from flash4gen.vgpu.record import Note, Recording, Track

_BARRIER = re.compile(r"(?:\.|\b)(\w+)\.index\(")
_PLACE = re.compile(r"\+(\d+)$")
_BARRIER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Names:
    """Names for people.

    Attributes:
        source: lines of the module; empty if it is not known.
        functions: (first line, last line, name) of its functions.
        barriers: name for people by the machine's name.
        shared: barriers, by their name for people, that the CTAs of a cluster share.
    """

    source: tuple[str, ...] = ()
    functions: tuple[tuple[int, int, str], ...] = ()
    barriers: dict[str, str] = field(default_factory=dict)
    shared: frozenset[str] = frozenset()

    def line(self, op: Operation) -> int:
        """Return the line of the module that an operation comes from; 0 if unknown."""
        frames = op.location.frames
        return next((frame.line for frame in frames if frame.line <= len(self.source)), 0)

    def role(self, track: Track) -> str:
        """Return what a partition is called: the function that it spends its operations in."""
        seen: Counter[str] = Counter()
        acted = [note for note in track.notes if note.acted]
        for note in acted if acted and len(track.notes) > _SHORT else track.notes:
            names = [self._function(frame.line) for frame in note.op.location.frames]
            # The last frame is the kernel itself, the one before the partition's own function.
            inner = [name for name in names if name]
            if inner:
                seen[inner[-2] if len(inner) > 1 else inner[-1]] += 1
        return seen.most_common(1)[0][0].lstrip("_") if seen else track.name

    def _function(self, line: int) -> str:
        return next((name for first, last, name in self.functions if first <= line <= last), "")


_SHORT = 8


def names_of(source: str, recording: Recording) -> Names:
    """Return the names of a module's roles and barriers."""
    lines = tuple(source.splitlines())
    functions = tuple(
        (node.lineno, node.end_lineno or node.lineno, node.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
    )
    names = Names(lines, functions)
    votes: dict[str, Counter[str]] = {}
    for track in recording.tracks:
        for note in track.notes:
            if len(note.barriers) == 1:
                for found in _mentioned(names, note):
                    votes.setdefault(note.barriers[0], Counter())[found] += 1
    barriers = {seen.name: _called(seen.name, votes.get(seen.name)) for seen in recording.barriers}
    if len(set(barriers.values())) < len(barriers):  # names must stay apart
        barriers = {name: name.lstrip("%") for name in barriers}
    shared = frozenset(barriers[seen.name] for seen in recording.barriers if seen.shared)
    return Names(lines, functions, barriers, shared)


def _mentioned(names: Names, note: Note) -> list[str]:
    line = names.line(note.op)
    return _BARRIER.findall(names.source[line - 1]) if line else []


def _called(name: str, votes: Counter[str] | None) -> str:
    place = _PLACE.search(name)
    index = int(place[1]) // _BARRIER_BYTES if place else 0
    own = name.lstrip("%").partition("+")[0]
    # One that a compiler pass made is called after the value that it stands beside, and by number.
    made = f"mbarrier {own.rpartition('_')[2]}"
    plain = votes.most_common(1)[0][0] if votes else made
    return f"{plain}[{index}]"


def role_names(names: Names, tracks: tuple[Track, ...]) -> tuple[str, ...]:
    """Return one name for each track; alike ones get numbers."""
    plain = [names.role(track) for track in tracks]
    total = Counter(plain)
    seen: Counter[str] = Counter()
    found = []
    for name in plain:
        found.append(f"{name} {seen[name]}" if total[name] > 1 else name)
        seen[name] += 1
    return tuple(found)
