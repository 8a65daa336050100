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
        # By clock and plane: counts of threads in the kernel, and bounds of those in all worlds.
        self._kernel: list[list[list[int]]] = []
        self._bounds: list[list[list[int]]] = []
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
            for planes in (*self._kernel, *self._bounds):
                for plane in planes:
                    plane.extend([0] * self._width)
            self._worlds = np.concatenate([self._worlds, np.zeros_like(self._worlds)], 2)
            self._width *= 2
        return len(self.counts) - 1

    def new(self) -> int:
        """Return a clock that knows nothing."""
        clock = self._take()
        self._kernel[clock] = [[0] * self._width, [0] * self._width]
        self._bounds[clock] = [[0] * self._width, [0] * self._width]
        if self._candidates:
            self._worlds[clock] = 0
        return clock

    def copy(self, clock: int) -> int:
        """Return a new clock that knows the same."""
        twin = self._take()
        self._kernel[twin] = [plane.copy() for plane in self._kernel[clock]]
        if self._candidates:
            self._bounds[twin] = [plane.copy() for plane in self._bounds[clock]]
            self._worlds[twin] = self._worlds[clock]
        return twin

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        self._kernel.append([])
        self._bounds.append([[], []])
        if len(self._kernel) > len(self._worlds):
            self._worlds = np.concatenate([self._worlds, np.zeros_like(self._worlds)], 0)
        return len(self._kernel) - 1

    def free(self, clock: int) -> None:
        """Give a clock back."""
        self._free.append(clock)

    @property
    def live(self) -> int:
        """How many clocks are in use."""
        return len(self._kernel) - len(self._free)

    # --- order --------------------------------------------------------------------------------

    def tick(self, clock: int, thread: int) -> int:
        """Begin a new epoch of a thread, known to this clock, and return its count."""
        count = self.counts[thread] + 1
        self.counts[thread] = count
        self._kernel[clock][BEFORE][thread] = count
        if self._candidates:
            self._bounds[clock][BEFORE][thread] = count
            self._worlds[clock, BEFORE, thread] = count
        return count

    def epoch(self, thread: int) -> int:
        """Begin a new epoch of a thread that no clock knows yet, and return its count."""
        self.counts[thread] += 1
        return self.counts[thread]

    def join(self, clock: int, other: int, candidate: int = ALWAYS) -> None:
        """Let a clock learn what another knows, by an edge of an operation."""
        self._kernel[clock] = _joined(self._kernel[clock], self._kernel[other])
        if not self._candidates:
            return
        mine = self._worlds[clock]
        row = self._row.get(candidate)
        if row is None:
            self._bounds[clock] = _joined(self._bounds[clock], self._bounds[other])
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
        kernel = self._kernel[clock][BEFORE]
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
        kernel = self._kernel[clock]
        kernel[VISIBLE] = _larger(kernel[VISIBLE], kernel[BEFORE])
        if not self._candidates:
            return
        mine = self._worlds[clock]
        row = self._row.get(candidate)
        before = None if row is None else mine[VISIBLE, :, row].copy()
        np.maximum(mine[VISIBLE], mine[BEFORE], out=mine[VISIBLE])
        if row is not None:
            mine[VISIBLE, :, row] = before

    # --- questions ----------------------------------------------------------------------------

    def knows(
        self, clock: int, thread: int, count: int, plane: int = BEFORE, skip: int = ALWAYS
    ) -> bool:
        """Whether a clock knows an epoch; worlds that do not, unless `skip`, need their edge."""
        if self._kernel[clock][plane][thread] < count:
            return False
        if not self._candidates or self._bounds[clock][plane][thread] >= count:
            return True
        column = self._worlds[clock, plane, thread]
        self._bounds[clock][plane][thread] = bound = int(column.min())
        if bound < count:
            self._mark(column < count, skip)
        return True

    def surely_knows(self, clock: int, thread: int, count: int) -> bool:
        """Whether a clock knows an epoch in every world that still counts; marks nothing."""
        if self._kernel[clock][BEFORE][thread] < count:
            return False
        if not self._candidates or self._bounds[clock][BEFORE][thread] >= count:
            return True
        column = self._worlds[clock, BEFORE, thread]
        return bool(((column >= count) | self._bad).all())

    def includes(self, clock: int, other: int) -> bool:
        """Whether a clock knows all that another knows, in the kernel as it is; marks nothing."""
        return all(map(ge, self._kernel[clock][BEFORE], self._kernel[other][BEFORE]))

    def covers(self, clock: int, other: int, skip: int = ALWAYS) -> bool:
        """Whether a clock knows all that another knows; like `knows`."""
        if not self.includes(clock, other):
            return False
        known = self._kernel[other][BEFORE]
        if self._candidates and not all(map(ge, self._bounds[clock][BEFORE], known)):
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


def _joined(mine: list[list[int]], others: list[list[int]]) -> list[list[int]]:
    return [one if one == two else _larger(one, two) for one, two in zip(mine, others, strict=True)]


def _larger(one: list[int], two: list[int]) -> list[int]:
    return [a if a > b else b for a, b in zip(one, two, strict=True)]
