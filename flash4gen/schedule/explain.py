"""The choice as text and as plain data: what was chosen, why, what it needs, and who came next.

In: a ``Choice`` with what it was made from. Out: text for people, or a dictionary that ``json`` can
write. Cycles are modelled, and both say so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flash4gen.schedule.backward.model import BackwardSchedule, LoopShape
from flash4gen.schedule.backward.pipeline.explain import pipeline_data, pipeline_tables
from flash4gen.schedule.blackwell import explain as blackwell
from flash4gen.schedule.constraints import CONSTRAINTS
from flash4gen.schedule.cost import Cost, cost
from flash4gen.schedule.memory import shared_memory
from flash4gen.schedule.model import Schedule, as_portable
from flash4gen.schedule.registers import thread_limit
from flash4gen.schedule.space import shape_of
from flash4gen.schedule.table import table
from flash4gen.schedule.text import shape_text
from flash4gen.schedule.workload import NOMINAL_LENGTH, workload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.model import BackwardChoice
    from flash4gen.schedule.model import AnySchedule, Choice, Ranked, Rejected
    from flash4gen.schedule.table import Row
    from flash4gen.schedule.workload import TileRead

RUNNERS_UP = 5
"""Losers that are shown; they differ from each other in tile or warps."""

NEAREST = 2
"""Rejected candidates that are shown per constraint."""


def explain(choice: Choice, attention: Attention, hardware: Hardware) -> str:
    """Return the explanation of a choice as plain text, in lines of at most 100 columns.

    Args:
        choice: the choice.
        attention: what it was made for.
        hardware: the target it was made for.
    """
    if not isinstance(choice.schedule, Schedule):
        text = blackwell.explain(choice, choice.schedule, attention, hardware)
        gradients = (*pipeline_tables(choice, hardware), *backward_tables(choice))
        return "\n\n".join((text.rstrip("\n"), *gradients)) + "\n"
    data = explanation(choice, attention, hardware)
    sections = (
        _headline(choice, attention, hardware),
        table(
            "field",
            ((d.field, _value(d.value, pinned=d.pinned), d.reason) for d in choice.decisions),
        ),
        table("budget of one block", _budget_rows(data["budget"])),
        table(
            f"one step of {choice.schedule.tile_k} keys, modelled cycles of one SM",
            ((name, f"{cycles:,.0f}", "") for name, cycles in data["step"].items()),
        ),
        table(
            "runners-up, by modelled cycles",
            ((item["schedule"], "", item["reason"]) for item in data["runners_up"]),
        ),
        table(
            f"rejected, {len(choice.rejected)} of {_tried(choice)}, and which came nearest",
            _rejected_rows(data),
        ),
    )
    return "\n\n".join((*sections, *backward_tables(choice))) + "\n"


def backward_tables(choice: Choice) -> tuple[str, ...]:
    """Return the table of the portable backward kernels, if there are any."""
    loops = _loops(choice)
    if loops is None:
        return ()
    rows = ((name, _shape(getattr(loops.schedule, name)), why) for name, why in loops.reasons)
    title = "backward kernels, by what each is for"
    beside = choice.backward is not loops
    return (table("portable sums beside the pipeline, by kernel" if beside else title, rows),)


def _loops(choice: Choice) -> BackwardChoice | None:
    """Return the shapes of portable backward kernels: all of them, or those beside a pipeline."""
    if choice.backward is None or isinstance(choice.backward.schedule, BackwardSchedule):
        return choice.backward
    return choice.backward.beside


def _shape(value: LoopShape | int | str) -> str:
    return value.text if isinstance(value, LoopShape) else f"{value}"


def backward_data(choice: Choice) -> dict[str, Any]:
    """Return the same as plain data: an entry ``backward``, if there is anything in it."""
    loops = _loops(choice)
    if loops is None:
        return {}
    name = "backward" if choice.backward is loops else "beside"
    return {name: {"schedule": asdict(loops.schedule), "reasons": dict(loops.reasons)}}


def explanation(choice: Choice, attention: Attention, hardware: Hardware) -> dict[str, Any]:
    """Return the explanation of a choice as plain data."""
    schedule = choice.schedule
    if not isinstance(schedule, Schedule):
        data = blackwell.explanation(choice, schedule, attention, hardware)
        return data | pipeline_data(choice) | backward_data(choice)
    work = workload(attention)
    spent = cost(schedule, work, hardware)
    return {
        "attention": attention.name,
        "target": hardware.name,
        "schedule": asdict(schedule),
        "decisions": [asdict(decision) for decision in choice.decisions],
        "modelled": {
            "cycles_per_head": round(spent.cycles),
            "nominal_length": NOMINAL_LENGTH,
            "bound_by": spent.bound,
            "blocks_per_sm": spent.blocks,
        },
        "budget": _budget(schedule, hardware, spent, work.reads),
        "step": {name: round(cycles) for name, cycles in _step(spent)},
        "runners_up": [
            {
                "schedule": shape_text(item.schedule),
                "cycles_per_head": round(item.cycles or 0),
                "reason": item.reason,
            }
            for item in _runners_up(choice)
        ],
        "candidates": _tried(choice),
        "rejected": _rejected(choice),
    } | backward_data(choice)


def _headline(choice: Choice, attention: Attention, hardware: Hardware) -> str:
    return (
        f"{attention.name} on {hardware.name} ({hardware.doc}): {shape_text(choice.schedule)}, "
        f"the best of {len(choice.ranked)} schedules that fit"
    )


def _value(value: int | str, *, pinned: bool) -> str:
    return f"{value}, pinned" if pinned else f"{value}"


def _budget(
    schedule: Schedule, hardware: Hardware, spent: Cost, reads: tuple[TileRead, ...]
) -> dict[str, dict[str, Any]]:
    """Return planned resources and limits; shared memory with its buffers."""
    shape, widths = shape_of(schedule), (schedule.head_pad, schedule.value_pad)
    buffers = shared_memory(hardware, shape, *widths, reads, element=schedule.element)
    return {
        "shared_memory": {
            "planned": schedule.smem_bytes,
            "limit": hardware.smem_per_block,
            "buffers": {buffer.name: buffer.bytes for buffer in buffers},
        },
        "registers": {
            "planned": schedule.registers,
            "limit": thread_limit(hardware, schedule.warps),
        },
        "tensor_memory_columns": {
            "planned": schedule.tmem_columns,
            "limit": hardware.tmem_columns,
        },
        "threads": {
            "planned": schedule.warps * hardware.warp_size,
            "limit": hardware.threads_per_block,
        },
        "blocks_per_sm": {"planned": spent.blocks},
    }


def _budget_rows(budget: dict[str, dict[str, Any]]) -> Iterator[Row]:
    for name, entry in budget.items():
        limit = f"of {entry['limit']:,}" if "limit" in entry else ""
        yield name.replace("_", " "), f"{entry['planned']:,}", limit
        for buffer, size in entry.get("buffers", {}).items():
            yield f"  {buffer}", f"{size:,}", ""


def _step(spent: Cost) -> Iterator[tuple[str, float]]:
    yield from spent.units
    yield "serial chain of one block", spent.chain
    yield "step, all blocks overlapped", spent.step


def _runners_up(choice: Choice) -> list[Ranked]:
    """Return the best candidates that differ from the winner and each other in tile or warps."""
    seen = {_tile(choice.schedule)}
    shown: list[Ranked] = []
    for item in choice.ranked[1:]:
        if _tile(item.schedule) not in seen:
            seen.add(_tile(item.schedule))
            shown.append(item)
    return shown[:RUNNERS_UP]


def _tile(choice: AnySchedule) -> tuple[int, int, int]:
    schedule = as_portable(choice)
    return schedule.tile_q, schedule.tile_k, schedule.warps


def _tried(choice: Choice) -> int:
    return len(choice.ranked) + len(choice.rejected)


def _rejected(choice: Choice) -> dict[str, dict[str, Any]]:
    """Return, per constraint, how many candidates it rejects and which come nearest."""
    counts = Counter(item.constraint for item in choice.rejected)
    order = [*CONSTRAINTS, *sorted(set(counts) - set(CONSTRAINTS))]
    return {
        name: {
            "count": counts[name],
            "nearest": [
                {"schedule": shape_text(item.schedule), "reason": item.reason}
                for item in _nearest(choice, name)
            ],
        }
        for name in order
        if counts[name]
    }


def _nearest(choice: Choice, constraint: str) -> list[Rejected]:
    """Return the candidates of one constraint that exceed it by least, largest tiles first."""
    items = [item for item in choice.rejected if item.constraint == constraint]
    needs = {"registers": "registers", "shared_memory": "smem_bytes"}
    need = needs.get(constraint)

    def key(item: Rejected) -> tuple[int, int]:
        area = item.schedule.tile_q * item.schedule.tile_k
        return (getattr(item.schedule, need) if need else 0, -area)

    return sorted(items, key=key)[:NEAREST]


def _rejected_rows(data: dict[str, Any]) -> Iterator[Row]:
    for name, entry in data["rejected"].items():
        shown = [f"{item['schedule']}: {item['reason']}" for item in entry["nearest"]]
        yield name, str(entry["count"]), shown[0]
        for line in shown[1:]:
            yield "", "", line
