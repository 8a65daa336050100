"""The roles of a single warp, as steps: load, products, store.

Orders are those of the templates ``concern/fetch``, ``concern/mma`` and ``concern/store_role``.

In: a schedule and the walks of a program. Out: the steps of each role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.clock.program import (
    Arrive,
    Commit,
    Fence,
    Mma,
    Operand,
    TmaLoad,
    TmaStore,
    Turn,
)
from flash4gen.schedule.blackwell.memory import ELEMENT, STAGED_COLUMNS, TILE
from flash4gen.schedule.blackwell.model import TensorPlan
from flash4gen.schedule.blackwell.sketch.places import (
    AHEAD,
    FREED,
    scores_full,
    wait,
    weights_ready,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.clock.program import Step
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.sketch.places import Walk

DEPTH_BYTES = 32
"""Bytes along K that one product takes: 16 elements of 16 bits, 32 of 8 bits, in as much time
(PTX ISA, tcgen05.mma; twice the products of 8 bits per second by NVIDIA's data sheets)."""

WIDEST = 128
"""Columns of an output that are multiplied at a time where it has more."""

BOX = 128
"""Bytes of a row of a copy: Triton's tiles are swizzled so wide."""


class Ring:
    """Slots that keys and values come through, in turn."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.count = 0

    def full(self, at: int) -> tuple[str, int]:
        """Return the barrier that says that item ``at`` has arrived."""
        return f"kv_full[{at % self.slots}]", at // self.slots

    def empty(self, at: int) -> tuple[str, int]:
        """Return the barrier that says that the slot of item ``at`` may be overwritten."""
        return f"kv_empty[{at % self.slots}]", at // self.slots - 1

    def freed(self, at: int) -> str:
        """Return the barrier at which item ``at`` is given back."""
        return f"kv_empty[{at % self.slots}]"


def load(schedule: BlackwellSchedule, program: tuple[Walk, ...]) -> Iterator[Step]:
    """Yield the steps of the load warp."""
    ring = Ring(schedule.stages)
    item = 0
    for walk in program:
        for tile in range(schedule.query_tiles):
            yield wait((f"q_empty[{tile}]", walk.done - 1))
            size = TILE * schedule.head_pad * schedule.element
            yield TmaLoad(bytes=size, barrier=f"q_full[{tile}]", inner_bytes=BOX, label=f"Q{tile}")
        for kind in _fetched(schedule, walk.steps):
            width = schedule.head_pad if kind == "K" else schedule.value_pad
            size = TILE * width * schedule.element // schedule.ctas
            yield wait(ring.empty(item))
            yield TmaLoad(bytes=size, barrier=ring.full(item)[0], inner_bytes=BOX, label=kind)
            item += 1


def _fetched(schedule: BlackwellSchedule, steps: int) -> Iterator[str]:
    """Yield what is fetched, in order: keys a step ahead where they are multiplied a step ahead."""
    for step in range(steps):
        yield "K"
        if schedule.plan not in AHEAD or step:
            yield "V"
    if schedule.plan in AHEAD:
        yield "V"


def products(schedule: BlackwellSchedule, program: tuple[Walk, ...]) -> Iterator[Step]:
    """Yield the steps of the warp that tells the tensor core what to multiply."""
    ring = Ring(schedule.stages)
    tiles = range(schedule.query_tiles)
    item = 0
    for walk in program:
        yield wait(ring.full(item), "wait for K")
        for tile in tiles:
            yield wait((f"q_full[{tile}]", walk.done), "wait for Q")
            yield from _scores(schedule, tile, walk.turn)
        yield Commit(barrier=ring.freed(item))
        item += 1
        if not schedule.normalised:
            for tile in tiles:
                yield wait((f"o_empty[{tile}]", walk.done - 1), "wait until O is read")
        for step in range(walk.steps - 1):
            yield Turn(number=walk.turn + step)
            if schedule.plan in AHEAD:
                yield from _ahead(schedule, ring, item, walk.turn + step)
            else:
                yield from _behind(schedule, ring, item, walk.turn + step)
            item += 2
        for tile in tiles:
            yield Commit(barrier=f"q_empty[{tile}]")
        yield wait(ring.full(item), "wait for V")
        for tile in tiles:
            yield from _weighted(schedule, tile, walk.last - 1)
            if schedule.plan in AHEAD:
                yield Commit(barrier=f"pv_done[{tile}]")
            yield Commit(barrier=f"o_full[{tile}]")
        yield Commit(barrier=ring.freed(item))
        item += 1


def _behind(schedule: BlackwellSchedule, ring: Ring, item: int, turn: int) -> Iterator[Step]:
    """Yield a step of ``mma/behind``: of each tile P·V, then the next S. V is item, K the next."""
    yield wait(ring.full(item), "wait for V")
    for tile in range(schedule.query_tiles):
        yield from _weighted(schedule, tile, turn)
        if tile == schedule.query_tiles - 1:
            yield Commit(barrier=ring.freed(item))
        if tile == 0:
            yield wait(ring.full(item + 1), "wait for K")
        yield from _scores(schedule, tile, turn + 1)
    yield Commit(barrier=ring.freed(item + 1))


def _ahead(schedule: BlackwellSchedule, ring: Ring, item: int, turn: int) -> Iterator[Step]:
    """Yield a step of ``mma/ahead``: of each tile the next S, then P·V. K is item, V the next."""
    yield wait(ring.full(item), "wait for K")
    for tile in range(schedule.query_tiles):
        yield from _scores(schedule, tile, turn + 1)
        if tile == schedule.query_tiles - 1:
            yield Commit(barrier=ring.freed(item))
        if tile == 0:
            yield wait(ring.full(item + 1), "wait for V")
        yield from _weighted(schedule, tile, turn)
        yield Commit(barrier=f"pv_done[{tile}]")
    yield Commit(barrier=ring.freed(item + 1))


def _scores(schedule: BlackwellSchedule, tile: int, turn: int) -> Iterator[Step]:
    """Yield S = Q·Kᵀ of a tile, once its slot may be overwritten."""
    if schedule.plan is TensorPlan.SHARED_S:
        last = schedule.query_tiles - 1 - tile  # that had its scores there before
        yield wait((f"s_empty[{last}]", turn + tile - 1), "wait until S is free")
    elif schedule.plan in FREED:
        yield wait((f"s_empty[{tile}]", turn - 1), "wait until S is free")
    count = schedule.head_pad * schedule.element // DEPTH_BYTES
    yield Mma(
        m=TILE * schedule.ctas,
        n=schedule.tile_k,
        count=count,
        ctas=schedule.ctas,
        label=f"S{tile} = Q·Kᵀ",
    )
    yield Commit(barrier=scores_full(schedule, tile, turn)[0])


def _weighted(schedule: BlackwellSchedule, tile: int, turn: int) -> Iterator[Step]:
    """Yield O += P·V of a tile: the early columns, then the rest."""
    parts = [(schedule.early, "p_ready"), (schedule.tile_k - schedule.early, "p_last")]
    if not schedule.early:
        parts = [(schedule.tile_k, "p_ready")]
    n = min(schedule.value_pad, WIDEST)
    for columns, barrier in parts:
        yield wait(weights_ready(schedule, barrier, tile, turn), "wait for P")
        count = columns * schedule.element // DEPTH_BYTES * (schedule.value_pad // n)
        yield Mma(
            m=TILE * schedule.ctas,
            n=n,
            count=count,
            a_from=Operand.TMEM,
            ctas=schedule.ctas,
            label=f"O{tile} += P·V",
        )


def store(schedule: BlackwellSchedule, program: tuple[Walk, ...]) -> Iterator[Step]:
    """Yield the steps of the store warp."""
    columns = min(schedule.value_pad, STAGED_COLUMNS)
    parts = schedule.value_pad // columns
    for use in range(len(program) * schedule.query_tiles * parts):
        slot = use % schedule.staging
        yield wait((f"o_staged[{slot}]", use // schedule.staging))
        yield TmaStore(bytes=TILE * columns * ELEMENT, gives="stored", label="store O")
        yield Fence(needs=("stored",), label="wait until O is read")
        yield Arrive(barrier=f"o_stored[{slot}]")
