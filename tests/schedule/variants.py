"""Attentions and targets that the tests of the schedule search share."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from flash4gen.digest import is_left_out
from flash4gen.ir import library
from flash4gen.ir.nodes import Pin
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice
from flash4gen.schedule.registers import measured_arch
from tests.ir.notation import attention

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import AnySchedule, Excluded, Ranked

FULL = "true"
CAUSAL = "k <= q_end"
WINDOW = "k <= q_end and k > q_end - 4096"
IDENTITY = "s"
SOFTCAP = "50.0 * tanh(s / 50.0)"

_FIRST = {target.arch: target for target in reversed(library.targets())}
TARGETS = [_FIRST[arch] for arch in sorted(_FIRST, key=str) if measured_arch(_FIRST[arch]) == arch]
"""One for each architecture that was swept; registers of the others are modelled alone."""


def variant(
    head_dim: int = 128, value_dim: int | None = None, mask: str = CAUSAL, score: str = IDENTITY
) -> Attention:
    """Return an attention of these widths."""
    return attention(
        head_dim=head_dim, value_dim=value_dim or head_dim, mask=mask, score=score, heads=16
    )


def pinning(what: Attention, **pins: int | float | str) -> Attention:
    """Return an attention whose spec pins these fields too."""
    items = tuple(Pin(name, value) for name, value in pins.items())
    return replace(what, pins=(*what.pins, *items))


def pinned(head_dim: int = 128, **pins: int | float | str) -> Attention:
    """Return a causal attention whose spec pins these fields."""
    return pinning(attention(head_dim=head_dim, value_dim=head_dim, mask=CAUSAL), **pins)


def chosen(what: Attention, hardware: Hardware, exclude: Excluded = ()) -> Choice:
    """Return the choice, which there must be."""
    found = choose(what, hardware, exclude)
    assert isinstance(found, Choice), found
    return found


def portable(what: Attention, hardware: Hardware, exclude: Excluded = ()) -> Choice:
    """Return the choice within the portable family, which there must be."""
    return chosen(pinning(what, family="portable"), hardware, exclude)


def said(schedule: AnySchedule) -> set[str]:
    """Return the fields that leave a trace: those that came later do where they are set."""
    return {
        field.name
        for field in fields(schedule)
        if not is_left_out(field, getattr(schedule, field.name))
    }


def cycles(item: Ranked) -> float:
    """Return the modelled cycles, which every portable candidate has."""
    assert item.cycles is not None
    return item.cycles
