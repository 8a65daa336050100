"""Claims about a kernel that hold in every launch: an operation never happens, a barrier idles.

In: a TTGIR text. Out: ``Proofs``, asked line by line. A claim is proven or open, never refuted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from flash4gen.vgpu.parse import parse_ttgir
from flash4gen.vgpu.prove.integers import Formula, both, equal
from flash4gen.vgpu.prove.walk import Event, Place, UnknownError, Walk

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Module

# What the life of a barrier begins and ends with.
_FRAME = frozenset({"ttng.init_barrier", "ttng.inval_barrier", "ttg.local_dealloc"})


class Proofs:
    """Proofs about the kernel of a module."""

    def __init__(self, module: Module) -> None:
        self._walk = Walk()
        # Of a function that is called from several places nothing is said.
        self._known = len(module.functions) == 1
        if self._known:
            try:
                self._walk.function(module.kernel)
            except UnknownError:
                self._known = False
        self._never: dict[int, bool] = {}
        self._idle: dict[int, bool] = {}

    def never(self, line: int) -> bool:
        """Whether the operation of a line is proven to happen in no launch.

        It stands where no launch comes, or its predicate is false whenever one comes there.
        """
        if line not in self._never:
            events = [event for event in self._walk.events if event.operation.line == line]
            self._never[line] = self._known and all(self._impossible(event) for event in events)
        return self._never[line]

    def idle(self, line: int) -> bool:
        """Whether the barrier that a line initialises is proven to be used in no launch.

        Nobody arrives there, waits, or brings bytes; it is made, and given up.
        """
        if line not in self._idle:
            made = [event for event in self._walk.events if event.operation.line == line]
            self._idle[line] = self._known and all(self._unused(event) for event in made)
        return self._idle[line]

    def _impossible(self, event: Event) -> bool:
        return self._walk.variables.refuted(event.when)

    def _unused(self, made: Event) -> bool:
        """Whether no event uses what another one makes; of a loop's many turns nothing is said."""
        options = [places.options for places in made.places]
        if made.repeated or not options or None in options:
            return False
        barriers = [place for places in options for place in places or ()]
        return not any(
            self._meets(made, barrier, event)
            for event in self._walk.events
            if event.operation.name not in _FRAME
            for barrier in barriers
        )

    def _meets(self, made: Event, barrier: Place, event: Event) -> bool:
        """Whether an event may be about a barrier."""
        for places in event.places:
            if places.options is None:
                if not self._impossible(event):
                    return True
                continue
            for place in places.options:
                if place.allocation != barrier.allocation:
                    continue
                same = (made.when, barrier.when, event.when, place.when)
                if not self._walk.variables.refuted(*same, _same_part(barrier, place)):
                    return True
        return False


def _same_part(one: Place, other: Place) -> Formula:
    """Return when two places of one allocation overlap, as far as their paths tell."""
    if one.path is None or other.path is None:
        return both()
    return both(*(equal(a, b) for a, b in zip(one.path, other.path, strict=False)))


@lru_cache(maxsize=8)
def proofs(text: str) -> Proofs:
    """Return the proofs about a TTGIR text; remembered by text."""
    return Proofs(parse_ttgir(text))
