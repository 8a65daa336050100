"""Spans of a timeline → lanes: one for each role and unit, so that nothing in a lane overlaps.

Both the trace and the page show these. What a role does in the background, its loads and stores,
may overlap; it gets as many lanes as it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.clock.timeline import Kind
from flash4gen.simulate.chain import UNNAMED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.clock.timeline import Span, Timeline

UNITS = {"tensor": "tensor core", "tma": "TMA"}
"""Actors that work by themselves, and what they are called."""

EPSILON = 1e-6


class Lane(NamedTuple):
    """Spans of one actor that do not overlap.

    Attributes:
        name: for people.
        unit: whether it is an engine of the SM and no role.
        resident: which CTA of the SM it belongs to; 0 for engines.
        spans: (index in the timeline, span), in order.
    """

    name: str
    unit: bool
    resident: int
    spans: tuple[tuple[int, Span], ...]


def lanes(timeline: Timeline) -> tuple[Lane, ...]:
    """Return all lanes: roles in the order of the program, each with its memory, then engines."""
    actors: dict[str, list[tuple[int, Span]]] = {name: [] for name, _ in timeline.turns}
    for index, span in enumerate(timeline.spans):
        if span.cycles > 0:
            actors.setdefault(span.actor, []).append((index, span))
    order = [name for role, _ in timeline.turns for name in (role, f"{role} memory")]
    order += [name for name in actors if name not in order]
    found = []
    for actor in order:
        parts = _apart(actors.get(actor, ()))
        for number, spans in enumerate(parts):
            found.append(_lane(actor, number, spans))
    return tuple(sorted(found, key=lambda lane: (lane.unit, lane.resident)))


def label(span: Span) -> str:
    """Return what a span is, for people: waits say so."""
    text = str(span.label) or UNNAMED
    if span.kind is Kind.WAIT:
        return f"wait: {text}"
    return f"needs a result: {text}" if span.kind is Kind.STALL else text


def _lane(actor: str, number: int, spans: tuple[tuple[int, Span], ...]) -> Lane:
    plain, resident = actor, 0
    if "@" in actor:
        name, _, rest = actor.partition("@")
        digits, _, more = rest.partition(" ")
        plain, resident = f"{name} {more}".strip(), int(digits)
    name = UNITS.get(plain, plain)
    return Lane(f"{name} ({number + 1})" if number else name, plain in UNITS, resident, spans)


def _apart(spans: Iterable[tuple[int, Span]]) -> list[tuple[tuple[int, Span], ...]]:
    """Deal spans out to as few lanes as hold them without overlap, by their starts."""
    dealt: list[list[tuple[int, Span]]] = []
    for item in sorted(spans, key=lambda item: (item[1].start, item[1].end)):
        free = (lane for lane in dealt if lane[-1][1].end <= item[1].start + EPSILON)
        lane = next(free, None)
        if lane is None:
            dealt.append([item])
        else:
            lane.append(item)
    return [tuple(lane) for lane in dealt]
