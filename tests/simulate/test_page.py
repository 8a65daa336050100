"""The page: what stands in it, that it needs nothing else, and how a browser lays it out."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.model import Schedule
from flash4gen.simulate.page import maps
from flash4gen.simulate.page.page import page
from flash4gen.validate.certificate import Certificate, Rung, Status
from tests.simulate.browser import browser, look

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.simulate.timed import Timed

SECTIONS = (
    *("timeline", "utilisation", "roofline", "path", "waits", "memory", "decisions"),
    "certificate",
)
MOST = 2 * 1024 * 1024
VOID = {"meta", "link", "br"}


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    rungs = (
        Rung("text", Status.PASSED, "400 lines <& more>"),
        Rung("device", Status.NOT_RUN, "not run: there is no CUDA device here"),
    )
    return Certificate(
        name="x", target="b200", versions={}, provenance={}, schedule={}, facts={}, rungs=rungs
    )


class Reader(HTMLParser):
    """Notes the elements of a page, and that each is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(text: str) -> list[tuple[str, dict[str, str | None]]]:
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader.seen


def test_it_has_all_sections_and_says_that_it_is_modelled(
    timed: Timed, certificate: Certificate
) -> None:
    text = page(timed, certificate)
    found = [attributes.get("id") for tag, attributes in read(text) if tag == "section"]
    assert found == list(SECTIONS)
    assert '<span class="badge">modelled, not measured</span>' in text
    assert f"{timed.subject.attention.name} on {timed.subject.hardware.name}" in text
    assert f"{timed.simulation.cycles_per_turn:,.0f} cycles" in text


def test_it_needs_nothing_else(timed: Timed, certificate: Certificate) -> None:
    text = page(timed, certificate)
    assert len(text.encode()) <= MOST
    for tag, attributes in read(text):
        assert tag not in {"script", "img", "iframe", "object", "embed"}
        for name in ("src", "href", "xlink:href", "srcset"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    assert not re.search(r"@import|@font-face|url\((?!#)", text)


def test_the_timeline_has_a_lane_for_each_role_and_engine(blackwell: Timed) -> None:
    text = page(blackwell, None)
    lanes = re.findall(r'<text class="lane"[^>]*>([^<]*)</text>', text)
    assert lanes == [role.name for role in blackwell.simulation.roles] + ["TMA", "tensor core"]
    assert re.search(r"<title>wait: s_full\[0\]: [\d,]+ cycles\nline \d+: mbarrier.wait\(", text)


def test_spans_lie_inside_of_the_drawing_and_their_lanes_do_not_touch(timed: Timed) -> None:
    drawing = re.search(r"<svg viewBox=\"0 0 1160 .*?</svg>", page(timed, None), re.DOTALL)
    assert drawing
    numbers = r'<rect class="\w+" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="(\d+)'
    boxes = re.findall(numbers, drawing[0])
    assert len(boxes) > 50
    assert all(float(x) >= 132 and float(x) + float(w) <= 1149 for x, _, w, _ in boxes)
    rows = sorted({(float(y), int(height)) for _, y, _, height in boxes})
    assert all(y + height < rows[i + 1][0] for i, (y, height) in enumerate(rows[:-1]))


def test_memory_maps_are_those_of_the_plan(blackwell: Timed, portable: Timed) -> None:
    schedule, hardware = blackwell.subject.choice.schedule, blackwell.subject.hardware
    assert not isinstance(schedule, Schedule)
    plan = memory_plan(schedule)
    tensor = maps.tensor_map(schedule, hardware)
    assert tensor is not None
    assert [part.name for part in tensor.parts] == [region.name for region in plan.regions]
    outer = [part for part in tensor.parts if not part.inside]
    assert sum(part.width for part in outer) <= 100
    shared = maps.shared_map(schedule, hardware)
    assert [part.name for part in shared.parts] == [buffer.name for buffer in plan.buffers]
    assert 0 < shared.parts[-1].left + shared.parts[-1].width <= 100
    own = portable.subject
    assert maps.tensor_map(own.choice.schedule, own.hardware) is None
    assert "No tensor memory is used" in page(portable, None)


def test_decisions_and_rungs_are_listed(timed: Timed, certificate: Certificate) -> None:
    text = page(timed, certificate)
    decisions = text.partition('id="decisions"')[2].partition("</section>")[0]
    assert decisions.count("<tr>") == 1 + len(timed.subject.choice.decisions)
    assert "400 lines &lt;&amp; more&gt;" in text
    assert '<td class="k not-run">not run</td>' in text
    assert "There is none of this very module" in page(timed, None)


def test_without_jitter_no_range_is_shown(blackwell: Timed) -> None:
    assert "; range" in page(blackwell, None)
    assert "; range" not in page(replace(blackwell, spread=None), None)


needs_browser = pytest.mark.skipif(
    browser() is None, reason="needs Chromium to lay the page out, and there is none"
)


@needs_browser
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_shows_it_whole(
    timed: Timed, certificate: Certificate, tmp_path: Path, dark: bool
) -> None:
    found = look(page(timed, certificate), tmp_path, dark=dark)
    assert found["console"] == []
    assert found["width"] == 1280
    assert found["scroll"] <= 1280
    assert found["wide"] == 0
    assert found["clipped"] == []
    assert [section[0] for section in found["sections"]] == list(SECTIONS)
    assert all(right <= 1280 for _, _, _, right, _ in found["sections"])
    assert len(found["lanes"]) >= 2
    assert contrast(found["ink"], found["paper"]) > 10
    assert (luminance(found["paper"]) < 0.1) == dark


@needs_browser
def test_texts_of_drawings_neither_overlap_nor_leave_them(timed: Timed, tmp_path: Path) -> None:
    for drawing in look(page(timed, None), tmp_path)["drawings"]:
        left, top, right, bottom = drawing["box"]
        for text in drawing["texts"]:
            x0, y0, x1, y1 = text["box"]
            inside = left - 1 <= x0 and x1 <= right + 1 and top - 1 <= y0 and y1 <= bottom + 1
            assert inside, text["text"]
        for one, other in combinations(drawing["texts"], 2):
            assert not overlap(one["box"], other["box"]), (one["text"], other["text"])


@needs_browser
def test_a_narrow_window_scrolls_drawings_and_not_the_page(timed: Timed, tmp_path: Path) -> None:
    found = look(page(timed, None), tmp_path, width=760)
    assert found["scroll"] <= found["width"]


def overlap(one: list[float], other: list[float]) -> bool:
    """Whether two boxes share more than the air around letters."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across > 1 and down > 4


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    values = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Any, other: Any) -> float:
    """Contrast of two colours (WCAG 2.2)."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
