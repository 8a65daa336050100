"""Schedules of either family on one line: for logs, reports, and the header of a module."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from flash4gen.schedule.model import Schedule

if TYPE_CHECKING:
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.model import AnySchedule


FOLLOWING = (
    "smem_bytes",
    "tmem_columns",
    "short_softmax_registers",
    "short_correction_registers",
    "short_other_registers",
)
"""Fields that follow from the others."""


def shape_text(schedule: AnySchedule) -> str:
    """Return the main choices of a schedule on one line."""
    return _portable(schedule) if isinstance(schedule, Schedule) else _blackwell(schedule)


def record_text(schedule: AnySchedule) -> str:
    """Return the line by which a module's header remembers a schedule that was compiled."""
    if not isinstance(schedule, Schedule):
        return _blackwell(schedule)
    tile = f"{schedule.tile_q} × {schedule.tile_k}"
    return f"{tile}, {schedule.warps} warps, {schedule.stages} stages, {schedule.load}"


def _portable(schedule: Schedule) -> str:
    return (
        f"{schedule.tile_q}×{schedule.tile_k}, {schedule.warps} warps, "
        f"{_stages(schedule.stages)}, {schedule.load}"
    )


def _blackwell(schedule: BlackwellSchedule) -> str:
    registers = (
        schedule.softmax_registers,
        schedule.correction_registers,
        schedule.other_registers,
    )
    parts = (
        f"{schedule.query_tiles}×{schedule.tile_q}×{schedule.tile_k}",
        "pair of CTAs" if schedule.ctas > 1 else "",
        schedule.plan,
        _stages(schedule.stages),
        f"{'/'.join(map(str, registers))} registers",
        f"{schedule.emulated} emulated",
        f"{schedule.pack} heads packed" if schedule.pack > 1 else "",
        f"{schedule.dispatch} {schedule.order}",
    )
    return ", ".join(part for part in parts if part)


def difference(schedule: BlackwellSchedule, other: BlackwellSchedule) -> str:
    """Return the fields in which a schedule differs from another, those that can be pinned."""
    names = (item.name for item in fields(schedule) if item.name not in FOLLOWING)
    return ", ".join(
        f"{name} = {getattr(schedule, name)}"
        for name in names
        if getattr(schedule, name) != getattr(other, name)
    )


def _stages(stages: int) -> str:
    return f"{stages} stage{'s' if stages != 1 else ''}"
