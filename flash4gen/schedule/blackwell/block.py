"""A schedule as the ``schedule { … }`` block that pins it, its evidence as comments.

In: the result of a search. Out: text of a spec, which parses to exactly this schedule.
"""

from __future__ import annotations

import textwrap
from math import isinf
from typing import TYPE_CHECKING

from flash4gen.schedule.blackwell.space import DOMAINS
from flash4gen.schedule.blackwell.trials import winner
from flash4gen.schedule.text import difference, shape_text

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.trials import Trial
    from flash4gen.schedule.blackwell.tune import Timed, Tuned

WIDTH = 96


def block(found: Tuned, attention: Attention) -> str:
    """Return the block of a search's winner, with what the spec pins of its backward pass."""
    lines = [f"# {line}" for text in evidence(found) for line in textwrap.wrap(text, WIDTH - 6)]
    fixed = {**_beyond(attention), **pins(found.schedule)}
    lines += [f"{name} = {value}" for name, value in fixed.items()]
    return "\n".join(("schedule {", *(f"    {line}" for line in lines), "}")) + "\n"


def pins(schedule: BlackwellSchedule) -> dict[str, int | str]:
    """Return what to write so that every free field is pinned."""
    names = (name for name in DOMAINS if name != "emulation_share")
    return {
        "family": str(schedule.family),
        **{name: getattr(schedule, name) for name in names},
    }


def _beyond(attention: Attention) -> dict[str, int | float | str]:
    """Return the pins of a spec that are none of the forward pass."""
    return {pin.name: pin.value for pin in attention.pins if pin.name not in DOMAINS}


def evidence(found: Tuned) -> tuple[str, ...]:
    """Return what the search found, in sentences. All cycles are modelled."""
    best: Timed | Trial = winner(found.trials) if found.trials else found.best
    default: Timed | Trial = found.trials[0] if found.trials else found.default
    shape = found.shape
    launch = f"{shape.batch} x {shape.heads} heads, {shape.queries} queries and {shape.keys} keys"
    what = "the compiled module takes " if found.trials else ""
    result = f"modelled, not measured: {what}{_cycles(best)} for {launch}"
    ran = (
        f"{found.evaluated} of {found.candidates} schedules ran on the clock of "
        f"{best.schedule.hardware} as sketches, the best again with latencies off by up to 20 %"
    )
    return (result, _beside(best, default), ran, _compiled(found))


def _beside(best: Timed | Trial, default: Timed | Trial) -> str:
    """Return how the default does beside the winner."""
    if best.schedule == default.schedule:
        return "this is the default; nothing that was tried is faster"
    if isinf(default.cycles):
        return f"What differs from the default: {difference(best.schedule, default.schedule)}"
    return (
        f"the default ({shape_text(default.schedule)}) takes {_cycles(default)}: "
        f"{default.cycles / best.cycles:.2f} times as long. "
        f"What differs: {difference(best.schedule, default.schedule)}"
    )


def _compiled(found: Tuned) -> str:
    """Return what came of the compiles."""
    if not found.trials:
        return (
            "registers are split by the rules: in so little time nothing is compiled, and a sketch "
            "does not know what spills"
        )
    default = found.trials[0]
    tried = "; ".join(_told(trial, default) for trial in found.trials)
    return f"{len(found.trials)} were compiled and their modules run on the clock: {tried}"


def _told(trial: Trial, default: Trial) -> str:
    """Return what came of one compile."""
    what = difference(trial.schedule, default.schedule) or "the default"
    return f"{what} ({trial.wanting or _cycles(trial)})"


def _cycles(item: Timed | Trial) -> str:
    return f"{item.cycles:,.0f} cycles [{item.low:,.0f} to {item.high:,.0f}]"
