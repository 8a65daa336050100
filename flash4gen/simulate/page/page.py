"""A module's time as one page: no script, no network, no other file. Times are *modelled*."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from flash4gen import __version__
from flash4gen.clock.frequency import nominal
from flash4gen.schedule.blackwell.works import launch_text
from flash4gen.schedule.text import shape_text
from flash4gen.simulate.page import bounds, maps, timeline

if TYPE_CHECKING:
    from flash4gen.simulate.model import Standing
    from flash4gen.simulate.timed import Timed
    from flash4gen.validate.certificate import Certificate

FOLDER = Path(__file__).parent
STANDING = 14
"""Waits that are listed."""


def page(timed: Timed, certificate: Certificate | None) -> str:
    """Return the text of the page.

    Args:
        timed: the module's time.
        certificate: of this very module; None if there is none.
    """
    subject, found = timed.subject, timed.simulation
    source = subject.rendered.text.splitlines()
    schedule, hardware = subject.choice.schedule, subject.hardware
    at = [speed.clock for speed in timed.whole.speeds].index(nominal(hardware).name)
    return _environment().get_template("page.html.j2").render(
        version=__version__,
        style=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
        attention=subject.attention,
        hardware=hardware,
        schedule=shape_text(schedule),
        timed=timed,
        found=found,
        whole=timed.whole,
        launched=launch_text(timed.whole.shape),
        spread=timed.spread,
        speed=timed.whole.speeds[at],
        reach=timed.spread.tflops[at] if timed.spread else None,
        timeline=timeline.draw(found, source),
        units=sorted((unit for unit in found.utilisation if unit[1] > 0), key=lambda it: -it[1]),
        names=bounds.NAMES,
        roofline=bounds.draw(timed),
        stages=timed.stages,
        standing=[_wait(one, source) for one in found.standing[:STANDING]],
        tensor=maps.tensor_map(schedule, hardware),
        shared=maps.shared_map(schedule, hardware),
        decisions=subject.choice.decisions,
        certificate=certificate,
    )  # fmt: skip


def _wait(one: Standing, source: list[str]) -> tuple[str, str, float, int, str]:
    """Return role, what it waits for, cycles, line, and the line's text."""
    text = source[one.line - 1].strip() if one.line else ""
    return one.actor, one.what, one.cycles, one.line, text


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["whole"] = lambda value: f"{value:,.0f}"
    environment.filters["percent"] = lambda value: f"{value:.0%}"
    return environment
