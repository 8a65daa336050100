"""The search of the portable family: enumerate, reject with a reason, rank, keep the log.

In: an ``Attention``, a ``Hardware``, pins, and schedules that a build has found wanting. Out: a
``Choice`` with its whole log, or a diagnostic when the pins, or the target, leave nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.capped import sums_with_ones
from flash4gen.schedule.constraints import Violation, first_violation
from flash4gen.schedule.cost import cost
from flash4gen.schedule.decisions import decisions, why_lost
from flash4gen.schedule.memory import shared_memory, tensor_columns
from flash4gen.schedule.model import (
    BUILD,
    Choice,
    Family,
    Load,
    Ranked,
    Rejected,
    Schedule,
    TileOrder,
)
from flash4gen.schedule.pins import misfit
from flash4gen.schedule.registers import pressure
from flash4gen.schedule.space import Shape, shape_of, shapes
from flash4gen.schedule.units import ONES, matrix_unit, promotes, sum_parts, whole_tiles
from flash4gen.schedule.workload import Workload, workload

if TYPE_CHECKING:
    from flash4gen.diagnostics.model import Diagnostic
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.cost import Cost
    from flash4gen.schedule.pins import Pins, Request


GRADIENTS = "gradients"
"""The constraint that a backward pass puts on the forward one."""

IN_REGISTERS = (
    "the kernels of the gradients would hold whole tiles in registers, and spill: mma.sync takes "
    "both factors of a product from there"
)
"""Why modules with a backward pass copy tiles by TMA only where products read shared memory."""

BY_ADDRESS = (
    "the kernels of the gradients, which load as this one does, would take up to twice as many "
    "instructions"
)
"""Why modules with a backward pass copy tiles by TMA where they can."""

BLOCKS = "whole tiles would bring in what lies in a block behind the last key"
"""Why rows of blocks are loaded one by one, also where a block holds whole tiles."""


class Fitting(NamedTuple):
    """A candidate that satisfies every constraint, and what it costs."""

    schedule: Schedule
    cost: Cost


class Unfit(NamedTuple):
    """A candidate that breaks a constraint."""

    schedule: Schedule
    constraint: str
    reason: str


class Judged(NamedTuple):
    """All candidates, judged: those that fit, best first, and those that do not."""

    fitting: tuple[Fitting, ...]
    rejected: tuple[Unfit, ...]


def search(
    attention: Attention,
    hardware: Hardware,
    request: Request,
    exclude: tuple[tuple[Schedule, str], ...] = (),
) -> Choice | Diagnostic:
    """Choose the portable forward schedule of an attention on a target.

    Args:
        attention: what to compute.
        hardware: the target.
        request: the pins, and why this family.
        exclude: schedules that were compiled and found unfit, each with the reason.

    Returns:
        The choice and its log; a diagnostic if nothing fits.
    """
    work = workload(attention)
    pins = {name: value for name, value in request.pins.items() if name != "family"}
    out = {shape_of(schedule): reason for schedule, reason in exclude}
    everything = judge(work, hardware, _order(work, pins), out)
    judged = _pinned(everything, pins)
    if not judged.fitting and (pins or not _was_built(judged)):
        # Pins and targets are refused for facts, not for the margin of the register model, which
        # knows no head wider than 256: the build will tell.
        hopeful = judge(work, hardware, _order(work, pins), out, optimistic=True)
        judged = _pinned(hopeful if pins else _leanest_first(hopeful), pins)
    if not judged.fitting:
        closest = min(judged.rejected, key=lambda item: _miss(item, hardware))
        return misfit(attention, hardware, closest, _nearest(everything, pins))
    if work.differentiable:
        judged = _in_boxes(judged)
    best = judged.fitting[0]
    return Choice(
        schedule=best.schedule,
        decisions=decisions(attention, work, hardware, judged, request),
        ranked=tuple(
            Ranked(item.schedule, item.cost.cycles, why_lost(item, best) if n else "")
            for n, item in enumerate(judged.fitting)
        ),
        rejected=tuple(Rejected(*item) for item in judged.rejected),
    )


def _whole_tiles(hardware: Hardware, work: Workload) -> bool:
    return whole_tiles(hardware, max(work.head_pad, work.value_pad))


def _in_boxes(judged: Judged) -> Judged:
    """Return candidates that copy tiles by TMA, if there are any, and no others.

    The kernels of gradients bring tiles in as this one does; they are three quarters of the work.
    """
    boxes = tuple(item for item in judged.fitting if item.schedule.load is Load.TMA)
    if not boxes:
        return judged
    others = (it.schedule for it in judged.fitting if it.schedule.load is not Load.TMA)
    left = tuple(Unfit(schedule, GRADIENTS, BY_ADDRESS) for schedule in others)
    return Judged(boxes, (*judged.rejected, *left))


def judge(
    work: Workload,
    hardware: Hardware,
    order: TileOrder,
    exclude: dict[Shape, str],
    *,
    optimistic: bool = False,
) -> Judged:
    """Judge the whole search space: the ranking is by modelled cycles, then by smaller needs.

    ``optimistic`` lets candidates pass that were never compiled and may well spill.
    """
    fitting: list[Fitting] = []
    rejected: list[Unfit] = []
    for shape in shapes():
        schedule = estimate(work, hardware, shape, order, optimistic=optimistic)
        violation = first_violation(schedule, hardware)
        if violation is None and work.paged and shape.load is Load.TMA:
            violation = Violation("load", BLOCKS)
        if violation is not None:
            rejected.append(Unfit(schedule, violation.constraint, violation.reason))
        elif work.differentiable and shape.load is Load.TMA and not _whole_tiles(hardware, work):
            rejected.append(Unfit(schedule, GRADIENTS, IN_REGISTERS))
        elif shape in exclude:
            rejected.append(Unfit(schedule, BUILD, exclude[shape]))
        else:
            fitting.append(Fitting(schedule, cost(schedule, work, hardware)))
    fitting.sort(key=_rank)
    return Judged(tuple(fitting), tuple(rejected))


def estimate(
    work: Workload,
    hardware: Hardware,
    shape: Shape,
    order: TileOrder,
    *,
    optimistic: bool = False,
) -> Schedule:
    """Return the schedule of a shape with its planned memory and registers."""
    widths = work.head_pad, work.value_pad
    unit = matrix_unit(hardware, shape.tile_q, shape.warps)
    capped = work.capped and sums_with_ones(unit)
    ones = ONES if capped else 0
    buffers = shared_memory(hardware, shape, *widths, work.reads, element=work.element, ones=ones)
    needed = pressure(hardware, shape, work, optimistic=optimistic)
    return Schedule(
        family=Family.PORTABLE,
        hardware=hardware.name,
        tile_q=shape.tile_q,
        tile_k=shape.tile_k,
        warps=shape.warps,
        stages=shape.stages,
        load=shape.load,
        order=order,
        head_pad=work.head_pad,
        value_pad=work.value_pad,
        smem_bytes=sum(buffer.bytes for buffer in buffers),
        registers=needed.registers,
        tmem_columns=tensor_columns(hardware, shape, work.value_pad + ones, work.element),
        element=work.element,
        promotes=promotes(unit, work.element),
        sum_parts=sum_parts(unit, shape.load, work.element),
        capped=capped,
    )


def _leanest_first(judged: Judged) -> Judged:
    """Return candidates that may spill in the order of their need of registers."""
    leanest = sorted(judged.fitting, key=lambda item: (item.schedule.registers, _rank(item)))
    return Judged(tuple(leanest), judged.rejected)


def _was_built(judged: Judged) -> bool:
    """Whether a candidate passed every constraint, and was compiled and found wanting."""
    return any(item.constraint == BUILD for item in judged.rejected)


def _order(work: Workload, pins: Pins) -> TileOrder:
    if "order" in pins:
        return TileOrder(pins["order"])
    return TileOrder.LONGEST_FIRST if work.grows() else TileOrder.QUERY_TILES_FIRST


def _rank(item: Fitting) -> tuple[float, int, int, Shape]:
    """Sort key: cycles; equals by less shared memory, fewer registers, then a fixed order."""
    schedule = item.schedule
    return (round(item.cost.cycles), schedule.smem_bytes, schedule.registers, shape_of(schedule))


def _pinned(judged: Judged, pins: Pins) -> Judged:
    """Return the candidates that the pins allow."""
    free = {name: value for name, value in pins.items() if name != "order"}
    if not free:
        return judged
    return Judged(
        tuple(item for item in judged.fitting if _changes(item.schedule, free) == 0),
        tuple(item for item in judged.rejected if _changes(item.schedule, free) == 0),
    )


def _changes(schedule: Schedule, pins: Pins) -> int:
    return sum(getattr(schedule, name) != value for name, value in pins.items())


def _nearest(judged: Judged, pins: Pins) -> dict[str, int | str] | None:
    """Return the changed pins of the fitting candidate that changes fewest, the best of them."""
    if not judged.fitting:
        return None
    nearest = min(judged.fitting, key=lambda item: _changes(item.schedule, pins)).schedule
    return {
        name: getattr(nearest, name)
        for name, value in pins.items()
        if getattr(nearest, name) != value
    }


def _miss(item: Unfit, hardware: Hardware) -> tuple[float, Shape]:
    """Sort key of near misses: the share by which a limit is exceeded, then smaller tiles."""
    schedule = item.schedule
    shares = {
        "shared_memory": schedule.smem_bytes / hardware.smem_per_block,
        "registers": schedule.registers / hardware.registers_per_thread,
        "tensor_memory": schedule.tmem_columns / max(1, hardware.tmem_columns),
        GRADIENTS: 1.0,
        BUILD: 1.0,
    }
    return shares.get(item.constraint, float("inf")), shape_of(schedule)
