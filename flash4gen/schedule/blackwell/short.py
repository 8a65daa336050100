"""The kernel with one query tile that a module launches for short queries, as a schedule.

In: a schedule with two query tiles. Out: the schedule of its second kernel, whose memory plan and
registers are judged like those of any other. All queries of a head, or of packed heads, fit into
one tile then; the second one would do nothing but take up warps, registers and columns.
(FlashAttention-4 does the same: one stage of queries where they have 128 rows at most.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.blackwell.model import TensorPlan

if TYPE_CHECKING:
    from flash4gen.schedule.blackwell.model import BlackwellSchedule

PLANS = (TensorPlan.P_IN_S, TensorPlan.SHARED_S, TensorPlan.DISJOINT)
"""Plans that one query tile can have: it takes its part, and waits for itself at most."""


def able(query_tiles: int, ctas: int, plan: TensorPlan) -> bool:
    """Whether a schedule can have a second kernel with one query tile."""
    return query_tiles > 1 and ctas == 1 and plan in PLANS


def one_tile(schedule: BlackwellSchedule) -> BlackwellSchedule | None:
    """Return the schedule of the kernel for short queries; None if there is none.

    It has the plan, the ring and the techniques of the other: the same query has the same bits.
    """
    if not schedule.short_queries:
        return None
    draft = replace(
        schedule,
        query_tiles=1,
        short_queries=0,
        softmax_registers=schedule.short_softmax_registers,
        correction_registers=schedule.short_correction_registers,
        other_registers=schedule.short_other_registers,
        short_softmax_registers=0,
        short_correction_registers=0,
        short_other_registers=0,
    )
    plan = memory_plan(draft)
    return replace(draft, smem_bytes=plan.smem_bytes, tmem_columns=plan.tmem_columns)
