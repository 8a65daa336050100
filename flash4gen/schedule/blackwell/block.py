"""A schedule as the ``schedule { … }`` block that pins it, its evidence as comments.

In: the result of a search. Out: text of a spec, which parses to exactly this schedule.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from flash4gen.schedule.blackwell.space import DOMAINS
from flash4gen.schedule.text import difference, shape_text

if TYPE_CHECKING:
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.tune import Timed, Tuned

WIDTH = 96


def block(found: Tuned) -> str:
    """Return the block of a search's winner."""
    lines = [f"# {line}" for text in evidence(found) for line in textwrap.wrap(text, WIDTH - 6)]
    lines += [f"{name} = {value}" for name, value in pins(found.best.schedule).items()]
    return "\n".join(("schedule {", *(f"    {line}" for line in lines), "}")) + "\n"


def pins(schedule: BlackwellSchedule) -> dict[str, int | str]:
    """Return what to write so that every free field is pinned."""
    names = (name for name in DOMAINS if name != "emulation_share")
    return {
        "family": str(schedule.family),
        **{name: getattr(schedule, name) for name in names},
    }


def evidence(found: Tuned) -> tuple[str, ...]:
    """Return what the search found, in sentences. All cycles are modelled."""
    shape, best, default = found.shape, found.best, found.default
    launch = f"{shape.batch} x {shape.heads} heads, {shape.queries} queries and {shape.keys} keys"
    result = f"modelled, not measured: {_cycles(best)} for {launch}"
    if best.schedule == default.schedule:
        rest = "this is the default; nothing that was tried is faster"
    else:
        gain = default.cycles / best.cycles
        rest = (
            f"the default ({shape_text(default.schedule)}) takes {_cycles(default)}: {gain:.2f} "
            f"times as long. What differs: {difference(best.schedule, default.schedule)}"
        )
    ran = f"{found.evaluated} of {found.candidates} schedules ran on the clock of {_name(best)}"
    return (result, rest, f"{ran}, the best again with latencies off by up to 20 %")


def _name(item: Timed) -> str:
    return item.schedule.hardware


def _cycles(item: Timed) -> str:
    return f"{item.cycles:,.0f} cycles [{item.low:,.0f} to {item.high:,.0f}]"
