"""The ``schedule { … }`` block of a spec: checks its pins, and says which family they ask for.

In: the pins of an ``Attention`` and a target. Out: a ``Request``, or diagnostics. What can only be
seen once candidates are judged (a combination that does not fit) is phrased here too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flash4gen.diagnostics.model import Diagnostic, Label, Severity
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.schedule.backward.pins import (
    GRADIENT_PINS,
    KERNELS,
    gradient_pins,
    misfit_of,
    pinned_sides,
)
from flash4gen.schedule.backward.pipeline.pair_choice import PIPELINE_DOMAINS
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.blackwell.space import DOMAINS
from flash4gen.schedule.domain import Domain
from flash4gen.schedule.model import Family, Schedule, TileOrder
from flash4gen.schedule.space import CHOICES
from flash4gen.schedule.text import shape_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention, Pin
    from flash4gen.schedule.search import Unfit

UNKNOWN_PIN = "F4G502"
PIN_VALUE = "F4G503"
PINS_DO_NOT_FIT = "F4G504"
NOTHING_FITS = "F4G505"
PIN_FAMILY = "F4G506"
PIN_RULE = "F4G507"
NO_DTYPE = "F4G508"

SCHEDULE_CODES: dict[str, str] = {
    UNKNOWN_PIN: "a schedule pin names a field that cannot be pinned",
    PIN_VALUE: "a schedule pin has a value that its field cannot have",
    PINS_DO_NOT_FIT: "the schedule pins break a limit of the target",
    NOTHING_FITS: "no schedule fits the target",
    PIN_FAMILY: "a schedule pin belongs to a kernel family that cannot be used here",
    PIN_RULE: "schedule pins break a rule of their kernel family",
    NO_DTYPE: "the target has no matrix instructions for the element type",
}
"""The codes that this stage raises, with the titles of their pages."""

PORTABLE: dict[str, Domain] = {
    **{name: Domain(values) for name, values in CHOICES.items()},
    "order": Domain(tuple(TileOrder)),
}
"""What a spec may pin of a portable schedule."""

DOMAINS_OF: dict[Family, dict[str, Domain]] = {
    Family.PORTABLE: PORTABLE,
    Family.BLACKWELL: {**DOMAINS, **PIPELINE_DOMAINS},
}
"""Every field that a spec may pin, by family, with the values that it may have."""

FAMILY = Domain(tuple(Family))
PINNABLE: tuple[str, ...] = (
    "family",
    *dict.fromkeys((*(it for of in DOMAINS_OF.values() for it in of), *GRADIENT_PINS)),
)
"""The names of all of them."""

Pins = dict[str, Any]
"""Pinned values by field, as typed as in the schedule."""


@dataclass(frozen=True, slots=True)
class Request:
    """What the pins ask for.

    Attributes:
        pins: the pinned values by field, ``family`` among them if it is pinned.
        reason: why this family, for the log.
    """

    pins: Pins = field(default_factory=dict)
    reason: str = ""


def pin_problems(attention: Attention) -> tuple[Diagnostic, ...]:
    """Return what is wrong with each pin taken alone."""
    found = (_problem(pin) or _idle(pin, attention) for pin in attention.pins)
    return tuple(problem for problem in found if problem is not None)


def _idle(pin: Pin, attention: Attention) -> Diagnostic | None:
    """Return the refusal of a pin of gradients where none are asked for."""
    if attention.differentiable or pin.name not in GRADIENT_PINS:
        return None
    return pin_error(
        PIN_RULE,
        f"`{pin.name}` shapes a backward kernel, and `{attention.name}` has none",
        (pin,),
        helps=("write `passes = forward, backward`, or remove the pin",),
    )


def gradient_misfit(attention: Attention, hardware: Hardware) -> Diagnostic | None:
    """Return the refusal of pins with which no shape of a backward kernel fits, if there is one."""
    for kernel in KERNELS:
        reason = misfit_of(attention, hardware, kernel)
        if not reason:
            continue
        sides = [f"{kernel.value}_{side}" for side in pinned_sides(attention, kernel)]
        pins = tuple(pin for pin in gradient_pins(attention) if pin.name in sides)
        written = ", ".join(f"{pin.name} = {pin.value}" for pin in pins)
        return pin_error(
            PINS_DO_NOT_FIT,
            f"no backward kernel with {written} fits {hardware.doc}",
            pins,
            notes=(reason,),
            helps=("pin a smaller tile or fewer stages, or remove the pin",),
        )
    return None


def families_of(pin: Pin) -> tuple[Family, ...]:
    """Return the families that can have a pin; none if it is wrong."""
    if pin.name == "family":
        return tuple(family for family in Family if family == pin.value)
    if pin.name in GRADIENT_PINS:
        return tuple(Family) if GRADIENT_PINS[pin.name].read(pin.value) is not None else ()
    return tuple(
        family
        for family, domains in DOMAINS_OF.items()
        if pin.name in domains and domains[pin.name].read(pin.value) is not None
    )


def read_pins(attention: Attention, family: Family) -> Pins:
    """Return the forward pass's pins as values of a family's fields; all of them can be."""
    domains = {"family": FAMILY, **DOMAINS_OF[family]}
    pins = (pin for pin in attention.pins if pin.name not in GRADIENT_PINS)
    return {pin.name: domains[pin.name].read(pin.value) for pin in pins}


def _problem(pin: Pin) -> Diagnostic | None:
    """Return what is wrong with one pin taken alone, or None."""
    if pin.name not in PINNABLE:
        fields = (*Schedule.__dataclass_fields__, *BlackwellSchedule.__dataclass_fields__)
        computed = pin.name in fields
        return pin_error(
            UNKNOWN_PIN,
            f"`{pin.name}` cannot be pinned",
            (pin,),
            notes=("it follows from the other fields and the target",) if computed else (),
            helps=(
                *(() if computed else did_you_mean(pin.name, PINNABLE)),
                *_pinnable(),
            ),
        )
    if families_of(pin):
        return None
    known = _domains(pin.name)
    guesses = dict.fromkeys(
        guess for domain in known.values() for guess in domain.guesses(pin.value)
    )
    alone = len(known) == 1
    return pin_error(
        PIN_VALUE,
        f"`{pin.name}` cannot be `{pin.value}`",
        (pin,),
        notes=tuple(dict.fromkeys(domain.rule for domain in known.values() if domain.rule)),
        helps=(
            *guesses,
            *(
                f"write {domain.says()}" + ("" if alone else f" in the {family} family")
                for family, domain in known.items()
            ),
        ),
    )


def _pinnable() -> tuple[str, ...]:
    """Return which fields a schedule block may fix, those of every family first."""
    names = {family: tuple(domains) for family, domains in DOMAINS_OF.items()}
    common = [name for name in PORTABLE if all(name in of for of in names.values())]
    own = (
        f"in the {family} family also {one_of(name for name in of if name not in common)}"
        for family, of in names.items()
    )
    gradients = f"for portable backward kernels also {one_of(GRADIENT_PINS)}"
    return (f"a schedule block may fix {one_of(('family', *common))}", *own, gradients)


def _domains(name: str) -> dict[Family, Domain]:
    """Return the values of a field by family, without those that another family has too."""
    if name == "family":
        return {Family.PORTABLE: FAMILY}
    if name in GRADIENT_PINS:
        return {Family.PORTABLE: GRADIENT_PINS[name]}
    known = {family: of[name] for family, of in DOMAINS_OF.items() if name in of}
    first, *others = known.values()
    if any(other.within(first) for other in others):
        return {Family.PORTABLE: first}
    return known


def misfit(
    attention: Attention,
    hardware: Hardware,
    closest: Unfit,
    nearest: Mapping[str, int | str] | None,
) -> Diagnostic:
    """Return the refusal for a target on which no candidate fits, or none that the pins allow.

    Args:
        attention: the attention and its pins.
        hardware: the target.
        closest: the candidate that misses by least.
        nearest: pins to write instead, those that change; None if nothing fits at all.
    """
    reason = f"closest: {shape_text(closest.schedule)}: {closest.reason}"
    if not attention.pins or nearest is None:
        return Diagnostic(
            code=NOTHING_FITS,
            severity=Severity.ERROR,
            message=f"no schedule of the portable family fits {hardware.doc}",
            primary=None if attention.span is None else Label(attention.span),
            notes=(reason, "all of this family keep a whole row of the head dimension in a block"),
            helps=("compile for another target, or with a smaller head_dim",),
        )
    written = ", ".join(f"{pin.name} = {pin.value}" for pin in attention.pins)
    instead = ", ".join(f"{name} = {value}" for name, value in nearest.items())
    return pin_error(
        PINS_DO_NOT_FIT,
        f"no schedule with {written} fits {hardware.doc}",
        attention.pins,
        notes=(reason,),
        helps=(f"the nearest that fits: write `{instead}`",),
    )


def pin_error(
    code: str,
    message: str,
    pins: tuple[Pin, ...],
    *,
    notes: Iterable[str] = (),
    helps: Iterable[str] = (),
) -> Diagnostic:
    """Return an error at the places of pins, the first of them the main one."""
    labels = tuple(Label(pin.span) for pin in pins if pin.span is not None)
    return Diagnostic(
        code=code,
        severity=Severity.ERROR,
        message=message,
        primary=labels[0] if labels else None,
        secondary=labels[1:],
        notes=tuple(notes),
        helps=tuple(helps),
    )
