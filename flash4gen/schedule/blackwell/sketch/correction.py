"""The correction warps, as steps, in the order of ``concern/correction``.

In: a schedule and the walks of a program. Out: the steps of the role.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from flash4gen.clock.program import (
    Arrive,
    Compute,
    Fence,
    SharedLoad,
    SharedStore,
    Sync,
    TmemLoad,
    TmemStore,
    Work,
)
from flash4gen.schedule.blackwell.memory import ELEMENT, GROUP, STAGED_COLUMNS, TILE
from flash4gen.schedule.blackwell.model import TensorPlan
from flash4gen.schedule.blackwell.sketch.idioms import WORD
from flash4gen.schedule.blackwell.sketch.places import wait, weights_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.clock.program import Step
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.sketch.idioms import Idioms
    from flash4gen.schedule.blackwell.sketch.places import Walk

COLUMNS = 16
"""Columns of an output that are rescaled at a time."""

READ_FACTOR = Work(alu=6, other=12)
"""Counters, and waiting for and reading a row's factor: 20 instructions a tile, as compiled."""

LEAST_FACTOR = Work(shuffle=5, alu=5)
"""The least factor among a warp's rows, by halves."""

LEAST_CHAIN = 100
"""Cycles of five shuffles and minima, one after the other: some 20 and 5 each."""

BALLOT = Work(alu=2)
"""Whether any row of a warp wants it."""

RECIPROCAL = Work(mufu=1, fma=2, alu=2, other=10)
"""One over the sum of a row."""


@dataclass(frozen=True, slots=True)
class Correction:
    """The correction warps.

    Attributes:
        schedule: says what they keep on one scale.
        idioms: of the kernel.
        rescales: whether the outputs are rescaled in a step of a work tile, by its number.
    """

    schedule: BlackwellSchedule
    idioms: Idioms
    rescales: Callable[[int], bool]

    def steps(self, program: tuple[Walk, ...]) -> Iterator[Step]:
        """Yield what they do."""
        tiles = range(self.schedule.query_tiles)
        if not self.schedule.normalised:
            for walk, tile in product(program, tiles):
                yield from self._hand_over(tile, walk)
            return
        for walk in program:
            for tile in tiles:
                yield wait((f"stats_full[{tile}]", walk.turn + walk.done), "wait for a factor")
                yield from self.idioms.arrive(f"stats_empty[{tile}]", "factor is read")
                yield Arrive(barrier=weights_ready(self.schedule, "p_ready", tile, walk.turn)[0])
            for step in range(1, walk.steps):
                for tile in tiles:
                    yield from self._turn(tile, walk, step)
            for tile in tiles:
                yield from self._normalise(tile, walk)

    def _turn(self, tile: int, walk: Walk, step: int) -> Iterator[Step]:
        """Yield a step over a key tile."""
        turn = walk.turn + step
        yield wait((f"stats_full[{tile}]", turn + walk.done), "wait for a factor")
        yield SharedLoad(bytes=TILE * WORD, gives="factor", label="factor")
        yield Compute(work=READ_FACTOR, needs=("factor",), gives="least", label="factor")
        yield from self.idioms.arrive(f"stats_empty[{tile}]", "factor is read")
        yield from self._vote()
        if self.rescales(step):
            if self.schedule.plan is not TensorPlan.P_IN_S:
                yield wait((f"pv_done[{tile}]", turn - 1), "wait until O is at rest")
            yield from self._rescale()
        ready = weights_ready(self.schedule, "p_ready", tile, turn)[0]
        yield from self.idioms.arrive(ready, "O is on its scale")

    def _vote(self) -> Iterator[Step]:
        """Yield how warps learn whether to rescale; over shared memory, if all must agree."""
        if not self.idioms.voted:
            yield Compute(work=BALLOT, needs=("least",), label="ballot")
            return
        yield Compute(
            work=LEAST_FACTOR, needs=("least",), gives="vote", latency=LEAST_CHAIN, label="least"
        )
        yield SharedStore(bytes=GROUP * WORD, needs=("vote",), label="least factor")
        yield Sync(label="least factor")
        yield SharedLoad(bytes=GROUP * GROUP * WORD, gives="votes", label="least factor")
        yield Fence(needs=("votes",), label="least factor")

    def _rescale(self) -> Iterator[Step]:
        """Yield the rescaling of an output: load, multiply, store."""
        size = TILE * COLUMNS * WORD
        for _ in range(self.schedule.value_pad // COLUMNS):
            yield TmemLoad(bytes=size, gives="o", label="load O")
            yield Compute(work=Work(fma2=COLUMNS / 2), needs=("o",), gives="o", label="rescale")
            yield TmemStore(bytes=size, needs=("o",), label="store O")
        yield Fence(label="O is stored")

    def _normalise(self, tile: int, walk: Walk) -> Iterator[Step]:
        """Yield the end of a work tile: an output on its way to the store warp."""
        yield wait((f"stats_full[{tile}]", walk.last + walk.done), "wait for row sums")
        yield SharedLoad(bytes=TILE * WORD, gives="sum", label="row sums")
        yield Fence(needs=("sum",), label="row sums")
        yield from self.idioms.arrive(f"stats_empty[{tile}]", "row sums are read")
        yield Compute(work=RECIPROCAL, label="reciprocal", latency=20)
        yield from self._stored(tile, walk)

    def _hand_over(self, tile: int, walk: Walk) -> Iterator[Step]:
        """Yield the end of a work tile whose weights nothing divides."""
        yield from self._stored(tile, walk)
        yield from self.idioms.arrive(f"o_empty[{tile}]", "O is read")

    def _stored(self, tile: int, walk: Walk) -> Iterator[Step]:
        """Yield an output on its way to the store warp."""
        yield wait((f"o_full[{tile}]", walk.done), "wait for O")
        columns = min(self.schedule.value_pad, STAGED_COLUMNS)
        parts = self.schedule.value_pad // columns
        before = (walk.done * self.schedule.query_tiles + tile) * parts
        for use in range(before, before + parts):
            yield from self._stage(use, columns)

    def _stage(self, use: int, columns: int) -> Iterator[Step]:
        """Yield the way of an output's columns; ``use`` such parts went before."""
        staging = self.schedule.staging
        slot = use % staging
        yield wait((f"o_stored[{slot}]", use // staging - 1), "wait until O is stored")
        for _ in range(columns // COLUMNS):
            yield TmemLoad(bytes=TILE * COLUMNS * WORD, gives="o", label="load O")
            work = Work(fma2=COLUMNS / 2, cvt=COLUMNS / 2, other=4)
            yield Compute(work=work, needs=("o",), gives="o", label="normalise")
            yield SharedStore(bytes=TILE * COLUMNS * ELEMENT, needs=("o",), label="stage O")
        yield Fence(label="O is staged")
        yield from self.idioms.arrive(f"o_staged[{slot}]", "O is staged")
