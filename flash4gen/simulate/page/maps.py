"""Maps of tensor and shared memory of one CTA, from the schedule's memory plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.memory import shared_memory
from flash4gen.schedule.model import Schedule
from flash4gen.schedule.space import shape_of

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.memory import Buffer
    from flash4gen.schedule.model import AnySchedule

LABELLED = 0.055
"""Share of the whole from which on a part's name stands in the map, and not below it alone."""

COLOURS = 6
"""Colours that take turns."""


class Part(NamedTuple):
    """A part of a memory.

    Attributes:
        name: of a buffer or region.
        text: its size, or its columns.
        left, width: percent of the whole.
        colour: number of its colour.
        inside: whether it lies in another part, whose place it uses again.
        labelled: whether there is room for its name.
    """

    name: str
    text: str
    left: float
    width: float
    colour: int
    inside: bool
    labelled: bool


class Map(NamedTuple):
    """A memory: its parts, and how much of it they take."""

    parts: tuple[Part, ...]
    used: str
    limit: str


def shared_map(schedule: AnySchedule, hardware: Hardware) -> Map:
    """Return the map of shared memory; bytes by name."""
    if isinstance(schedule, Schedule):
        sizes = schedule.head_pad, schedule.value_pad
        shape = shape_of(schedule)
        buffers = shared_memory(hardware, shape, *sizes, element=schedule.element)
    else:
        buffers = memory_plan(schedule).buffers
    total = hardware.smem_per_block
    return Map(
        parts=tuple(_stacked(buffers, total)),
        used=f"{sum(buffer.bytes for buffer in buffers):,} bytes planned",
        limit=f"{total:,} bytes a CTA may have",
    )


def _stacked(buffers: tuple[Buffer, ...], total: int) -> list[Part]:
    parts, first = [], 0
    for number, buffer in enumerate(buffers):
        share = buffer.bytes / total
        parts.append(
            Part(
                name=buffer.name,
                text=f"{buffer.bytes:,} bytes",
                left=100 * first / total,
                width=100 * share,
                colour=number % COLOURS,
                inside=False,
                labelled=share >= LABELLED,
            )
        )
        first += buffer.bytes
    return parts


def tensor_map(schedule: AnySchedule, hardware: Hardware) -> Map | None:
    """Return the map of tensor memory by columns, None where the kernel has none.

    Triton places what a portable kernel has there: the plan knows the sum alone.
    """
    total = hardware.tmem_columns
    if not schedule.tmem_columns or not total:
        return None
    limit = f"{total} columns of 128 lanes, 4 bytes each"
    if isinstance(schedule, Schedule):
        width = schedule.tmem_columns
        part = Part("scores, weights, accumulator", f"{width} columns", 0.0, 100 * width / total,
                    0, inside=False, labelled=True)  # fmt: skip
        return Map((part,), f"{width} columns", limit)
    regions = memory_plan(schedule).regions
    parts = tuple(
        Part(
            name=region.name,
            text=f"columns {region.first} to {region.first + region.columns - 1}",
            left=100 * region.first / total,
            width=100 * region.columns / total,
            colour="spo".find(region.name[0]) % COLOURS,
            inside=bool(region.inside),
            labelled=region.columns / total >= LABELLED,
        )
        for region in regions
    )
    used = max(region.first + region.columns for region in regions)
    return Map(parts, f"{used} columns used, {schedule.tmem_columns} allocated", limit)
