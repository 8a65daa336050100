"""What happened when: the output of the clock, with what each thing waited for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a span of time was spent on."""

    WORK = "work"
    """A role's own instructions."""
    WAIT = "wait"
    """A role stood at a barrier."""
    STALL = "stall"
    """A role needed a result that was still under way."""
    PRODUCT = "product"
    """The tensor core worked on a product."""
    TRANSFER = "transfer"
    """Bytes went between memories in the background."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time on one actor.

    Attributes:
        actor: a role, such as ``softmax 0``, or a unit that works on its own: ``tensor``, ``tma``,
            or ``softmax 0 memory`` for the loads and stores of a role. Agents and resident CTAs
            beyond the first are told apart as ``name.1`` and ``name@1``.
        kind: what the time was spent on.
        label: what it was, for people.
        line: line of the generated module, 0 where there is none.
        start, end: cycles.
        alone: cycles it would have taken with every unit to itself; the rest is contention.
        cause: index of the span that had to end before this one could go on: for a wait, what
            completed the barrier; for a stall, what brought the result; for a product, the product
            before it or who issued it. ``None`` where only the actor's own last span had to end.
    """

    actor: str
    kind: Kind
    label: str
    line: int
    start: float
    end: float
    alone: float
    cause: int | None = None

    @property
    def cycles(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run of a program.

    Attributes:
        spans: in the order in which they began.
        turns: of each agent, (number, cycle) at which it began a turn of its loop.
        busy: cycles that each unit worked, by its name.
        samples: (cycle, what ``busy`` was by then, in its order) whenever a turn began.
        end: cycle at which the last role ended and the last product and copy were done.
    """

    spans: tuple[Span, ...]
    turns: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]
    busy: tuple[tuple[str, float], ...]
    samples: tuple[tuple[float, tuple[float, ...]], ...]
    end: float

    def turns_of(self, actor: str) -> tuple[tuple[int, float], ...]:
        """Return (number, cycle) of an actor's turns; empty if it has none."""
        return dict(self.turns).get(actor, ())

    def of(self, actor: str) -> tuple[tuple[int, Span], ...]:
        """Return an actor's spans with their indices, in order."""
        return tuple((i, span) for i, span in enumerate(self.spans) if span.actor == actor)

    def period(self, actor: str | None = None, *, skip: int = 3, leave: int = 1) -> float:
        """Return the mean cycles of a turn in the steady state.

        Args:
            actor: whose turns; the first that has any if left out.
            skip: turns at the beginning that do not count.
            leave: turns at the end that do not count.

        Raises:
            ValueError: there are too few turns.
        """
        names = [name for name, turns in self.turns if turns]
        turns = self.turns_of(actor if actor is not None else (names or [""])[0])
        counted = turns[skip : len(turns) - leave]
        if len(counted) < 2:
            raise ValueError(f"{len(turns)} turns are too few to skip {skip} and leave {leave}")
        (first, begin), (last, end) = counted[0], counted[-1]
        return (end - begin) / (last - first)

    def utilisation(self, begin: float, end: float) -> tuple[tuple[str, float], ...]:
        """Return the share of a window that each unit is busy, between turns that lie in it.

        Without two turns at different cycles in the window, the share of the whole run.
        """
        inside = [sample for sample in self.samples if begin <= sample[0] <= end]
        if len(inside) < 2 or inside[-1][0] <= inside[0][0]:
            return tuple((name, cycles / max(self.end, 1.0)) for name, cycles in self.busy)
        (first, before), (last, after) = inside[0], inside[-1]
        return tuple(
            (name, (b - a) / (last - first))
            for (name, _), a, b in zip(self.busy, before, after, strict=True)
        )

    def path(self, index: int, until: float = 0) -> tuple[Span, ...]:
        """Return the chain of spans that made a span end when it did, the earliest first.

        Walks back from a span to its cause, or where it has none to its actor's last span, until
        one that begins at ``until`` or earlier. What a cause did before a wait began is part of
        the chain and the wait is not: a chain holds what took the time.
        """
        before = _before(self.spans)
        chain: list[Span] = []
        at: int | None = index
        while at is not None:
            span = self.spans[at]
            if span.kind not in {Kind.WAIT, Kind.STALL} or span.cause is None:
                chain.append(span)
            if span.start <= until:
                break
            at = span.cause if span.cause is not None else before[at]
        return tuple(reversed(chain))


def _before(spans: tuple[Span, ...]) -> list[int | None]:
    """Return for every span the one that its actor did before."""
    last: dict[str, int] = {}
    found: list[int | None] = []
    for index, span in enumerate(spans):
        found.append(last.get(span.actor))
        last[span.actor] = index
    return found
