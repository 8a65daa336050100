"""A recording and the SASS of the same compile → a program of the clock."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from flash4gen.clock.program import Program
from flash4gen.simulate import events
from flash4gen.simulate.events import Place
from flash4gen.simulate.naming import Names, names_of, role_names
from flash4gen.simulate.roles import Built, build_role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flash4gen.simulate.ways import SassLoop
    from flash4gen.vgpu.record import Recording, Seen, Track


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
        build_role(name, track, loops, Place(names, track.warps, recording.ctas), packed=packed)
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

    An ``expect`` arrives once and announces bytes: on the clock the copies arrive instead of it. Of
    a cluster only the first CTA is on the clock; what the others do alike, its own arrivals stand
    for.
    """
    arrivals = _arrivals(recording.tracks)
    return tuple(
        (names.barriers.get(seen.name, seen.name), _count(seen, arrivals[seen.name]))
        for seen in recording.barriers
    )


def _count(seen: Seen, arrivals: int) -> int:
    return max(1, round(arrivals / seen.phases)) if seen.phases else seen.arrivals


def _arrivals(tracks: Iterable[Track]) -> Counter[str]:
    """Return how often a program's own threads, products and copies arrive at each barrier."""
    found = Counter[str]()
    for track in tracks:
        for note in track.notes:
            if note.acted and note.op.name not in (events.WAIT, events.EXPECT):
                times = events.times(note.op) if note.op.name == events.ARRIVE else 1
                for name in note.barriers:
                    found[name] += times
    return found
