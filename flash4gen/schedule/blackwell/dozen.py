"""A short search on the clock, for a compile that is asked to: the best dozen by formula run there.

In: an attention, a target, pins, and the schedule that rules make. Out: ``Dozen``. It has no clock
of its own time and no chance in it: the same input gives the same winner on every machine. Cycles
are remembered between runs of the program by the digest of all that they follow from
(``remembered``). ``tune`` looks further, and for as long as one likes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.schedule.blackwell.cost import estimate
from flash4gen.schedule.blackwell.model import BlackwellSchedule, RowMax, TensorPlan
from flash4gen.schedule.blackwell.pace import SHAKEN, kernel
from flash4gen.schedule.blackwell.remembered import Modelled, modelled
from flash4gen.schedule.blackwell.resolve import resolve
from flash4gen.schedule.blackwell.rules import broken
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.winners import LEAST_GAIN
from flash4gen.schedule.model import Searched
from flash4gen.schedule.table import listing
from flash4gen.schedule.text import difference

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.pins import Pins

COUNT = 12
"""Candidates that run on the clock."""

FREE: dict[str, tuple[int | str, ...]] = {
    "plan": tuple(TensorPlan),
    "staging": (1, 2),
    "early": (96, 0),
    "row_max": tuple(RowMax),
}
"""What is tried, beside fewer ring slots. Columns in software and pairs of CTAs are left to pins:
the model ranks those less well than it ranks plans (``docs/time_accuracy.md``)."""

FEWER_STAGES = (0, 2)

EQUAL = 0.01
"""Runs so close to the fastest are as fast; of them the one that changes least is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dozen:
    """What came of it. Cycles are modelled: of 256 queries and 128 keys, without mask code.

    Attributes:
        default: what the rules make, and its cycles.
        runs: those that ran, the fastest first.
        candidates: all that keep the rules.
        winner: what the fastest changes; None where the default is as fast, or nearly.
    """

    default: tuple[BlackwellSchedule, Modelled]
    runs: tuple[tuple[BlackwellSchedule, Modelled], ...]
    candidates: int
    winner: Searched | None


def dozen(
    attention: Attention, hardware: Hardware, pins: Pins, default: BlackwellSchedule
) -> Dozen:
    """Run the best dozen of all candidates on the clock.

    Args:
        attention: what to compute; of the family.
        hardware: the target; of the family.
        pins: the fields that the spec fixes.
        default: what the rules make of them.

    Raises:
        NoConstantsError: nothing was published for the target.
    """
    found = _candidates(attention, hardware, pins)
    found.pop(default, None)
    ranked = sorted(found, key=lambda item: estimate(kernel(item, attention, hardware)))
    at_rest = _cycles(default, attention, hardware)
    runs = sorted(
        ((item, _cycles(item, attention, hardware)) for item in ranked[:COUNT]),
        key=lambda run: run[1].cycles,
    )
    changes = {
        item: tuple(
            (name, value)
            for name, value in made.items()
            if name not in pins and value != getattr(default, name)
        )
        for item, made in found.items()
    }
    winner = None
    if runs:
        nearly = [run for run in runs if run[1].cycles < (1 + EQUAL) * runs[0][1].cycles]
        best, cycles = min(nearly, key=lambda run: (len(changes[run[0]]), run[1].cycles))
        gain = at_rest.cycles / cycles.cycles
        winner = Searched(round(gain, 2), changes[best]) if gain >= LEAST_GAIN else None
    return Dozen(default=(default, at_rest), runs=tuple(runs), candidates=len(found), winner=winner)


def report(found: Dozen) -> str:
    """Return what ran as plain text, the fastest first."""
    default, cycles = found.default
    rows = [("as the rules make it", _told(cycles))]
    rows += [(difference(item, default), _told(its)) for item, its in found.runs]
    head = f"a search on the clock: {len(found.runs)} of {found.candidates} candidates"
    tail = (
        f"taken: {found.winner.gain:.2f} times as fast as by the rules"
        if found.winner
        else f"the rules stand: nothing is {LEAST_GAIN:.2f} times as fast"
    )
    return listing(f"{head}, modelled cycles of a step; {tail}", rows)


def _told(cycles: Modelled) -> str:
    return f"{cycles.cycles:,.0f} ({cycles.low:,.0f} to {cycles.high:,.0f})"


def _cycles(item: BlackwellSchedule, attention: Attention, hardware: Hardware) -> Modelled:
    """Return the modelled cycles of two query tiles, also where a program has only one."""
    each = modelled(kernel(item, attention, hardware), SHAKEN)
    return Modelled(*(cycles * 2 / item.query_tiles for cycles in each))


def _candidates(
    attention: Attention, hardware: Hardware, pins: Pins
) -> dict[BlackwellSchedule, Pins]:
    """Return the schedules that keep the rules and the pins, each with pins that make it."""
    known = traits(attention)
    free = {name: values for name, values in FREE.items() if name not in pins}
    found: dict[BlackwellSchedule, Pins] = {}
    for values in itertools.product(*free.values()):
        chosen = dict(zip(free, values, strict=True))
        most = resolve(known, hardware, {**pins, **chosen})
        for fewer in FEWER_STAGES if "stages" not in pins else (0,):
            made = {**chosen, "stages": most.stages - fewer, "staging": most.staging}
            item = resolve(known, hardware, {**made, **pins})
            if item.stages >= 1 and not broken(item, hardware, known):
                found.setdefault(item, made)
    return found
