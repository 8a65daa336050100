"""The second half of a deep search: schedules that are compiled, each with some register splits.

In: what a search of sketches has found (``tune``). Out: in which order to compile what, and, from
the trials, the winner. A sketch knows no registers. A kernel's cubin says what it spills, and its
recording takes the cubin's own instructions, reloads among them, to the clock.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.blackwell.registers import FIELDS, Split, nearest
from flash4gen.schedule.blackwell.rules import broken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.traits import Traits
    from flash4gen.schedule.pins import Pins

EQUAL = 0.005
"""Modules so close to the fastest are as fast: shaken runs differ by more."""

SPLITS = 6
"""Register splits of one schedule, its own and the nearest ones."""


class Trial(NamedTuple):
    """A schedule that was compiled, and the modelled time of its module.

    Attributes:
        schedule: with its register split.
        spill_bytes: of a thread, anywhere.
        loop_spills: loads and stores of spilled registers in the loops over keys.
        wanting: why it cannot win: it spills in a loop, or has no time. Empty if nothing speaks
            against it.
        cycles, low, high: of the launch, the mean of all runs, least and most; infinite where the
            module has no time.
    """

    schedule: BlackwellSchedule
    spill_bytes: int
    loop_spills: int
    wanting: str
    cycles: float
    low: float
    high: float


def split_of(schedule: BlackwellSchedule) -> Split:
    """Return a schedule's registers by kind of role."""
    return Split(*(getattr(schedule, name) for name in FIELDS))


def to_compile(
    default: BlackwellSchedule,
    ranked: Sequence[BlackwellSchedule],
    traits: Traits,
    hardware: Hardware,
    pins: Pins,
) -> tuple[BlackwellSchedule, ...]:
    """Return what to compile, in order: it ends early where time does.

    First comes the default, then the fastest of the search; the further down a schedule is, and
    the farther its split from its own, the later. Of schedules that differ in the ring or the order
    of work tiles alone, which no register depends on, the fastest stands for all.
    """
    fastest: dict[tuple[object, ...], BlackwellSchedule] = {}
    for item in ranked:
        fastest.setdefault(pressed(item), item)
    rows = [tuple(_splits(item, traits, hardware, pins)) for item in fastest.values()]
    places = sorted(
        ((rank, n) for rank, row in enumerate(rows) for n in range(len(row))),
        key=lambda place: (sum(place), place),
    )
    return tuple(dict.fromkeys((default, *(rows[rank][n] for rank, n in places))))


def following(
    waiting: Sequence[BlackwellSchedule], trials: Sequence[Trial]
) -> BlackwellSchedule | None:
    """Return what to compile next of what waits, None if nothing is worth it.

    What spilled with fewer columns in software and the same registers spills with more. Where one
    split does not spill, others wait: registers that nobody needs make nothing faster.
    """
    spilled = [trial.schedule for trial in trials if trial.wanting]
    stand = {pressed(trial.schedule) for trial in trials if not trial.wanting}
    able = [item for item in waiting if not any(_needs_more(item, other) for other in spilled)]
    return next((item for item in able if pressed(item) not in stand), next(iter(able), None))


def _needs_more(item: BlackwellSchedule, other: BlackwellSchedule) -> bool:
    """Whether a schedule needs the registers of another, and more, and has no more of them."""
    alike = pressed(replace(other, emulated=item.emulated)) == pressed(item)
    return alike and split_of(item) == split_of(other) and item.emulated >= other.emulated


def winner(trials: Sequence[Trial]) -> Trial:
    """Return the fastest trial that nothing speaks against, the default where there is none.

    Of those that are nearly as fast it is the one compiled first.
    """
    able = [trial for trial in trials if not trial.wanting]
    least = min((trial.cycles for trial in able), default=inf)
    return next((trial for trial in able if trial.cycles <= (1 + EQUAL) * least), trials[0])


def pressed(schedule: BlackwellSchedule) -> tuple[object, ...]:
    """Return what of a schedule the need of registers depends on, beside what is computed."""
    kind = schedule.plan, schedule.query_tiles, schedule.ctas, schedule.row_max
    return (*kind, schedule.emulated, schedule.early, schedule.tanh)


def _splits(
    schedule: BlackwellSchedule, traits: Traits, hardware: Hardware, pins: Pins
) -> Iterator[BlackwellSchedule]:
    """Yield a schedule with its own split and the next ones that pins and rules allow."""
    for split in nearest(split_of(schedule), schedule.query_tiles, hardware, pins)[:SPLITS]:
        other = replace(
            schedule,
            softmax_registers=split.softmax,
            correction_registers=split.correction,
            other_registers=split.other,
        )
        if not broken(other, hardware, traits):
            yield other
