"""Lanes and the trace: every span is shown, nothing overlaps, and arrows meet their spans."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from flash4gen.clock.timeline import Kind, Span, Timeline
from flash4gen.simulate.lanes import label, lanes
from flash4gen.simulate.trace import trace

if TYPE_CHECKING:
    from flash4gen.simulate.timed import Timed


def span(actor: str, start: float, end: float, kind: Kind = Kind.WORK, text: str = "x") -> Span:
    return Span(actor, kind, text, 0, start, end, 0)


def timeline(*spans: Span) -> Timeline:
    return Timeline(spans, (("a", ()), ("a@1", ())), (), (), max(one.end for one in spans))


def test_what_overlaps_lies_in_lanes_of_its_own() -> None:
    found = lanes(
        timeline(
            span("a memory", 0, 10), span("a memory", 5, 15), span("a memory", 10, 12),
            span("a", 0, 3), span("tensor", 0, 9), span("a@1 memory", 1, 2),
        )
    )  # fmt: skip
    told = [(lane.name, lane.resident, [index for index, _ in lane.spans]) for lane in found]
    assert told == [
        ("a", 0, [3]),
        ("a memory", 0, [0, 2]),
        ("a memory (2)", 0, [1]),
        ("a memory", 1, [5]),
        ("tensor core", 0, [4]),
    ]
    assert [lane.unit for lane in found] == [False] * 4 + [True]


def test_waits_are_called_so() -> None:
    assert label(span("a", 0, 1, Kind.WAIT, "full[0]")) == "wait: full[0]"
    assert label(span("a", 0, 1, Kind.STALL, "max")) == "needs a result: max"
    assert label(span("a", 0, 1, text="")) == "other instructions"


@pytest.fixture
def events(timed: Timed) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(trace(timed))["traceEvents"]
    return found


def of(events: list[dict[str, Any]], *phases: str) -> list[dict[str, Any]]:
    return [event for event in events if event["ph"] in phases]


def test_every_span_is_in_the_trace(timed: Timed, events: list[dict[str, Any]]) -> None:
    shown = of(events, "X")
    assert len(shown) == sum(one.cycles > 0 for one in timed.simulation.timeline.spans)
    assert max(event["ts"] + event["dur"] for event in shown) == pytest.approx(
        timed.simulation.end / 1000, abs=1e-3
    )


def test_spans_of_a_thread_do_not_overlap(events: list[dict[str, Any]]) -> None:
    threads: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in of(events, "X"):
        place = event["pid"], event["tid"]
        threads.setdefault(place, []).append((event["ts"], event["ts"] + event["dur"]))
    assert len(threads) > 2
    for spans in threads.values():
        assert all(a[1] <= b[0] + 2e-6 for a, b in pairwise(sorted(spans)))


def test_processes_and_threads_have_names(timed: Timed, events: list[dict[str, Any]]) -> None:
    named = {(e["name"], e["pid"], e["tid"]): e["args"]["name"] for e in of(events, "M")
             if e["name"] != "thread_sort_index"}  # fmt: skip
    processes = {name for (kind, *_), name in named.items() if kind == "process_name"}
    ctas = {f"CTA {n} (modelled)" for n in range(timed.simulation.residents)}
    assert processes == {"engines of the SM (modelled)"} | ctas
    assert all(("thread_name", e["pid"], e["tid"]) in named for e in of(events, "X"))
    roles = {role.name for role in timed.simulation.roles}
    assert roles <= set(named.values())


def test_waits_name_their_line(blackwell: Timed) -> None:
    waits = [e for e in json.loads(trace(blackwell))["traceEvents"] if e.get("cat") == "wait"]
    lines = [e["args"] for e in waits if "mbarrier.wait" in e["args"].get("source", "")]
    source = blackwell.subject.rendered.text.splitlines()
    assert lines
    assert all(source[args["line"] - 1].strip() == args["source"] for args in lines)


def test_arrows_go_forward_and_end_in_waits(blackwell: Timed) -> None:
    events = json.loads(trace(blackwell))["traceEvents"]
    starts = {e["id"]: e for e in of(events, "s")}
    ends = {e["id"]: e for e in of(events, "f")}
    assert starts
    assert starts.keys() == ends.keys()
    assert all(starts[key]["ts"] <= ends[key]["ts"] for key in starts)
    waits = [e for e in of(events, "X") if e["cat"] == "wait"]
    for end in ends.values():
        assert any(
            (e["pid"], e["tid"]) == (end["pid"], end["tid"])
            and e["ts"] <= end["ts"] <= e["ts"] + e["dur"]
            for e in waits
        )


def test_counters_are_shares(events: list[dict[str, Any]]) -> None:
    counters = of(events, "C")
    assert counters
    assert all(-0.1 <= event["args"]["busy"] <= 100.1 for event in counters)
