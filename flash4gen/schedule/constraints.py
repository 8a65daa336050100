"""What a schedule must satisfy on a target: one small predicate per limit, each with its reason.

In: a ``Schedule`` with its estimates, and the hardware. Out: None, or why it cannot run, or not run
well, in words for a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.ir.hardware import Feature
from flash4gen.schedule.model import Load
from flash4gen.schedule.registers import thread_limit
from flash4gen.schedule.space import LEAST_PAD
from flash4gen.schedule.units import matrix_unit, warp_grid

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.model import Schedule

TMA_BOX = 256
"""The longest side of a box that the tensor-memory accelerator copies."""

TMA_BYTES = 16
"""A row of a box is a multiple of this many bytes."""

PRODUCT_BYTES = 32
"""Bytes of a row of both factors that one matrix instruction multiplies, at least."""


class Violation(NamedTuple):
    """A broken constraint: its name and the reason."""

    constraint: str
    reason: str


def power_of_two(schedule: Schedule, _hardware: Hardware) -> str | None:
    """Triton's blocks, and its warps, come in powers of two; matrices have at least 16 rows."""
    for name in ("tile_q", "tile_k", "head_pad", "value_pad"):
        side = getattr(schedule, name)
        if side < LEAST_PAD or side & (side - 1):
            return f"{name} = {side} is not a power of two of at least {LEAST_PAD}"
    for name in ("tile_k", "head_pad"):
        if getattr(schedule, name) * schedule.element < PRODUCT_BYTES:
            least = PRODUCT_BYTES // schedule.element
            return f"{name} = {getattr(schedule, name)} is less than the {least} of one product"
    if schedule.warps < 1 or schedule.warps & (schedule.warps - 1):
        return f"warps = {schedule.warps} is not a power of two"
    return None


MOST_MFMA_STAGES = 3
"""Stages beyond which Triton schedules chained MFMA products for two groups of warps in turn."""


def stages(schedule: Schedule, hardware: Hardware) -> str | None:
    """A pipeline has at least one stage, and no more than the virtual GPU can follow."""
    if schedule.stages > MOST_MFMA_STAGES and hardware.has(Feature.MFMA):
        return (
            f"with {schedule.stages} stages Triton lets halves of the warps take turns at barriers "
            "that only one half waits at: the virtual GPU cannot prove that"
        )
    return None if schedule.stages >= 1 else f"stages = {schedule.stages} is less than one"


def load(schedule: Schedule, hardware: Hardware) -> str | None:
    """The copy engine must be there."""
    if schedule.load is Load.TMA and not hardware.has(Feature.TMA):
        return f"needs a tensor-memory accelerator, {hardware.doc} has none"
    return None


def tma_box(schedule: Schedule, _hardware: Hardware) -> str | None:
    """A tensor descriptor describes boxes of limited sides and of whole 16-byte rows."""
    if schedule.load is not Load.TMA:
        return None
    for name in ("tile_q", "tile_k", "head_pad", "value_pad"):
        if getattr(schedule, name) > TMA_BOX:
            return f"needs TMA boxes with {name} = {getattr(schedule, name)}, the most is {TMA_BOX}"
    width = min(schedule.head_pad, schedule.value_pad) * schedule.element
    if width % TMA_BYTES:
        return f"needs rows of {width} bytes, TMA copies multiples of {TMA_BYTES}"
    return None


def threads(schedule: Schedule, hardware: Hardware) -> str | None:
    """A block has a limited number of threads."""
    count = schedule.warps * hardware.warp_size
    if count > hardware.threads_per_block:
        return f"needs {count} threads, a block may have {hardware.threads_per_block}"
    return None


def matrix_shape(schedule: Schedule, hardware: Hardware) -> str | None:
    """Every warp needs a part of the tile of its own, or it repeats the work of another.

    Rows come in 16s, the height of the smallest matrix instruction, columns in 8s, its width.
    """
    unit = matrix_unit(hardware, schedule.tile_q, schedule.warps)
    grid = warp_grid(unit, schedule.tile_q, schedule.value_pad, schedule.warps)
    if grid.rows * 16 > schedule.tile_q:
        return f"leaves warps idle: {grid.rows} need 16 rows each, tile_q is {schedule.tile_q}"
    if grid.columns * 8 > schedule.tile_k:
        return f"leaves warps idle: {grid.columns} need 8 keys each, tile_k is {schedule.tile_k}"
    return None


def shared_memory(schedule: Schedule, hardware: Hardware) -> str | None:
    """A block's buffers must fit into what one block may ask for."""
    if schedule.smem_bytes > hardware.smem_per_block:
        return (
            f"needs {schedule.smem_bytes:,} bytes of shared memory, "
            f"a block may have {hardware.smem_per_block:,}"
        )
    return None


def tensor_memory(schedule: Schedule, hardware: Hardware) -> str | None:
    """Scores, weights and accumulator must fit into tensor memory."""
    if schedule.tmem_columns > hardware.tmem_columns:
        return (
            f"needs {schedule.tmem_columns} columns of tensor memory, "
            f"an SM has {hardware.tmem_columns}"
        )
    return None


def registers(schedule: Schedule, hardware: Hardware) -> str | None:
    """A thread that needs more registers than it may have spills them to memory."""
    limit = thread_limit(hardware, schedule.warps)
    if schedule.registers > limit:
        return f"needs about {schedule.registers} registers per thread, has {limit}: it would spill"
    return None


CONSTRAINTS: dict[str, Callable[[Schedule, Hardware], str | None]] = {
    "power_of_two": power_of_two,
    "stages": stages,
    "load": load,
    "tma_box": tma_box,
    "threads": threads,
    "matrix_shape": matrix_shape,
    "tensor_memory": tensor_memory,
    "shared_memory": shared_memory,
    "registers": registers,
}
"""By name, the ones that no memory could lift first."""


def first_violation(schedule: Schedule, hardware: Hardware) -> Violation | None:
    """Return the first constraint that a schedule breaks, or None."""
    for name, check in CONSTRAINTS.items():
        reason = check(schedule, hardware)
        if reason is not None:
            return Violation(name, reason)
    return None


def violations(schedule: Schedule, hardware: Hardware) -> tuple[Violation, ...]:
    """Return every constraint that a schedule breaks."""
    found = ((name, check(schedule, hardware)) for name, check in CONSTRAINTS.items())
    return tuple(Violation(name, reason) for name, reason in found if reason is not None)
