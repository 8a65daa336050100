"""A simulation as a trace that ui.perfetto.dev and chrome://tracing show.

The format is that of trace events (Google, "Trace Event Format"). A process is an SM's engines, or
a CTA; a thread is a lane. A modelled cycle is shown as a nanosecond. Arrows lead from what ended a
wait to who had waited.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flash4gen.clock.timeline import Kind
from flash4gen.simulate.lanes import label, lanes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.clock.timeline import Timeline
    from flash4gen.simulate.lanes import Lane
    from flash4gen.simulate.timed import Timed

NANOSECONDS = 1e3
"""In a microsecond, the unit of time stamps."""

ENGINES = 1
"""Process of the SM's engines; those of the CTAs follow."""

MEANT = 200
"""Cycles over which the use of a unit is averaged at least."""

COUNTED = ("tensor", "mufu", "fma", "smem", "tmem")
"""Units whose use is shown as a counter, turn by turn."""


def trace(timed: Timed) -> str:
    """Return the JSON text of a trace."""
    one, subject = timed.simulation, timed.subject
    source = subject.rendered.text.splitlines()
    events = list(_events(one.timeline, source))
    document = {
        "displayTimeUnit": "ns",
        "otherData": {
            "what": f"{subject.attention.name} on {subject.hardware.name}",
            "modelled": "all times; a cycle is shown as a nanosecond",
            "cycles_per_turn": round(one.cycles_per_turn, 1),
        },
        "traceEvents": events,
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"


def _events(timeline: Timeline, source: list[str]) -> Iterator[dict[str, Any]]:
    found = lanes(timeline)
    place: dict[int, tuple[int, int]] = {}
    yield _named("process_name", ENGINES, 0, "engines of the SM (modelled)")
    for resident in sorted({lane.resident for lane in found if not lane.unit}):
        yield _named("process_name", _process(resident), 0, f"CTA {resident} (modelled)")
    for thread, lane in enumerate(found, start=1):
        process = ENGINES if lane.unit else _process(lane.resident)
        yield _named("thread_name", process, thread, lane.name)
        yield {**_named("thread_sort_index", process, thread, ""), "args": {"sort_index": thread}}
        yield from _spans(lane, process, thread, source)
        place |= {index: (process, thread) for index, _ in lane.spans}
    yield from _arrows(timeline, place)
    yield from _counters(timeline)


def _spans(lane: Lane, process: int, thread: int, source: list[str]) -> Iterator[dict[str, Any]]:
    for _, span in lane.spans:
        line = source[span.line - 1].strip() if span.line else ""
        args: dict[str, Any] = {"cycles": round(span.cycles, 1)}
        if span.line:
            args |= {"line": span.line, "source": line}
        if span.alone:
            args["alone"] = round(span.alone, 1)
        yield {
            "ph": "X",
            "name": label(span),
            "cat": str(span.kind),
            "pid": process,
            "tid": thread,
            "ts": _time(span.start),
            "dur": round(_time(span.end) - _time(span.start), 6),
            "args": args,
        }


def _arrows(timeline: Timeline, place: dict[int, tuple[int, int]]) -> Iterator[dict[str, Any]]:
    for index, span in enumerate(timeline.spans):
        cause = span.cause
        if span.kind is not Kind.WAIT or cause is None or cause not in place or index not in place:
            continue
        common = {"cat": "cause", "name": "ends the wait", "id": index}
        # Both ends lie inside of their spans, which the viewer finds by the time.
        start = timeline.spans[cause].start
        end = max(start, span.end - min(0.5, span.cycles / 2))
        for phase, at, time in (("s", cause, start), ("f", index, end)):
            process, thread = place[at]
            event = {**common, "ph": phase, "pid": process, "tid": thread, "ts": _time(time)}
            yield event | ({"bp": "e"} if phase == "f" else {})


def _counters(timeline: Timeline) -> Iterator[dict[str, Any]]:
    """Yield the share of each turn in which a unit was busy."""
    names = [name for name, _ in timeline.busy]
    at, busy = timeline.samples[0] if timeline.samples else (0.0, ())
    for cycle, more in timeline.samples[1:]:
        if cycle - at < MEANT:
            continue
        for name, before, after in zip(names, busy, more, strict=True):
            if name in COUNTED:
                share = round(100 * (after - before) / (cycle - at), 1)
                common = {"ph": "C", "name": f"{name}, % busy", "pid": ENGINES}
                yield {**common, "ts": _time(at), "args": {"busy": share}}
        at, busy = cycle, more


def _named(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _process(resident: int) -> int:
    return ENGINES + 1 + resident


def _time(cycle: float) -> float:
    return round(cycle / NANOSECONDS, 6)
