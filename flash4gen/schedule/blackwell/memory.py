"""The memory plan of a ``blackwell`` schedule: buffers, tensor memory, barriers, and who arrives.

In: a schedule, of which only the free fields are read. Out: named parts with their sizes, those of
one CTA. The render prints allocations of these shapes, and the build holds the sum against the
compiled fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flash4gen.schedule.blackwell.model import Dispatch, TensorPlan
from flash4gen.schedule.memory import Buffer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.schedule.blackwell.model import BlackwellSchedule

TILE = 128
"""Rows of a query tile, the lanes of tensor memory; and keys of a step, the columns of a score."""

ELEMENT = 2
"""Bytes of one fp16 or bf16 element: outputs have no other."""

STAGED_COLUMNS = 128
"""Columns of an output tile that lie in one staging buffer; wider ones go out in parts."""

COLUMN = 4
"""Bytes that a lane has in a column of tensor memory."""

BARRIER = 8
"""Bytes of one mbarrier."""

SLACK = 1024
"""Bytes for alignment. At head_dim 128, with two tiles and three slots, Triton 3.9 asks for 396
bytes more than the buffers and barriers have (measured by compiling)."""

REQUEST = 16
"""Bytes of an answer of cluster launch control."""

GROUP = 4
"""Warps of a group: registers are handed out to groups of this many."""


class Role(NamedTuple):
    """Warps that do one thing. Roles of one warp each share a group's registers."""

    name: str
    warps: int


class Region(NamedTuple):
    """Columns of tensor memory; ``inside`` names the region whose columns it reuses."""

    name: str
    first: int
    columns: int
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Barrier:
    """An array of mbarriers: what one phase of each waits for.

    ``arrivals`` is the count that it is initialised with, ``arrivers`` the roles that arrive, once
    a phase each: by an instruction, by the bytes of a copy, or by the commit of a product. Both
    are those of one CTA.
    """

    name: str
    count: int
    arrivals: int
    arrivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """All of it.

    Attributes:
        roles: the warps of a CTA; the correction is Triton's default partition.
        buffers: shared memory, by name.
        regions: tensor memory, by name.
        barriers: mbarriers, by name.
    """

    roles: tuple[Role, ...]
    buffers: tuple[Buffer, ...]
    regions: tuple[Region, ...]
    barriers: tuple[Barrier, ...]

    @property
    def smem_bytes(self) -> int:
        """Shared memory of one CTA."""
        return sum(buffer.bytes for buffer in self.buffers)

    @property
    def tmem_columns(self) -> int:
        """Columns of tensor memory of one CTA: Triton allocates a power of two, 32 at least."""
        needed = max(region.first + region.columns for region in self.regions)
        return max(32, 1 << (needed - 1).bit_length())


def memory_plan(schedule: BlackwellSchedule) -> MemoryPlan:
    """Return the memory plan of a schedule."""
    barriers = tuple(_barriers(schedule))
    return MemoryPlan(
        roles=roles(schedule),
        buffers=_buffers(schedule, barriers),
        regions=tuple(_regions(schedule)),
        barriers=barriers,
    )


def roles(schedule: BlackwellSchedule) -> tuple[Role, ...]:
    """Return the roles of a CTA's warps."""
    softmax = (Role(f"softmax{tile}", GROUP) for tile in range(schedule.query_tiles))
    return (
        Role("correction", GROUP),
        *softmax,
        Role("mma", 1),
        Role("load", 1),
        Role("store", 1),
    )


def _buffers(schedule: BlackwellSchedule, barriers: tuple[Barrier, ...]) -> tuple[Buffer, ...]:
    out = TILE * min(schedule.value_pad, STAGED_COLUMNS) * ELEMENT
    plan = [
        Buffer("q", schedule.query_tiles * TILE * schedule.head_pad * schedule.element),
        *_rings(schedule),
        Buffer("staged out", schedule.staging * out),
        *_statistics(schedule),
        Buffer("barriers", BARRIER * sum(barrier.count for barrier in barriers)),
        Buffer("alignment", SLACK),
    ]
    if schedule.dispatch is Dispatch.CLC:
        plan.append(Buffer("launch control", REQUEST))
    return tuple(plan)


def _statistics(schedule: BlackwellSchedule) -> Iterator[Buffer]:
    """Yield what softmax and correction tell each other about each row."""
    if schedule.normalised:
        yield Buffer("row statistics", schedule.query_tiles * TILE * 4)


def _rings(schedule: BlackwellSchedule) -> Iterator[Buffer]:
    """Yield the slots that keys and values come through.

    A CTA of a pair holds half of the keys of a key tile, but half of the columns of a value tile: a
    slot is for one of them only, and they take turns.
    """
    sizes = [TILE * width * schedule.element for width in (schedule.head_pad, schedule.value_pad)]
    if schedule.ctas == 1:
        yield Buffer("ring of k and v", schedule.stages * max(sizes))
        return
    for name, size in zip(("k", "v"), sizes, strict=True):
        yield Buffer(f"ring of {name}", schedule.stages // 2 * (size // schedule.ctas))


def score_slots(schedule: BlackwellSchedule) -> int:
    """Return how many score tiles lie in tensor memory."""
    match schedule.plan:
        case TensorPlan.SHARED_S:
            return 1
        case TensorPlan.DOUBLE_S:
            return 2
    return schedule.query_tiles


def _regions(schedule: BlackwellSchedule) -> Iterator[Region]:
    """Yield scores, weights and accumulators. A 32-bit element takes a column, others a share.

    Weights inside a score lie in its upper half: a softmax thread has read its whole row before it
    writes there, and a warp touches no lanes but its own.
    """
    weights = TILE * schedule.element // COLUMN
    slots = score_slots(schedule)
    inside = schedule.plan in (TensorPlan.P_IN_S, TensorPlan.DOUBLE_S)
    for slot in range(slots):
        name = "s" if schedule.plan is TensorPlan.SHARED_S else f"s{slot}"
        yield Region(name, slot * TILE, TILE)
        if inside:
            yield Region(f"p{slot}", slot * TILE + TILE // 2, weights, inside=name)
    first = slots * TILE
    if not inside:
        for tile in range(schedule.query_tiles):
            yield Region(f"p{tile}", first, weights)
            first += weights
    for tile in range(schedule.query_tiles):
        yield Region(f"o{tile}", first, schedule.value_pad)
        first += schedule.value_pad


def _barriers(schedule: BlackwellSchedule) -> Iterator[Barrier]:
    """Yield the barriers. ``softmax`` stands for the softmax role of the barrier's own tile."""
    tiles = schedule.query_tiles
    # One "scores are there" per tile also where both share a slot: a tile that waits on the other's
    # would take the other's scores for its own.
    yield _barrier("s_full", max(score_slots(schedule), tiles), "mma")
    # With two slots of one tile softmax may be a step ahead of the products: one for each slot.
    slots = 2 if schedule.plan is TensorPlan.DOUBLE_S else tiles
    corrected = ("correction",) if schedule.normalised else ()
    yield _barrier("p_ready", slots, "softmax", *corrected)
    if schedule.early:
        yield _barrier("p_last", slots, "softmax")
    yield _barrier("o_full", tiles, "mma")
    if not schedule.normalised:
        # Else the correction lets the first weights of the next work tile pass when O is read.
        yield _barrier("o_empty", tiles, "correction")
    if schedule.plan in (TensorPlan.SHARED_S, TensorPlan.DISJOINT):
        yield _barrier("s_empty", tiles, "softmax")
    if schedule.plan is not TensorPlan.P_IN_S:
        yield _barrier("pv_done", tiles, "mma")
    if schedule.normalised:
        yield _barrier("stats_full", tiles, "softmax")
        yield _barrier("stats_empty", tiles, "correction")
    yield _barrier("q_full", tiles, "load")
    yield _barrier("q_empty", tiles, "mma")
    yield _barrier("kv_full", schedule.stages, "load")
    yield _barrier("kv_empty", schedule.stages, "mma")
    yield _barrier("o_staged", schedule.staging, "correction")
    yield _barrier("o_stored", schedule.staging, "store")
    if schedule.dispatch is Dispatch.CLC:
        yield _barrier("work_full", 1, "load")
        yield _barrier("work_empty", 1, *(role.name for role in roles(schedule)))


def _barrier(name: str, count: int, *arrivers: str) -> Barrier:
    return Barrier(name, count, len(arrivers), arrivers)
