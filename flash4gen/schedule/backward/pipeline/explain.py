"""The backward pipeline of a choice as text and as plain data: fields, roles, memory, barriers.

In: a ``Choice`` of the warp-specialised family. Out: nothing where it has no backward pass.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flash4gen.schedule.backward.pipeline.model import RESTING, PipelineSchedule
from flash4gen.schedule.backward.pipeline.plan import pipeline_plan
from flash4gen.schedule.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.memory import MemoryPlan
    from flash4gen.schedule.model import Choice
    from flash4gen.schedule.table import Row


def pipeline_tables(choice: Choice, hardware: Hardware) -> tuple[str, ...]:
    """Return the tables of the backward pass, in lines of at most 100 columns."""
    if choice.backward is None or not isinstance(choice.backward.schedule, PipelineSchedule):
        return ()
    schedule = choice.backward.schedule
    plan = pipeline_plan(schedule)
    reasons = choice.backward.reasons
    return (
        table(
            "backward pass, field",
            ((name, f"{getattr(schedule, name)}", why) for name, why in reasons),
        ),
        table("backward pass, roles of the warps", _roles(schedule, plan)),
        table("backward pass, shared memory of one CTA, bytes", _shared(plan, hardware)),
        table("backward pass, tensor memory, columns", _tensor(plan)),
        table(
            "backward pass, barriers",
            (
                (item.name, f"{item.count}", f"arrive: {', '.join(item.arrivers)}")
                for item in plan.barriers
            ),
        ),
    )


def pipeline_data(choice: Choice) -> dict[str, Any]:
    """Return the same as plain data, under ``backward``."""
    if choice.backward is None or not isinstance(choice.backward.schedule, PipelineSchedule):
        return {}
    schedule = choice.backward.schedule
    plan = pipeline_plan(schedule)
    return {
        "backward": {
            "schedule": asdict(schedule),
            "reasons": dict(choice.backward.reasons),
            "roles": [role._asdict() for role in plan.roles],
            "buffers": {buffer.name: buffer.bytes for buffer in plan.buffers},
            "regions": [region._asdict() for region in plan.regions],
            "barriers": [asdict(barrier) for barrier in plan.barriers],
        }
    }


def _roles(schedule: PipelineSchedule, plan: MemoryPlan) -> Iterator[Row]:
    for role in plan.roles:
        kind = role.name.rstrip("0123456789")
        kind = kind if kind in ("compute", "reduce") else "other"
        registers = RESTING if role.name == "rest" else getattr(schedule, f"{kind}_registers")
        yield role.name, f"{role.warps}", f"{registers} registers a thread"


def _shared(plan: MemoryPlan, hardware: Hardware) -> Iterator[Row]:
    for buffer in plan.buffers:
        yield buffer.name, f"{buffer.bytes:,}", ""
    yield "sum", f"{plan.smem_bytes:,}", f"of {hardware.smem_per_block:,}"


def _tensor(plan: MemoryPlan) -> Iterator[Row]:
    for region in plan.regions:
        last = region.first + region.columns - 1
        yield region.name, f"{region.first} to {last}", region.inside and f"inside {region.inside}"
