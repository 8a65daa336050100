"""Vector clocks, of the kernel as it is and once for every world that lacks one edge.

A thread of a clock is a partition, an in-order engine of one, or a lane of unordered transfers.
Epoch `(thread, count)` is known to a clock if its entry for the thread is at least `count`
(Fidge 1988; Mattern 1989; epochs as in Flanagan and Freund, "FastTrack", 2009).

Every clock has two planes: what happened before, and which generic-proxy writes of that the async
proxy sees. It says what is known in the kernel as it is, and in worlds: each leaves out the order
that one synchronising operation gives. An ordering that the kernel has and a world lacks shows that
the operation is needed; operations that no check ever needed are redundant.

A world has fewer edges than the kernel and so never knows more. Most questions are answered by a
bound: what a clock was once found to know in every world it knows for good.
"""

from __future__ import annotations

from operator import ge
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

BEFORE, VISIBLE = 0, 1
# No candidate: the edge exists in every world.
ALWAYS = -1
# Questions that worlds without a needed operation may slow down before they are left out.
_PATIENCE = 16


class Clocks:
    """All clocks of one program.

    Args:
        candidates: numbers of the operations that may be redundant.
    """

    def __init__(self, candidates: Iterable[int]) -> None:
        self._candidates = list(candidates)
        self._row = {number: row for row, number in enumerate(self._candidates)}
        self._width = 16
        # By plane and clock: counts of threads in the kernel, and bounds of those in all worlds.
        self._kernel: tuple[list[list[int]], list[list[int]]] = ([], [])
        self._bounds: tuple[list[list[int]], list[list[int]]] = ([], [])
        self._worlds: NDArray[np.int32] = np.zeros(
            (32, 2, self._width, len(self._candidates)), np.int32
        )
        self._free: list[int] = []
        self._bad = np.zeros(len(self._candidates), bool)
        self._slowed = 0
        self.needed: set[int] = set()
        self.counts: list[int] = []

    # --- clocks and threads -------------------------------------------------------------------

    def thread(self) -> int:
        """Return a new thread."""
        self.counts.append(0)
        if len(self.counts) > self._width:
            for plane in (*self._kernel, *self._bounds):
                for counts in plane:
                    counts.extend([0] * self._width)
            self._worlds = np.concatenate([self._worlds, np.zeros_like(self._worlds)], 2)
            self._width *= 2
        return len(self.counts) - 1

    def new(self) -> int:
        """Return a clock that knows nothing."""
        clock = self._take()
        for plane in (*self._kernel, *self._bounds):
            plane[clock] = [0] * self._width
        if self._candidates:
            self._worlds[clock] = 0
        return clock

    def copy(self, clock: int) -> int:
        """Return a new clock that knows the same."""
        twin = self._take()
        before, visible = self._kernel
        before[twin], visible[twin] = before[clock].copy(), visible[clock].copy()
        if self._candidates:
            before, visible = self._bounds
            before[twin], visible[twin] = before[clock].copy(), visible[clock].copy()
            self._worlds[twin] = self._worlds[clock]
        return twin

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        for plane in (*self._kernel, *self._bounds):
            plane.append([])
        count = len(self._kernel[BEFORE])
        if count > len(self._worlds):
            self._worlds = np.concatenate([self._worlds, np.zeros_like(self._worlds)], 0)
        return count - 1

    def free(self, clock: int) -> None:
        """Give a clock back."""
        self._free.append(clock)

    @property
    def live(self) -> int:
        """How many clocks are in use."""
        return len(self._kernel[BEFORE]) - len(self._free)

    # --- order --------------------------------------------------------------------------------

    def tick(self, clock: int, thread: int) -> int:
        """Begin a new epoch of a thread, known to this clock, and return its count."""
        count = self.counts[thread] + 1
        self.counts[thread] = count
        self._kernel[BEFORE][clock][thread] = count
        if self._candidates:
            self._bounds[BEFORE][clock][thread] = count
            self._worlds[clock, BEFORE, thread] = count
        return count

    def epoch(self, thread: int) -> int:
        """Begin a new epoch of a thread that no clock knows yet, and return its count."""
        self.counts[thread] += 1
        return self.counts[thread]

    def join(self, clock: int, other: int, candidate: int = ALWAYS) -> None:
        """Let a clock learn what another knows, by an edge of an operation."""
        _join(self._kernel, clock, other)
        if not self._candidates:
            return
        mine = self._worlds[clock]
        row = self._row.get(candidate)
        if row is None:
            _join(self._bounds, clock, other)
            np.maximum(mine, self._worlds[other], out=mine)
            return
        before = mine[:, :, row].copy()
        np.maximum(mine, self._worlds[other], out=mine)
        mine[:, :, row] = before

    def learn(
        self,
        clock: int,
        thread: int,
        count: int,
        candidate: int = ALWAYS,
        instead: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Let a clock know an epoch; `instead` gives other counts for some worlds."""
        kernel = self._kernel[BEFORE][clock]
        kernel[thread] = max(kernel[thread], count)
        if not self._candidates:
            return
        mine = self._worlds[clock, BEFORE, thread]
        before = mine.copy()
        np.maximum(mine, count, out=mine)
        for other, known in instead:
            row = self._row.get(other)
            if row is not None:
                mine[row] = max(known, int(before[row]))
        row = self._row.get(candidate)
        if row is not None:
            mine[row] = before[row]

    def fence(self, clock: int, candidate: int = ALWAYS) -> None:
        """Make all generic-proxy writes that a clock knows visible to the async proxy."""
        before, visible = self._kernel
        visible[clock] = list(map(max, visible[clock], before[clock]))
        if not self._candidates:
            return
        mine = self._worlds[clock]
        row = self._row.get(candidate)
        kept = None if row is None else mine[VISIBLE, :, row].copy()
        np.maximum(mine[VISIBLE], mine[BEFORE], out=mine[VISIBLE])
        if row is not None:
            mine[VISIBLE, :, row] = kept

    # --- questions ----------------------------------------------------------------------------

    def knows(
        self, clock: int, thread: int, count: int, plane: int = BEFORE, skip: int = ALWAYS
    ) -> bool:
        """Whether a clock knows an epoch; worlds that do not, unless `skip`, need their edge."""
        if self._kernel[plane][clock][thread] < count:
            return False
        if not self._candidates or self._bounds[plane][clock][thread] >= count:
            return True
        column = self._worlds[clock, plane, thread]
        self._bounds[plane][clock][thread] = bound = int(column.min())
        if bound < count:
            self._mark(column < count, skip)
        return True

    def surely_knows(self, clock: int, thread: int, count: int) -> bool:
        """Whether a clock knows an epoch in every world that still counts; marks nothing."""
        if self._kernel[BEFORE][clock][thread] < count:
            return False
        if not self._candidates or self._bounds[BEFORE][clock][thread] >= count:
            return True
        column = self._worlds[clock, BEFORE, thread]
        return bool(((column >= count) | self._bad).all())

    def includes(self, clock: int, other: int) -> bool:
        """Whether a clock knows all that another knows, in the kernel as it is; marks nothing."""
        before = self._kernel[BEFORE]
        return all(map(ge, before[clock], before[other]))

    def covers(self, clock: int, other: int, skip: int = ALWAYS) -> bool:
        """Whether a clock knows all that another knows; like `knows`."""
        known = self._kernel[BEFORE][other]
        if self._candidates and all(map(ge, self._bounds[BEFORE][clock], known)):
            return True
        if not self.includes(clock, other):
            return False
        if self._candidates:
            short = (self._worlds[clock, BEFORE] < self._worlds[other, BEFORE]).any(0)
            if short.any():
                self._mark(short, skip)
        return True

    def _mark(self, lacking: Any, skip: int) -> None:
        row = self._row.get(skip)
        if row is not None:
            lacking[row] = False
        self._bad |= lacking
        self._slowed += 1
        if self._slowed >= _PATIENCE and self._bad.any():
            self.settle()

    def settle(self) -> None:
        """Leave out the worlds whose operation is known to be needed."""
        self.needed.update(self._candidates[row] for row in np.flatnonzero(self._bad))
        keep = ~self._bad
        self._worlds = np.ascontiguousarray(self._worlds[..., keep])
        self._candidates = [c for c, kept in zip(self._candidates, keep, strict=True) if kept]
        self._row = {number: row for row, number in enumerate(self._candidates)}
        self._bad = np.zeros(len(self._candidates), bool)
        self._slowed = 0


def _join(planes: tuple[list[list[int]], list[list[int]]], clock: int, other: int) -> None:
    """Raise each count of a clock to that of another."""
    for plane in planes:
        mine, others = plane[clock], plane[other]
        if mine != others:
            plane[clock] = [a if a > b else b for a, b in zip(mine, others, strict=True)]
