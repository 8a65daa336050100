"""What a turn of the steady state hangs on, and where roles stand in it."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from flash4gen.clock.timeline import Kind, Span
from flash4gen.simulate.model import Link, Stage, Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.clock.timeline import Timeline

MEMORY = " memory"
"""Ending of the actor that does a role's loads and stores in the background."""

UNNAMED = "other instructions"

LEAST_STANDING = 1.0
"""Cycles a turn below which a wait is not worth telling."""


def links(timeline: Timeline, end: float, cycles: float, actor: str) -> tuple[Link, ...]:
    """Return the chain of spans that leads to an actor's state at a cycle, over one turn.

    Neighbours that are the same thing are one link.
    """
    last = max(
        (i for i, span in timeline.of(actor) if span.end <= end and span.cycles > 0), default=None
    )
    if last is None:
        return ()
    chain = timeline.path(last, end - cycles)
    found: list[Link] = []
    before = end - cycles
    for span in chain:
        took = max(0.0, span.end - before)
        link = Link(
            actor=span.actor,
            label=span.label,
            line=span.line,
            cycles=took,
            contended=min(took, max(0.0, span.cycles - span.alone)) if span.alone else 0.0,
        )
        before = max(before, span.end)
        if found and (found[-1].actor, found[-1].label) == (link.actor, link.label):
            link = _joined(found.pop(), link)
        if link.cycles:
            found.append(link)
    return tuple(found)


def _joined(first: Link, second: Link) -> Link:
    return Link(
        actor=first.actor,
        label=first.label,
        line=first.line or second.line,
        cycles=first.cycles + second.cycles,
        contended=first.contended + second.contended,
    )


def stages(path: Sequence[Link]) -> tuple[Stage, ...]:
    """Return a chain by role and line: neighbours of both alike are one stage.

    What has no line of its own belongs to the line that the role was at before, or is at next.
    """
    at = {role_of(link.actor): link.line for link in reversed(path) if link.line}
    placed: list[tuple[tuple[str, int], Link]] = []
    for link in path:
        role = role_of(link.actor)
        at[role] = link.line or at.get(role, 0)
        placed.append(((role, at[role]), link))
    groups = groupby(placed, key=lambda item: item[0])
    return tuple(_stage(place, [link for _, link in found]) for place, found in groups)


def role_of(actor: str) -> str:
    """Return the role whose loads and stores an actor does, or the actor itself."""
    return actor.removesuffix(MEMORY)


def _stage(place: tuple[str, int], found: Sequence[Link]) -> Stage:
    parts: dict[str, float] = {}
    for link in found:
        label = str(link.label) or UNNAMED
        parts[label] = parts.get(label, 0.0) + link.cycles
    return Stage(
        role=place[0],
        line=place[1],
        cycles=sum(link.cycles for link in found),
        contended=sum(link.contended for link in found),
        parts=tuple(sorted(parts.items(), key=lambda part: -part[1])),
    )


def standing(timeline: Timeline, begin: float, end: float, turns: int) -> tuple[Standing, ...]:
    """Return how long each role stands at each line, in a turn of a window, longest first."""
    total: dict[tuple[str, int, str], float] = {}
    for span in timeline.spans:
        if span.kind in (Kind.WAIT, Kind.STALL):
            key = span.actor, span.line, _awaited(span, timeline)
            total[key] = total.get(key, 0.0) + _within(span, begin, end)
    found = [
        Standing(actor=actor, line=line, what=what, cycles=cycles / turns)
        for (actor, line, what), cycles in total.items()
        if cycles / turns >= LEAST_STANDING
    ]
    return tuple(sorted(found, key=lambda one: (-one.cycles, one.actor, one.line)))


def _awaited(span: Span, timeline: Timeline) -> str:
    """Return what a span waits for: a barrier or other warps, or what brings a result."""
    brings = timeline.spans[span.cause].label if span.cause is not None else ""
    return str((brings if span.kind is Kind.STALL else "") or span.label) or UNNAMED


def _within(span: Span, begin: float, end: float) -> float:
    return max(0.0, min(span.end, end) - max(span.start, begin))
