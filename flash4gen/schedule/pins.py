"""The ``schedule { … }`` block of a spec: checks its pins, and says what is wrong with them.

In: the pins of an ``Attention``. Out: the fixed values by field, or diagnostics. What can only be
seen once candidates are judged (a combination that does not fit) is phrased here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash4gen.diagnostics.model import Diagnostic, Label, Severity
from flash4gen.diagnostics.suggest import did_you_mean, one_of
from flash4gen.schedule.model import Schedule, TileOrder
from flash4gen.schedule.space import CHOICES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention, Pin
    from flash4gen.schedule.model import Rejected

UNKNOWN_PIN = "F4G502"
PIN_VALUE = "F4G503"
PINS_DO_NOT_FIT = "F4G504"
NOTHING_FITS = "F4G505"

SCHEDULE_CODES: dict[str, str] = {
    UNKNOWN_PIN: "a schedule pin names a field that cannot be pinned",
    PIN_VALUE: "a schedule pin has a value that its field cannot have",
    PINS_DO_NOT_FIT: "the schedule pins break a limit of the target",
    NOTHING_FITS: "no schedule fits the target",
}
"""The codes that this stage raises, with the titles of their pages."""

PINNABLE: dict[str, tuple[int | str, ...]] = {**CHOICES, "order": tuple(TileOrder)}
"""Every field that a spec may pin, with the values that it may have."""

Pins = dict[str, Any]
"""Pinned values by field, as typed as in ``Schedule``."""


def read_pins(attention: Attention) -> tuple[Pins, tuple[Diagnostic, ...]]:
    """Return the pins that make sense, and a diagnostic for every one that does not."""
    pins: Pins = {}
    found: list[Diagnostic] = []
    for pin in attention.pins:
        problem = _problem(pin)
        if problem is None:
            values = {str(value): value for value in PINNABLE[pin.name]}
            pins[pin.name] = values[str(pin.value)]
        else:
            found.append(problem)
    return pins, tuple(found)


def _problem(pin: Pin) -> Diagnostic | None:
    """Return what is wrong with one pin taken alone, or None."""
    if pin.name not in PINNABLE:
        computed = pin.name in Schedule.__dataclass_fields__
        return _diagnostic(
            UNKNOWN_PIN,
            f"`{pin.name}` cannot be pinned",
            (pin,),
            notes=("it follows from the other fields and the target",) if computed else (),
            helps=(
                *(() if computed else did_you_mean(pin.name, PINNABLE)),
                f"a schedule block may fix {one_of(PINNABLE)}",
            ),
        )
    choices = PINNABLE[pin.name]
    if str(pin.value) in {str(choice) for choice in choices}:
        return None
    return _diagnostic(
        PIN_VALUE,
        f"`{pin.name}` cannot be `{pin.value}`",
        (pin,),
        helps=(
            *did_you_mean(str(pin.value), (str(c) for c in choices if isinstance(c, str))),
            f"write {one_of(str(choice) for choice in choices)}",
        ),
    )


def misfit(
    attention: Attention,
    hardware: Hardware,
    closest: Rejected,
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
    return _diagnostic(
        PINS_DO_NOT_FIT,
        f"no schedule with {written} fits {hardware.doc}",
        attention.pins,
        notes=(reason,),
        helps=(f"the nearest that fits: write `{instead}`",),
    )


def shape_text(schedule: Schedule) -> str:
    """Return the free choices of a schedule on one line."""
    return (
        f"{schedule.tile_q}×{schedule.tile_k}, {schedule.warps} warps, "
        f"{schedule.stages} stage{'s' if schedule.stages != 1 else ''}, {schedule.load}"
    )


def _diagnostic(
    code: str,
    message: str,
    pins: tuple[Pin, ...],
    *,
    notes: Iterable[str] = (),
    helps: Iterable[str] = (),
) -> Diagnostic:
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
