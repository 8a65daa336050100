"""What the tests of the blackwell family share: targets, and its choices as schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.library import target
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.choose import choose
from tests.schedule.variants import chosen, variant

if TYPE_CHECKING:
    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention

B200, B300 = target("b200"), target("b300")
WIDTHS = [(16, 16), (64, 64), (64, 128), (96, 96), (128, 128), (192, 128), (256, 256)]
"""Widths of q and k, and of v, for which the family has a plan."""


def schedule(what: Attention | None = None, hardware: Hardware = B200) -> BlackwellSchedule:
    """Return the chosen schedule, which must be of this family."""
    found = chosen(what or variant(), hardware).schedule
    assert isinstance(found, BlackwellSchedule)
    return found


def reasons(what: Attention, hardware: Hardware = B200) -> dict[str, str]:
    """Return why each field of a choice is what it is."""
    return {item.field: item.reason for item in chosen(what, hardware).decisions}


def refusal(what: Attention, hardware: Hardware = B200) -> Diagnostic:
    """Return the one diagnostic with which an attention is refused."""
    found = choose(what, hardware)
    assert isinstance(found, tuple), found.schedule
    assert len(found) == 1
    return found[0]
