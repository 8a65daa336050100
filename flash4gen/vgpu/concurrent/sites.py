"""Where a running program is: the operation, and its number among those that may be redundant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.vgpu.concurrent.clocks import ALWAYS

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Operation

# Operations that do nothing but order others.
SYNCHRONISING = frozenset(
    {
        "ttng.wait_barrier",
        "ttng.arrive_barrier",
        "ttng.arrive_barrier_named",
        "ttng.wait_barrier_named",
        "ttng.fence_async_shared",
        "ttng.async_tma_store_wait",
        "ttng.tc_gen5_commit",
        "ttng.warp_group_dot_wait",
        "ttng.async_copy_mbarrier_arrive",
        "ttng.cluster_barrier",
        "ttg.async_wait",
        "ttg.async_commit_group",
    }
)


def synchronises(text: str) -> bool:
    """Whether a TTGIR text has any of these operations: without, nothing is asynchronous in it."""
    return any(f"{name} " in text for name in SYNCHRONISING)


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """One operation of the text; `candidate` is `ALWAYS` unless it may be redundant."""

    operation: Operation
    candidate: int = ALWAYS
