"""The text form of a schedule, and its verifier, for either family.

In: a schedule. Out: one line a field for goldens and digests; and what, if anything, is wrong with
the schedule on a target, recomputed from its free choices.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from flash4gen.digest import is_left_out
from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.blackwell.plan_check import faults
from flash4gen.schedule.blackwell.rules import MEANING_RULES, NONSENSE, RULES, broken
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.capped import is_capped
from flash4gen.schedule.constraints import CONSTRAINTS, Violation, violations
from flash4gen.schedule.memory import shared_memory, tensor_columns
from flash4gen.schedule.model import Schedule
from flash4gen.schedule.space import shape_of
from flash4gen.schedule.units import ONES, matrix_unit, promotes, sum_parts
from flash4gen.schedule.workload import tile_reads

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.model import AnySchedule
    from flash4gen.schedule.workload import TileRead


def schedule_text(schedule: AnySchedule) -> str:
    """Return the schedule as ``field = value`` lines in the order of the data class.

    Fields that the digest leaves out, as it does where they came later and are not set, are left
    out here too.
    """
    return "".join(
        f"{field.name} = {getattr(schedule, field.name)}\n"
        for field in fields(schedule)
        if not is_left_out(field, getattr(schedule, field.name))
    )


def verify(
    schedule: AnySchedule, hardware: Hardware, attention: Attention | None = None
) -> tuple[Violation, ...]:
    """Return every constraint that a schedule breaks on a target, and every sum that is off.

    Args:
        schedule: any schedule, also one that ``choose`` did not make.
        hardware: the target; a schedule made for another one is a violation.
        attention: what it computes; None leaves out the rules that depend on it.
    """
    if isinstance(schedule, Schedule):
        reads = () if attention is None else tile_reads(attention)
        sums = _sums(schedule, hardware, reads)
        return (*sums, *_unbounded(schedule, attention), *violations(schedule, hardware))
    return _blackwell(schedule, hardware, attention)


def constraint_names(schedule: AnySchedule) -> tuple[str, ...]:
    """Return the names of the constraints that ``verify`` checks."""
    if isinstance(schedule, Schedule):
        return tuple(CONSTRAINTS)
    return (*RULES, *MEANING_RULES, "memory_plan")


def _blackwell(
    schedule: BlackwellSchedule, hardware: Hardware, attention: Attention | None
) -> tuple[Violation, ...]:
    known = None if attention is None else traits(attention)
    found = [Violation(item.constraint, item.reason) for item in broken(schedule, hardware, known)]
    if any(item.constraint in NONSENSE for item in found):
        return tuple(found)
    for kernel in (schedule, one_tile(schedule)):
        plan = memory_plan(kernel) if kernel is not None else None
        found += [Violation("memory_plan", it) for it in (faults(plan, hardware) if plan else ())]
    return tuple(found)


def _unbounded(schedule: Schedule, attention: Attention | None) -> tuple[Violation, ...]:
    """Return why a schedule without a running maximum is wrong for an attention, if it is."""
    if attention is None or not schedule.capped:
        return ()
    if is_capped(attention):
        return ()
    reason = f"weights of `{attention.name}` may overflow {attention.dtype} without a maximum"
    return (Violation("capped", reason),)


def _sums(
    schedule: Schedule, hardware: Hardware, reads: tuple[TileRead, ...]
) -> tuple[Violation, ...]:
    """Return the planned numbers that do not follow from the free choices."""
    shape = shape_of(schedule)
    widths = schedule.head_pad, schedule.value_pad
    ones = ONES if schedule.capped else 0
    buffers = shared_memory(hardware, shape, *widths, reads, element=schedule.element, ones=ones)
    unit = matrix_unit(hardware, schedule.tile_q, schedule.warps)
    expected = {
        "hardware": hardware.name,
        "smem_bytes": sum(buffer.bytes for buffer in buffers),
        "tmem_columns": tensor_columns(
            hardware, shape, schedule.value_pad + ones, schedule.element
        ),
        "promotes": promotes(unit, schedule.element),
        "sum_parts": min(schedule.sum_parts, sum_parts(unit, schedule.load, schedule.element)),
    }
    return tuple(
        Violation(name, f"{name} is {getattr(schedule, name)}, the plan adds up to {value}")
        for name, value in expected.items()
        if getattr(schedule, name) != value
    )
