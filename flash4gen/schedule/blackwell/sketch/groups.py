"""The roles of four warps, as steps: softmax and correction.

Orders are those of the templates ``concern/softmax_role`` and ``concern/correction``.

In: a schedule, its effort and the walks of a program. Out: the steps of each role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.clock.program import (
    Arrive,
    Compute,
    Fence,
    GlobalStore,
    SharedLoad,
    SharedStore,
    Sync,
    TmemLoad,
    TmemStore,
    Work,
)
from flash4gen.schedule.blackwell.memory import ELEMENT, STAGED_COLUMNS, TILE
from flash4gen.schedule.blackwell.model import TensorPlan
from flash4gen.schedule.blackwell.sketch.effort import NEW_MAX, OVERHEAD
from flash4gen.schedule.blackwell.sketch.places import FREED, scores_full, wait, weights_ready
from flash4gen.schedule.blackwell.space import FRAGMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.clock.program import Step
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.sketch.effort import Effort
    from flash4gen.schedule.blackwell.sketch.places import Walk

WORD = 4
"""Bytes of a float32."""

NEW_MAX_CHAIN = 60
"""Cycles of dependent instructions from the last maximum to the first exponent's operand: four
maxima, the safe one, difference, factor, choice; a dozen of 4 to 5 cycles."""

COLUMNS = 16
"""Columns of an output that are rescaled at a time."""

READ_FACTOR = Work(alu=6, other=12)
"""Counters, and waiting for and reading a row's factor: 20 instructions a tile (docs/blackwell)."""

LEAST_FACTOR = Work(shuffle=5, alu=6, other=4)
"""The least factor among a warp's rows; those of four warps meet in shared memory."""


def softmax(
    schedule: BlackwellSchedule, effort: Effort, program: tuple[Walk, ...], tile: int
) -> Iterator[Step]:
    """Yield the steps of the softmax warps of a query tile."""
    for walk in program:
        for step, masked in enumerate(walk.masked):
            yield from _softmax_step(
                schedule, effort, tile, walk.turn + step, walk.turn + step + walk.done, masked
            )
        yield from _statistics(tile, walk.last + walk.done, "row sums")
        yield Compute(work=Work(mufu=1, fma=4, other=20), label="LSE")
        yield GlobalStore(bytes=TILE * WORD, label="LSE")


def _softmax_step(
    schedule: BlackwellSchedule, effort: Effort, tile: int, turn: int, use: int, masked: bool
) -> Iterator[Step]:
    """Yield a step: scores to weights. ``use`` counts what went to the correction before."""
    yield wait(scores_full(schedule, tile, turn), "wait for S")
    parts = tuple(f"part{n}" for n in range(schedule.tile_k // FRAGMENT))
    for part in parts:
        yield TmemLoad(bytes=TILE * FRAGMENT * WORD, gives=part, label="load S")
    maxima = effort.maxima + effort.masking if masked else effort.maxima
    for n, part in enumerate(parts):
        yield Compute(work=maxima, needs=(part,), gives=f"top{n}", label="maxima")
    if schedule.plan in FREED:
        yield from _arrive(f"s_empty[{tile}]", "S is in registers")
    tops = tuple(f"top{n}" for n in range(len(parts)))
    yield Compute(
        work=NEW_MAX + OVERHEAD, needs=tops, gives="max", latency=NEW_MAX_CHAIN, label="new maximum"
    )
    yield from _statistics(tile, use, "factor", ("max",))
    if schedule.plan in FREED:
        yield wait((f"pv_done[{tile}]", turn - 1), "wait until P is free")
    yield from _weights(schedule, effort, tile, turn)
    yield Compute(work=effort.sums, label="row sums")


def _weights(schedule: BlackwellSchedule, effort: Effort, tile: int, turn: int) -> Iterator[Step]:
    """Yield exponentials, fragment by fragment, and their way to the tensor core."""
    for n, work in enumerate(effort.exponents):
        yield Compute(work=work, needs=("max",), gives="p", label="exp2")
        yield TmemStore(
            bytes=TILE * FRAGMENT * ELEMENT, needs=("p",), gives=f"stored{n}", label="store P"
        )
        if (n + 1) * FRAGMENT == schedule.early:
            yield from _release(schedule, "p_ready", tile, turn)
            yield _settled(schedule, tile, turn)
    yield from _release(schedule, "p_last" if schedule.early else "p_ready", tile, turn)


def _release(schedule: BlackwellSchedule, name: str, tile: int, turn: int) -> Iterator[Step]:
    yield Fence(label="P is stored")
    barrier, _ = weights_ready(schedule, name, tile, turn)
    yield from _arrive(barrier, "P is written")


def _settled(schedule: BlackwellSchedule, tile: int, turn: int) -> Step:
    """Return the wait after an early release: long since true."""
    if schedule.plan in FREED:
        return wait((f"pv_done[{tile}]", turn - 1), "settled")
    return wait(scores_full(schedule, tile, turn), "settled")


def _statistics(tile: int, use: int, what: str, needs: tuple[str, ...] = ()) -> Iterator[Step]:
    """Yield a row's number on its way to the correction."""
    yield wait((f"stats_empty[{tile}]", use - 1), "wait until it is read")
    yield SharedStore(bytes=TILE * WORD, needs=needs, label=what)
    yield from _arrive(f"stats_full[{tile}]", what)


def _arrive(barrier: str, label: str) -> Iterator[Step]:
    """Yield an arrival: all warps of the role have come, then one thread says so."""
    yield Sync(label=label)
    yield Arrive(barrier=barrier, label=label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What the correction is asked to do.

    Attributes:
        rescales: whether the outputs of a step's tile are rescaled, by the number of the step.
    """

    rescales: Callable[[int], bool]


def correction(
    schedule: BlackwellSchedule, asked: Correction, program: tuple[Walk, ...]
) -> Iterator[Step]:
    """Yield the steps of the correction warps."""
    tiles = range(schedule.query_tiles)
    for walk in program:
        for tile in tiles:
            yield wait((f"stats_full[{tile}]", walk.turn + walk.done), "wait for a factor")
            yield from _arrive(f"stats_empty[{tile}]", "factor is read")
            yield Arrive(barrier=weights_ready(schedule, "p_ready", tile, walk.turn)[0])
        for step in range(1, walk.steps):
            for tile in tiles:
                yield from _correct(schedule, tile, walk, step, rescale=asked.rescales(step))
        for tile in tiles:
            use = walk.last + walk.done
            yield wait((f"stats_full[{tile}]", use), "wait for row sums")
            yield SharedLoad(bytes=TILE * WORD, gives="sum", label="row sums")
            yield Fence(needs=("sum",))
            yield from _arrive(f"stats_empty[{tile}]", "row sums are read")
            yield Compute(work=Work(mufu=1, fma=2, alu=2, other=10), label="reciprocal", latency=20)
            yield wait((f"o_full[{tile}]", walk.done), "wait for O")
            yield from _staged(schedule, (walk.done * schedule.query_tiles + tile))


def _correct(
    schedule: BlackwellSchedule, tile: int, walk: Walk, step: int, *, rescale: bool
) -> Iterator[Step]:
    """Yield a step of the correction on one tile."""
    turn = walk.turn + step
    yield wait((f"stats_full[{tile}]", turn + walk.done), "wait for a factor")
    yield SharedLoad(bytes=TILE * WORD, gives="factor", label="factor")
    yield Compute(work=READ_FACTOR + LEAST_FACTOR, needs=("factor",), gives="least", latency=100)
    yield from _arrive(f"stats_empty[{tile}]", "factor is read")
    yield SharedStore(bytes=16, needs=("least",), label="least factor")
    yield Sync(label="least factor")
    yield SharedLoad(bytes=16 * 4, gives="vote", label="least factor")
    yield Fence(needs=("vote",), label="least factor")
    if rescale:
        if schedule.plan is not TensorPlan.P_IN_S:
            yield wait((f"pv_done[{tile}]", turn - 1), "wait until O is at rest")
        yield from _rescaled(schedule)
    yield from _arrive(weights_ready(schedule, "p_ready", tile, turn)[0], "O is on its scale")


def _rescaled(schedule: BlackwellSchedule) -> Iterator[Step]:
    """Yield the rescaling of an output: load, multiply, store."""
    size = TILE * COLUMNS * WORD
    for _ in range(schedule.value_pad // COLUMNS):
        yield TmemLoad(bytes=size, gives="o", label="load O")
        yield Compute(work=Work(fma2=COLUMNS / 2), needs=("o",), gives="scaled", label="rescale")
        yield TmemStore(bytes=size, needs=("scaled",), label="store O")
    yield Fence(label="O is stored")


def _staged(schedule: BlackwellSchedule, before: int) -> Iterator[Step]:
    """Yield an output's way to the store warp. ``before`` counts outputs handed over before."""
    columns = min(schedule.value_pad, STAGED_COLUMNS)
    parts = schedule.value_pad // columns
    for part in range(parts):
        use = before * parts + part
        slot = use % schedule.staging
        yield wait((f"o_stored[{slot}]", use // schedule.staging - 1), "wait until O is stored")
        chunk = min(COLUMNS, columns)
        for _ in range(columns // chunk):
            yield TmemLoad(bytes=TILE * chunk * WORD, gives="o", label="load O")
            work = Work(fma2=chunk / 2, cvt=chunk / 2, other=4)
            yield Compute(work=work, needs=("o",), gives="out", label="normalise")
            yield SharedStore(bytes=TILE * chunk * ELEMENT, needs=("out",), label="stage O")
        yield Fence(label="O is staged")
        yield from _arrive(f"o_staged[{slot}]", "O is staged")
