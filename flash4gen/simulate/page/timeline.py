"""A few turns of the steady state as a drawing: rectangles in lanes, in pixels.

In: a ``Simulation`` and the module's lines. Out: ``Drawing``. Of CTAs that share an SM the first is
drawn, with the SM's engines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.simulate.chain import role_of
from flash4gen.simulate.lanes import label, lanes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.clock.timeline import Span
    from flash4gen.simulate.lanes import Lane
    from flash4gen.simulate.model import Simulation

TURNS = 3
"""Turns that are drawn."""

WIDTH = 1160
LEFT = 132
"""Pixels for the names of the lanes."""

RIGHT = 12
TOP = 34
ROLE = 26
"""Pixels of a role's or an engine's lane."""

MEMORY = 12
"""Pixels of the lane of a role's loads and stores, where several lie over each other."""

GAP = 5
TICKS = 8
"""Marks on the axis, about."""


LEGEND = {
    "work": "instructions of the role",
    "wait": "waits at a barrier",
    "stall": "needs a result that is under way",
    "product": "product in the tensor core",
    "transfer": "bytes on their way",
}
"""What the kinds of spans are, for people."""


class Box(NamedTuple):
    """A span: pixels, class for its colour, and what the pointer shows."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


class Row(NamedTuple):
    """A lane's name, and where it stands; small ones are those of memory."""

    name: str
    y: float
    height: float
    small: bool


class Mark(NamedTuple):
    """A cycle on the axis, or where a turn begins."""

    x: float
    text: str


class Frame(NamedTuple):
    """What is drawn, and where: cycles from begin to end, pixels of a cycle."""

    begin: float
    end: float
    scale: float

    def x(self, cycle: float) -> float:
        """Return where a cycle stands."""
        return LEFT + (cycle - self.begin) * self.scale


class Drawing(NamedTuple):
    """All of it.

    Attributes:
        width, height: pixels.
        rows: lanes.
        boxes: spans.
        ticks: of the axis, cycles from the left end.
        turns: where turns of the paced role begin.
        legend: (kind, words) of what is drawn.
        shown: turns that are drawn.
        cycles: that are drawn.
    """

    width: int
    height: float
    rows: tuple[Row, ...]
    boxes: tuple[Box, ...]
    ticks: tuple[Mark, ...]
    turns: tuple[Mark, ...]
    legend: tuple[tuple[str, str], ...]
    shown: int
    cycles: float


def draw(found: Simulation, source: list[str]) -> Drawing:
    """Return the drawing of some turns in the middle."""
    begin, end, turns = _window(found)
    frame = Frame(begin, end, (WIDTH - LEFT - RIGHT) / (end - begin))
    rows: list[Row] = []
    boxes: list[Box] = []
    y = float(TOP)
    for name, own in _grouped(lanes(found.timeline)):
        small = role_of(name) != name
        height = MEMORY if small else ROLE
        shown = [box for lane in own for box in _boxes(lane, frame, y, height, source)]
        if not shown:
            continue
        rows.append(Row("loads, stores" if small else name, y, height, small))
        boxes += shown
        y += height + GAP
    return Drawing(
        width=WIDTH,
        height=y + GAP,
        rows=tuple(rows),
        boxes=tuple(boxes),
        ticks=tuple(_ticks(frame)),
        turns=tuple(
            Mark(frame.x(cycle), f"turn {number}")
            for number, cycle in turns
            if begin <= cycle < end
        ),
        legend=tuple(item for item in LEGEND.items() if item[0] in {box.kind for box in boxes}),
        shown=min(TURNS, len(turns)),
        cycles=end - begin,
    )


def _window(found: Simulation) -> tuple[float, float, tuple[tuple[int, float], ...]]:
    """Return begin and end of what is drawn, and the turns of the role that sets the pace."""
    paced = max(found.roles, key=lambda role: (role.turns > 1, min(role.warps, 4), role.turns))
    turns = found.timeline.turns_of(paced.name)
    if len(turns) <= TURNS:
        return 0.0, max(found.end, 1.0), turns
    first = min(len(turns) // 2, len(turns) - 1 - TURNS)
    return turns[first][1], turns[first + TURNS][1], turns


def _grouped(found: tuple[Lane, ...]) -> Iterator[tuple[str, list[Lane]]]:
    """Yield the lanes of each actor together, those of the first CTA and the engines."""
    groups: dict[str, list[Lane]] = {}
    for lane in found:
        if lane.resident == 0:
            groups.setdefault(lane.name.partition(" (")[0], []).append(lane)
    yield from groups.items()


def _boxes(lane: Lane, frame: Frame, y: float, height: float, source: list[str]) -> Iterator[Box]:
    for _, span in lane.spans:
        start, stop = max(span.start, frame.begin), min(span.end, frame.end)
        if stop <= start:
            continue
        yield Box(
            x=round(frame.x(start), 2),
            y=y,
            width=round(max((stop - start) * frame.scale, 0.3), 2),
            height=height,
            kind=str(span.kind),
            title=_title(span, source),
        )


def _title(span: Span, source: list[str]) -> str:
    text = f"{label(span)}: {span.cycles:,.0f} cycles"
    if span.alone and span.cycles - span.alone >= 1:
        text += f", {span.alone:,.0f} alone"
    if span.line:
        text += f"\nline {span.line}: {source[span.line - 1].strip()}"
    return text


def _ticks(frame: Frame) -> Iterator[Mark]:
    cycles = frame.end - frame.begin
    rough = cycles / TICKS
    power = 10 ** (len(str(int(rough))) - 1)
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
    for number in range(int(cycles // step) + 1):
        yield Mark(frame.x(frame.begin + number * step), f"{number * step:,}")
