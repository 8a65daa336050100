"""Why every field of a chosen schedule is what it is, one sentence each.

In: the candidates, judged, the winner first. Out: ``Decision`` per field, and for each loser a
reason. Numbers of cycles are modelled, and the sentences say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash4gen.ir.hardware import Feature, arch_text
from flash4gen.schedule.capped import largest_exponent
from flash4gen.schedule.model import Decision, Load, TileOrder
from flash4gen.schedule.registers import measured_arch, pressure, thread_limit
from flash4gen.schedule.space import CHOICES, pad, shape_of
from flash4gen.schedule.units import matrix_unit

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import Schedule
    from flash4gen.schedule.pins import Pins, Request
    from flash4gen.schedule.search import Fitting, Judged
    from flash4gen.schedule.workload import Workload


def decisions(
    attention: Attention, work: Workload, hardware: Hardware, judged: Judged, request: Request
) -> tuple[Decision, ...]:
    """Return the reason for each field of the first fitting candidate.

    Args:
        attention: what is computed.
        work: its counts.
        hardware: the target.
        judged: the candidates that the pins allow, best first.
        request: the fields that the spec fixes, and why this family.
    """
    best = judged.fitting[0]
    schedule, pins = best.schedule, request.pins
    free = tuple(
        _decision(schedule, name, pins, _free_reason(name, judged, hardware)) for name in CHOICES
    )
    order = _decision(schedule, "order", pins, ORDER[schedule.order])
    return (
        Decision("family", schedule.family, request.reason, pinned="family" in pins),
        *free,
        order,
        Decision("head_pad", schedule.head_pad, _padding(schedule, "head", attention.head_dim)),
        Decision("value_pad", schedule.value_pad, _padding(schedule, "value", attention.value_dim)),
        *_budgets(schedule, work, hardware),
        *_eight_bit(schedule),
        *_sums(attention, schedule),
    )


ORDER = {
    TileOrder.LONGEST_FIRST: (
        "late query tiles visit more keys than early ones, so they start first and the short ones "
        "fill the tail"
    ),
    TileOrder.QUERY_TILES_FIRST: (
        "all query tiles visit about as many keys, so neighbours run together and share keys in L2"
    ),
}


def why_lost(item: Fitting, best: Fitting) -> str:
    """Return why a candidate that fits is not the winner."""
    ratio = item.cost.cycles / best.cost.cycles
    share = f"{item.cost.blocks} block{'s' if item.cost.blocks != 1 else ''} per SM"
    return f"{ratio:.2f}× the modelled cycles: bound by {item.cost.bound}, {share}"


def _decision(schedule: Schedule, name: str, pins: Pins, reason: str) -> Decision:
    value = getattr(schedule, name)
    if name in pins:
        return Decision(name, value, "pinned by the spec", pinned=True)
    return Decision(name, value, reason)


def _free_reason(name: str, judged: Judged, hardware: Hardware) -> str:
    """Return a sentence that compares the winner with its best rival in one field."""
    best = judged.fitting[0]
    value = getattr(best.schedule, name)
    if name == "load" and not hardware.has(Feature.TMA):
        return f"{hardware.doc} loads by pointer only"
    rival = next((item for item in judged.fitting if getattr(item.schedule, name) != value), None)
    if rival is None:
        return "; ".join(("no other value fits", *_next_larger(name, value, judged)))
    other = getattr(rival.schedule, name)
    ratio = f"{rival.cost.cycles / best.cost.cycles:.2f}"
    text = f"with {other}, at best {ratio}× the modelled cycles"
    if ratio == "1.00":
        text = f"with {other}, modelled equal, and it asks for no less"
    return "; ".join((text, *_next_larger(name, value, judged)))


def _next_larger(name: str, value: Any, judged: Judged) -> tuple[str, ...]:
    """Return why the next larger value is out, where it is with the rest unchanged."""
    larger = [choice for choice in CHOICES[name] if not isinstance(choice, Load) and choice > value]
    if isinstance(value, Load) or not larger:
        return ()
    best = judged.fitting[0].schedule
    for item in judged.rejected:
        if getattr(item.schedule, name) == larger[0] and _same_but(item.schedule, best, name):
            return (f"the rest as it is, {larger[0]} {item.reason}",)
    return ()


def _same_but(a: Schedule, b: Schedule, name: str) -> bool:
    return all(getattr(a, other) == getattr(b, other) for other in CHOICES if other != name)


def _eight_bit(schedule: Schedule) -> tuple[Decision, ...]:
    """Return what half the bytes decide, where elements have 8 bits."""
    if schedule.element != 1:
        return ()
    found = [Decision("element", 1, "bytes of an element of q, k and v, by the spec's dtype")]
    if schedule.promotes:
        reason = "tensor cores sum 8-bit products to 13 bits of mantissa: one key tile at a time"
        found.append(Decision("promotes", schedule.promotes, reason))
    return tuple(found)


def _sums(attention: Attention, schedule: Schedule) -> tuple[Decision, ...]:
    """Return what decides how the weights of a row are summed."""
    found = []
    if schedule.sum_parts > 1:
        reason = "wgmma gives four threads every eighth column: their sums meet after the last key"
        found.append(Decision("sum_parts", schedule.sum_parts, reason))
    if schedule.capped:
        largest = largest_exponent(attention.score)
        reason = f"no running maximum: weights lie within 2^±{largest:.1f}"
        found.append(Decision("capped", schedule.capped, reason))
    return tuple(found)


def _padding(schedule: Schedule, of: str, dim: int) -> str:
    return padding(f"{of}_dim", dim, schedule.element)


def padding(name: str, dim: int, element: int = 2) -> str:
    """Return why a width of heads is padded as it is."""
    padded = pad(dim, element)
    if padded == dim:
        return f"{name} is a power of two already"
    share = 100 * (padded - dim) / padded
    return (
        f"{name} = {dim} rounded up to a power of two, as Triton's blocks must be: "
        f"{share:.0f} % of the columns are zeros"
    )


def _budgets(schedule: Schedule, work: Workload, hardware: Hardware) -> tuple[Decision, ...]:
    """Return the planned resources, each with the limit that it keeps."""
    limit = thread_limit(hardware, schedule.warps)
    unit = matrix_unit(hardware, schedule.tile_q, schedule.warps)
    measured = pressure(hardware, shape_of(schedule), work).measured
    origin = "as compiled" if measured else "modelled from compiles"
    columns = (
        f"accumulator, scores and weights of {unit}, of {hardware.tmem_columns}"
        if schedule.tmem_columns
        else f"{unit} keeps its operands in registers and shared memory"
    )
    return (
        Decision("smem_bytes", schedule.smem_bytes, f"of {hardware.smem_per_block:,} per block"),
        Decision(
            "registers",
            schedule.registers,
            f"of {limit} per thread, {origin} for {arch_text(measured_arch(hardware))}",
        ),
        Decision("tmem_columns", schedule.tmem_columns, columns),
    )
