"""The verifier of a memory plan: nothing overlaps, and barriers count the roles that arrive.

In: a ``MemoryPlan``, also one that ``memory_plan`` did not make. Out: what is wrong with it.
"""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.blackwell.memory import Barrier, MemoryPlan, Region

PHASED = 2**20 - 1
"""The most arrivals that an mbarrier counts (PTX ISA)."""


def faults(plan: MemoryPlan, hardware: Hardware) -> tuple[str, ...]:
    """Return what is wrong with a plan, in words; nothing if it is sound."""
    return (
        *_repeated(plan),
        *_regions(plan.regions, hardware),
        *(fault for barrier in plan.barriers for fault in _barrier(barrier, plan)),
        *_smem(plan, hardware),
    )


def _repeated(plan: MemoryPlan) -> Iterator[str]:
    for kind, items in (
        ("buffer", plan.buffers),
        ("region", plan.regions),
        ("barrier", plan.barriers),
        ("role", plan.roles),
    ):
        names = Counter(item.name for item in items)
        yield from (f"two {kind}s are called {name}" for name, n in names.items() if n > 1)


def _regions(regions: tuple[Region, ...], hardware: Hardware) -> Iterator[str]:
    by_name = {region.name: region for region in regions}
    for region in regions:
        if region.columns < 1 or region.first < 0 or _end(region) > hardware.tmem_columns:
            yield (
                f"region {region.name} has columns {region.first} to {_end(region) - 1}, an SM has "
                f"{hardware.tmem_columns}"
            )
        outer = by_name.get(region.inside)
        if region.inside and (
            outer is None or region.first < outer.first or _end(region) > _end(outer)
        ):
            yield f"region {region.name} does not lie inside {region.inside}"
    for one, other in combinations(regions, 2):
        overlap = one.first < _end(other) and other.first < _end(one)
        if overlap and one.inside != other.name and other.inside != one.name:
            yield f"regions {one.name} and {other.name} overlap"


def _end(region: Region) -> int:
    return region.first + region.columns


def _barrier(barrier: Barrier, plan: MemoryPlan) -> Iterator[str]:
    if barrier.count < 1:
        yield f"there is no barrier {barrier.name}"
    if not 0 < barrier.arrivals <= PHASED or barrier.arrivals != len(barrier.arrivers):
        yield (
            f"barrier {barrier.name} counts {barrier.arrivals} arrivals, and "
            f"{len(barrier.arrivers)} roles arrive"
        )
    names = {role.name for role in plan.roles}
    kinds = names | {name.rstrip("0123456789") for name in names}
    for arriver in barrier.arrivers:
        if arriver not in kinds:
            yield f"{arriver} arrives at barrier {barrier.name}, and no role is called so"


def _smem(plan: MemoryPlan, hardware: Hardware) -> Iterator[str]:
    for buffer in plan.buffers:
        if buffer.bytes < 1:
            yield f"buffer {buffer.name} has {buffer.bytes} bytes"
    if plan.smem_bytes > hardware.smem_per_block:
        limit = hardware.smem_per_block
        yield f"buffers have {plan.smem_bytes:,} bytes, a block may have {limit:,}"
