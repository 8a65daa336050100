"""The barriers that the backward pipeline has with one CTA and with a pair: those of its products.

In: a ``PipelineSchedule``. Out: barriers of its ``MemoryPlan``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.schedule.blackwell.memory import Barrier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.schedule.backward.pipeline.model import PipelineSchedule


def product_barriers(s: PipelineSchedule) -> Iterator[Barrier]:
    """Yield those between the products of a step and the roles that read or write what they do."""
    compute = tuple(f"compute{part}" for part in range(s.compute_roles))
    yield Barrier("s_full", 1, 1, ("mma",))
    yield Barrier("p_ready", 1, len(compute), compute)
    yield Barrier("dp_full", 1, 1, ("mma",))
    yield Barrier("ds_ready", 1, len(compute), compute)
    yield Barrier("dq_full", 1, 1, ("mma",))
    yield Barrier("dq_empty", 1, 1, ("reduce",))
    yield Barrier("done", 1, 1, ("mma",))
