"""A recording and the SASS of the same compile → a program of the clock."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flash4gen.clock.program import Program
from flash4gen.simulate import events
from flash4gen.simulate.naming import Names, names_of, role_names
from flash4gen.simulate.roles import Built, build_role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.simulate.ways import SassLoop
    from flash4gen.vgpu.record import Recording, Track


def build_program(
    recording: Recording,
    loops: Sequence[SassLoop],
    source: str,
    *,
    packed: bool,
    residents: int = 1,
) -> tuple[Program, tuple[Built, ...]]:
    """Return the program of one CTA, and what is known about each of its roles.

    Args:
        recording: of one program.
        loops: of the SASS of the same compile.
        source: text of the module, for names and lines.
        packed: whether the target has packed arithmetic and three-input maxima.
        residents: CTAs that share an SM.
    """
    names = names_of(source, recording)
    tracks = [track for track in recording.tracks if track.notes]
    called = role_names(names, tuple(tracks))
    built = tuple(
        build_role(name, track, loops, names, packed=packed)
        for name, track in zip(called, tracks, strict=True)
    )
    program = Program(
        roles=tuple(one.role for one in built),
        barriers=_barriers(recording, names),
        residents=residents,
    )
    return program, built


def _barriers(recording: Recording, names: Names) -> tuple[tuple[str, int], ...]:
    """Return how many arrivals complete a phase, those of copies among them.

    An ``expect`` arrives once and announces bytes: on the clock the copies arrive instead of it.
    """
    expects, copies = Counter[str](), Counter[str]()
    for track in recording.tracks:
        _count(track, expects, copies)
    return tuple(
        (names.barriers.get(name, name), count + _instead(expects[name], copies[name]))
        for name, count in recording.barriers
    )


def _count(track: Track, expects: Counter[str], copies: Counter[str]) -> None:
    for note in track.notes:
        if note.acted and note.op.name == events.EXPECT:
            expects.update(note.barriers)
        if note.acted and note.op.name in events.TMA_LOADS:
            copies.update(note.barriers)


def _instead(expects: int, copies: int) -> int:
    return round(copies / expects) - 1 if expects else 0
