"""The text form of a schedule, and its verifier.

In: a ``Schedule``. Out: one line a field for goldens and digests; and what, if anything, is wrong
with the schedule on a target, recomputed from its free choices.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from flash4gen.schedule.constraints import Violation, violations
from flash4gen.schedule.memory import shared_memory, tensor_columns
from flash4gen.schedule.space import shape_of

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.model import Schedule


def schedule_text(schedule: Schedule) -> str:
    """Return the schedule as ``field = value`` lines in the order of the data class."""
    return "".join(
        f"{field.name} = {getattr(schedule, field.name)}\n" for field in fields(schedule)
    )


def verify(schedule: Schedule, hardware: Hardware) -> tuple[Violation, ...]:
    """Return every constraint that a schedule breaks on a target, and every sum that is off.

    Args:
        schedule: any schedule, also one that ``choose`` did not make.
        hardware: the target; a schedule made for another one is a violation.
    """
    return (*_sums(schedule, hardware), *violations(schedule, hardware))


def _sums(schedule: Schedule, hardware: Hardware) -> tuple[Violation, ...]:
    """Return the planned numbers that do not follow from the free choices."""
    shape = shape_of(schedule)
    buffers = shared_memory(hardware, shape, schedule.head_pad, schedule.value_pad)
    expected = {
        "hardware": hardware.name,
        "smem_bytes": sum(buffer.bytes for buffer in buffers),
        "tmem_columns": tensor_columns(hardware, shape, schedule.value_pad),
    }
    return tuple(
        Violation(name, f"{name} is {getattr(schedule, name)}, the plan adds up to {value}")
        for name, value in expected.items()
        if getattr(schedule, name) != value
    )
