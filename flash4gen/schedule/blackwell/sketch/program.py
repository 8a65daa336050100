"""A whole sketch: the program of a ``blackwell`` kernel on one SM.

In: a schedule, its effort, and the steps of the work tiles that a program computes. Out: a
``Program`` for the clock. Of a pair of CTAs one stands for both: they do the same in lockstep, and
arrivals at the first one's barriers take the way between SMs.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.clock.program import Arrive, Program, Role
from flash4gen.schedule.blackwell.memory import GROUP, memory_plan
from flash4gen.schedule.blackwell.sketch.correction import Correction
from flash4gen.schedule.blackwell.sketch.idioms import OURS
from flash4gen.schedule.blackwell.sketch.places import walks
from flash4gen.schedule.blackwell.sketch.single import load, products, store
from flash4gen.schedule.blackwell.sketch.softmax import Softmax

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from flash4gen.clock.program import Step
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.sketch.effort import Effort
    from flash4gen.schedule.blackwell.sketch.idioms import Idioms

MMA = "mma"
"""The role whose turns are the steps of a kernel."""

SHARED = ("p_ready", "p_last", "s_empty")
"""Barriers at which both CTAs of a pair arrive, and the first one waits."""


def sketch(
    schedule: BlackwellSchedule,
    effort: Effort,
    tiles: tuple[tuple[bool, ...], ...],
    idioms: Idioms = OURS,
    rescales: Callable[[int], bool] | None = None,
) -> Program:
    """Return the program of a kernel.

    Args:
        schedule: any schedule of the family.
        effort: of its softmax.
        tiles: the work tiles of the program: of each of their steps, whether it runs mask code.
        idioms: of the kernel.
        rescales: whether outputs are rescaled in a step, by its number in the work tile; by the
            schedule's threshold if left out.
    """
    program = tuple(walks(tiles))
    correction = Correction(schedule, idioms, rescales or growing(schedule))
    softmax = [Softmax(schedule, effort, idioms, tile) for tile in range(schedule.query_tiles)]
    pair = schedule.ctas > 1
    roles = (
        Role(name="correction", warps=GROUP, steps=_steps(correction.steps(program), pair=pair)),
        *(
            Role(
                name=f"softmax {role.tile}",
                warps=GROUP,
                steps=_steps(role.steps(program), pair=pair),
            )
            for role in softmax
        ),
        Role(name=MMA, warps=1, steps=tuple(products(schedule, program))),
        Role(name="load", warps=1, steps=tuple(load(schedule, program))),
        Role(name="store", warps=1, steps=tuple(store(schedule, program))),
    )
    return Program(roles=roles, barriers=tuple(_barriers(schedule)))


def _steps(steps: Iterable[Step], *, pair: bool) -> tuple[Step, ...]:
    """Return steps; those of a pair arrive at the first CTA's barriers."""
    if not pair:
        return tuple(steps)
    return tuple(
        replace(step, remote=True)
        if isinstance(step, Arrive) and step.barrier.partition("[")[0] in SHARED
        else step
        for step in steps
    )


def _barriers(schedule: BlackwellSchedule) -> Iterator[tuple[str, int]]:
    for barrier in memory_plan(schedule).barriers:
        for slot in range(barrier.count):
            yield f"{barrier.name}[{slot}]", barrier.arrivals


def growing(schedule: BlackwellSchedule) -> Callable[[int], bool]:
    """Return whether some row of a tile is rescaled in a step, on average.

    Scores are taken as independent and normal. After n keys the largest of them lies at about
    m = √(2 ln n), and the next 128 hold a larger one with probability 128 / (n + 128); one that is
    larger by δ with exp(−δ·m) of that. A tile is rescaled if one of its 128 rows is. Means become
    decisions by carrying what is left over to the next step.
    """
    growth = schedule.rescale_threshold * math.log(2)
    expected = 0.5  # decisions round
    decided: list[bool] = [True]

    def rescales(step: int) -> bool:
        nonlocal expected
        while len(decided) <= step:
            seen = schedule.tile_k * len(decided)
            row = schedule.tile_k / (seen + schedule.tile_k)
            row *= math.exp(-growth * math.sqrt(2 * math.log(seen)))
            expected += 1 - (1 - row) ** schedule.tile_q
            decided.append(expected >= 1)
            expected -= decided[-1]
        return decided[step]

    return rescales
