"""The choice of a ``blackwell`` schedule: rules fill it in, variations of it are judged and logged.

In: an ``Attention``, a ``Hardware``, pins, and schedules that a build has found wanting. Out: a
``Choice`` with its whole log; a diagnostic if pins break a rule; or, as text, why the family has no
schedule here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.schedule.blackwell.reasons import decisions
from flash4gen.schedule.blackwell.registers import pinned_fix
from flash4gen.schedule.blackwell.resolve import resolve
from flash4gen.schedule.blackwell.rules import broken
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.blackwell.variations import Variation, cures, variations
from flash4gen.schedule.model import BUILD, Choice, Ranked, Rejected
from flash4gen.schedule.pins import PIN_RULE, PINS_DO_NOT_FIT, pin_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.rules import Broken
    from flash4gen.schedule.blackwell.traits import Traits
    from flash4gen.schedule.model import AnySchedule, Decision, Excluded, Searched
    from flash4gen.schedule.pins import Pins

LIMITS = ("instructions", "shared_memory", "tensor_memory", "threads")
"""Rules that are limits of the target."""


def search(
    attention: Attention,
    hardware: Hardware,
    pins: Pins,
    exclude: Excluded = (),
    searched: Searched | None = None,
) -> Choice | Diagnostic | str:
    """Choose the schedule of an attention that the family takes, on a target that has tcgen05.

    Args:
        attention: what to compute.
        hardware: the target.
        pins: the fields that the spec fixes.
        exclude: schedules that were compiled and found unfit, each with the reason. Only register
            splits stand in for them; what none of those cures is for another family.
        searched: what a search on the clock has found, in place of what the rules make.
    """
    twice = _pinned_twice(attention)
    if twice is not None:
        return twice
    known = traits(attention)
    found = pins if searched is None else {**dict(searched.pins), **pins}
    first = resolve(known, hardware, found)
    faults = broken(first, hardware, known)
    if faults:
        blamed = _blame(attention, hardware, first, faults)
        return faults[0].reason if blamed is None else blamed
    replacements = tuple(cures(known, hardware, found, first))
    unfit = dict(exclude)
    best = next(
        (item for item in (first, *(it.schedule for it in replacements)) if item not in unfit), None
    )
    if best is None:
        return f"{len(replacements) + 1} register splits were compiled, and all of them spill"
    others = (*replacements, *variations(known, hardware, found))
    if searched is None:
        return _log(best, others, known, hardware, pins, unfit)
    others = (Variation(resolve(known, hardware, pins), "what the rules make"), *others)
    log = _log(best, others, known, hardware, pins, unfit)
    return replace(log, searched=searched, decisions=tuple(_found(log.decisions, searched)))


def _found(decisions: tuple[Decision, ...], searched: Searched) -> Iterator[Decision]:
    """Yield decisions, those that a search has made with its reason."""
    names = dict(searched.pins)
    for one in decisions:
        reason = f"found on the clock: {searched.gain:.2f} times as fast as by the rules, modelled"
        yield replace(one, reason=reason) if one.field in names else one


def _log(
    best: BlackwellSchedule,
    others: tuple[Variation, ...],
    known: Traits,
    hardware: Hardware,
    pins: Pins,
    unfit: dict[AnySchedule, str],
) -> Choice:
    """Return the choice with every variation judged."""
    ranked = [Ranked(best, None)]
    rejected = [Rejected(item, BUILD, why) for item, why in unfit.items()]
    seen: set[AnySchedule] = {best, *unfit}
    for other in others:
        if other.schedule in seen:
            continue
        seen.add(other.schedule)
        faults = broken(other.schedule, hardware, known)
        if faults:
            rejected.append(Rejected(other.schedule, faults[0].constraint, faults[0].reason))
        else:
            ranked.append(Ranked(other.schedule, None, other.reason))
    return Choice(
        schedule=best,
        decisions=decisions(best, known, hardware, pins),
        ranked=tuple(ranked),
        rejected=tuple(rejected),
    )


def _pinned_twice(attention: Attention) -> Diagnostic | None:
    """Return the refusal of a share and a number of columns that are pinned side by side."""
    both = tuple(pin for pin in attention.pins if pin.name in ("emulated", "emulation_share"))
    if len(both) < 2:
        return None
    return pin_error(
        PIN_RULE,
        "`emulated` and `emulation_share` say the same, one in columns, one as a share",
        tuple(reversed(both)),
        helps=("keep one of the two",),
    )


def _blame(
    attention: Attention,
    hardware: Hardware,
    schedule: BlackwellSchedule,
    faults: tuple[Broken, ...],
) -> Diagnostic | None:
    """Return the refusal of the pins that break a rule, None if no pin does."""
    for fault in faults:
        pins = tuple(pin for name in fault.fields for pin in attention.pins if pin.name == name)
        if not pins:
            continue
        written = ", ".join(f"`{pin.name} = {pin.value}`" for pin in pins)
        limit = fault.constraint in LIMITS
        fix = fault.fix
        if fault.constraint == "registers":
            fix = pinned_fix(
                schedule.query_tiles, hardware, {pin.name: int(pin.value) for pin in pins}
            )
        verb = "do not" if len(pins) > 1 else "does not"
        return pin_error(
            PINS_DO_NOT_FIT if limit else PIN_RULE,
            f"{written} {verb} fit {hardware.doc if limit else 'the rest of the schedule'}",
            pins,
            notes=(fault.reason, *fault.details),
            helps=(f"write `{fix}`",) if fix else ("remove the pin",),
        )
    return None
