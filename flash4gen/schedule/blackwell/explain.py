"""A ``blackwell`` choice as text and as plain data: what, why, the memory plan, and the others.

In: a ``Choice`` of this family with what it was made from. Out: text for people, or a dictionary
that ``json`` can write. Cycles of a step are modelled (``compared``), and both say so.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flash4gen.schedule.blackwell.compared import compared
from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.blackwell.registers import FIELDS, equation
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.schedule.model import Schedule
from flash4gen.schedule.table import listing, table
from flash4gen.schedule.text import difference, shape_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.memory import MemoryPlan, Role
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.model import Choice, Ranked, Rejected
    from flash4gen.schedule.table import Row


def explain(
    choice: Choice, schedule: BlackwellSchedule, attention: Attention, hardware: Hardware
) -> str:
    """Return the explanation of a choice as plain text, in lines of at most 100 columns."""
    plan = memory_plan(schedule)
    tried = len(choice.ranked) + len(choice.rejected)
    steps = compared(choice, schedule, attention, hardware)
    sections = (
        f"{attention.name} on {hardware.name} ({hardware.doc}): the blackwell family\n"
        f"  {shape_text(schedule)}",
        table(
            "field",
            (
                (d.field, f"{d.value}, pinned" if d.pinned else f"{d.value}", d.reason)
                for d in choice.decisions
            ),
        ),
        table(
            f"roles of the warps: {equation(schedule.query_tiles, hardware)} registers",
            ((role.name, f"{role.warps}", remark) for role, remark in _roles(schedule, plan)),
        ),
        table("shared memory of one CTA, bytes", _shared_rows(schedule, plan, hardware)),
        table("tensor memory, columns", _tensor_rows(plan)),
        table(
            "barriers",
            (
                (item.name, f"{item.count}", f"arrive: {', '.join(item.arrivers)}")
                for item in plan.barriers
            ),
        ),
        *_short(schedule, hardware),
        table("a step of 256 queries and 128 keys, modelled cycles", steps.rows()),
        listing(
            f"others that fit, {len(choice.ranked) - 1} of {tried}, and what speaks against them",
            ((_changes(item, schedule), steps.reason(item)) for item in choice.ranked[1:]),
        ),
        listing(
            f"rejected, {len(choice.rejected)} of {tried}",
            (
                (_changes(item, schedule), f"{item.constraint}: {item.reason}")
                for item in choice.rejected
            ),
        ),
    )
    return "\n\n".join(sections) + "\n"


def explanation(
    choice: Choice, schedule: BlackwellSchedule, attention: Attention, hardware: Hardware
) -> dict[str, Any]:
    """Return the explanation of a choice as plain data."""
    plan = memory_plan(schedule)
    steps = compared(choice, schedule, attention, hardware)
    return {
        "attention": attention.name,
        "target": hardware.name,
        "schedule": asdict(schedule),
        "decisions": [asdict(decision) for decision in choice.decisions],
        "modelled": steps.data(),
        "budget": {
            "shared_memory": {
                "planned": schedule.smem_bytes,
                "limit": hardware.smem_per_block,
                "buffers": {buffer.name: buffer.bytes for buffer in plan.buffers},
            },
            "registers": {
                "rule": equation(schedule.query_tiles, hardware),
                **{name: getattr(schedule, name) for name in FIELDS},
            },
            "tensor_memory_columns": {
                "planned": schedule.tmem_columns,
                "limit": hardware.tmem_columns,
                "regions": [region._asdict() for region in plan.regions],
            },
            "roles": [role._asdict() for role in plan.roles],
            "barriers": [asdict(barrier) for barrier in plan.barriers],
        },
        "short_queries": _short_budget(schedule),
        "runners_up": [
            {
                "schedule": _changes(item, schedule),
                "reason": steps.reason(item),
                "modelled_step_cycles": steps.of(item.schedule),
            }
            for item in choice.ranked[1:]
        ],
        "candidates": len(choice.ranked) + len(choice.rejected),
        "rejected": _rejected(choice, schedule),
    }


def _short(schedule: BlackwellSchedule, hardware: Hardware) -> tuple[str, ...]:
    """Return what is different in the kernel for short queries, if there is one."""
    one = one_tile(schedule)
    if one is None:
        return ()
    rows = [(role.name, f"{role.warps}", remark) for role, remark in _roles(one, memory_plan(one))]
    rows += [
        ("shared memory", f"{one.smem_bytes:,}", f"of {hardware.smem_per_block:,}"),
        ("tensor memory", f"{one.tmem_columns}", f"of {hardware.tmem_columns}"),
    ]
    rule = equation(1, hardware)
    return (table(f"one query tile, for up to {schedule.short_queries} rows: {rule}", rows),)


def _roles(schedule: BlackwellSchedule, plan: MemoryPlan) -> Iterator[tuple[Role, str]]:
    for role in plan.roles:
        kind = role.name.rstrip("01")
        kind = kind if kind in ("softmax", "correction") else "other"
        yield role, f"{getattr(schedule, f'{kind}_registers')} registers a thread"


def _short_budget(schedule: BlackwellSchedule) -> dict[str, Any] | None:
    one = one_tile(schedule)
    if one is None:
        return None
    return {
        "rows": schedule.short_queries,
        "shared_memory": one.smem_bytes,
        "tensor_memory_columns": one.tmem_columns,
        "registers": {name: getattr(one, name) for name in FIELDS},
    }


def _shared_rows(
    schedule: BlackwellSchedule, plan: MemoryPlan, hardware: Hardware
) -> Iterator[Row]:
    for buffer in plan.buffers:
        yield buffer.name, f"{buffer.bytes:,}", ""
    yield "sum", f"{schedule.smem_bytes:,}", f"of {hardware.smem_per_block:,}"


def _tensor_rows(plan: MemoryPlan) -> Iterator[Row]:
    for region in plan.regions:
        last = region.first + region.columns - 1
        yield region.name, f"{region.first} to {last}", region.inside and f"inside {region.inside}"


def _changes(item: Ranked | Rejected, best: BlackwellSchedule) -> str:
    """Return what another schedule changes; all of the log are of this family."""
    assert not isinstance(item.schedule, Schedule)
    return difference(item.schedule, best)


def _rejected(choice: Choice, best: BlackwellSchedule) -> dict[str, dict[str, Any]]:
    """Return what was rejected, by rule."""
    counts = Counter(item.constraint for item in choice.rejected)
    return {
        name: {
            "count": count,
            "nearest": [
                {"schedule": _changes(item, best), "reason": item.reason}
                for item in choice.rejected
                if item.constraint == name
            ],
        }
        for name, count in counts.items()
    }
