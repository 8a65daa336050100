"""The softmax warps of a query tile, as steps, in the order of ``concern/softmax_role``.

In: a schedule, its effort and the walks of a program. Out: the steps of the role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.clock.program import (
    Compute,
    Fence,
    GlobalStore,
    SharedStore,
    TmemLoad,
    TmemStore,
    Work,
)
from flash4gen.schedule.blackwell.memory import ELEMENT, TILE
from flash4gen.schedule.blackwell.sketch.effort import NEW_MAX, OVERHEAD
from flash4gen.schedule.blackwell.sketch.idioms import WORD
from flash4gen.schedule.blackwell.sketch.places import FREED, scores_full, wait, weights_ready
from flash4gen.schedule.blackwell.space import FRAGMENT, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.clock.program import Step
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.blackwell.sketch.effort import Effort
    from flash4gen.schedule.blackwell.sketch.idioms import Idioms
    from flash4gen.schedule.blackwell.sketch.places import Walk

NEW_MAX_CHAIN = 60
"""Cycles of dependent instructions from the last maximum to the first exponent's operand: four
maxima, the safe one, difference, factor, choice; a dozen of 4 to 5 cycles."""

SOFTWARE_CHAIN = 45
"""Cycles of the polynomial's ten dependent instructions, 4.2 to 4.5 each: pairs of a fragment are
computed side by side, but the last one ends so much later."""

LAST = Work(mufu=1, fma=4, other=20)
"""LSE of a row, and where it goes."""


@dataclass(frozen=True, slots=True)
class Softmax:
    """The softmax warps of one query tile."""

    schedule: BlackwellSchedule
    effort: Effort
    idioms: Idioms
    tile: int

    def steps(self, program: tuple[Walk, ...]) -> Iterator[Step]:
        """Yield what they do."""
        for walk in program:
            for step, masked in enumerate(walk.masked):
                yield from self._turn(walk.turn + step, walk.done, masked=masked)
            if self.schedule.normalised:
                yield from self._statistics(walk.last + walk.done, "row sums")
            yield Compute(work=LAST, label="LSE")
            yield GlobalStore(bytes=TILE * WORD, label="LSE")

    def _turn(self, turn: int, done: int, *, masked: bool) -> Iterator[Step]:
        """Yield a step over a key tile: scores to weights."""
        frees = self.schedule.plan in FREED
        yield wait(scores_full(self.schedule, self.tile, turn), "wait for S")
        numbers = range(self.schedule.tile_k // FRAGMENT)
        for n in numbers:
            yield TmemLoad(bytes=TILE * FRAGMENT * WORD, gives=f"part{n}", label="load S")
        maxima = self.effort.maxima + self.effort.masking if masked else self.effort.maxima
        for n in numbers:
            yield Compute(work=maxima, needs=(f"part{n}",), gives=f"top{n}", label="maxima")
        if frees:
            yield from self.idioms.arrive(f"s_empty[{self.tile}]", "S is in registers")
        yield Compute(
            work=NEW_MAX + OVERHEAD if self.schedule.normalised else OVERHEAD,
            needs=tuple(f"top{n}" for n in numbers),
            gives="max",
            latency=NEW_MAX_CHAIN if self.schedule.normalised else 0,
            label="new maximum",
        )
        if self.schedule.normalised:
            yield from self._statistics(turn + done, "factor", ("max",))
        if frees:
            yield wait((f"pv_done[{self.tile}]", turn - 1), "wait until P is free")
        yield from self._weights(turn)
        yield Compute(work=self.effort.sums, label="row sums")

    def _weights(self, turn: int) -> Iterator[Step]:
        """Yield exponentials, fragment by fragment, and their way to the tensor core."""
        early = self.schedule.early
        software = spread(self.schedule.emulated, len(self.effort.exponents))
        for n, work in enumerate(self.effort.exponents):
            chain = SOFTWARE_CHAIN if software[n] else 0
            yield Compute(work=work, needs=("max",), gives="p", latency=chain, label="exp2")
            size = TILE * FRAGMENT * ELEMENT
            yield TmemStore(bytes=size, needs=("p",), label="store P")
            if (n + 1) * FRAGMENT == early:
                yield from self._release("p_ready", turn)
                yield self._settled(turn)
        yield from self._release("p_last" if early else "p_ready", turn)

    def _release(self, name: str, turn: int) -> Iterator[Step]:
        yield Fence(label="P is stored")
        barrier, _ = weights_ready(self.schedule, name, self.tile, turn)
        yield from self.idioms.arrive(barrier, "P is written")

    def _settled(self, turn: int) -> Step:
        """Return the wait after an early release: long since true."""
        if self.schedule.plan in FREED:
            return wait((f"pv_done[{self.tile}]", turn - 1), "settled")
        return wait(scores_full(self.schedule, self.tile, turn), "settled")

    def _statistics(self, use: int, what: str, needs: tuple[str, ...] = ()) -> Iterator[Step]:
        """Yield a number of each row on its way to the correction; ``use`` such went before."""
        yield wait((f"stats_empty[{self.tile}]", use - 1), "wait until the last is read")
        yield SharedStore(bytes=TILE * WORD, needs=needs, label=what)
        yield from self.idioms.arrive(f"stats_full[{self.tile}]", what)
