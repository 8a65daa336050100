"""Vector clocks, kept once for the kernel as it is and once for every world that lacks one edge.

A thread of a clock is a partition, an in-order engine of one, or a lane of unordered transfers.
Epoch `(thread, count)` is known to a clock if its entry for the thread is at least `count`
(Fidge 1988; Mattern 1989; epochs as in Flanagan and Freund, "FastTrack", 2009).

Every clock has two planes: what happened before, and which generic-proxy writes of that the async
proxy sees. And it has one row per world: row 0 is the kernel; row r leaves out the order that one
synchronising operation gives. An ordering that row 0 has and row r lacks shows that the operation
is needed; operations that no check ever needed are redundant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

BEFORE, VISIBLE = 0, 1
# No candidate: the edge exists in every world.
ALWAYS = -1


class Clocks:
    """All clocks of one program.

    Args:
        candidates: numbers of the operations that may be redundant.
    """

    def __init__(self, candidates: Iterable[int]) -> None:
        self._candidates = [ALWAYS, *candidates]
        self._row = {number: row for row, number in enumerate(self._candidates) if row}
        self._pool: NDArray[np.int32] = np.zeros((32, 2, 16, len(self._candidates)), np.int32)
        self._free = list(range(31, -1, -1))
        self._bad = np.zeros(len(self._candidates), bool)
        self._single = len(self._candidates) == 1
        self.needed: set[int] = set()
        self.counts: list[int] = []

    # --- clocks and threads -------------------------------------------------------------------

    def thread(self) -> int:
        """Return a new thread."""
        self.counts.append(0)
        if len(self.counts) > self._pool.shape[2]:
            self._pool = np.concatenate([self._pool, np.zeros_like(self._pool)], 2)
        return len(self.counts) - 1

    def new(self) -> int:
        """Return a clock that knows nothing."""
        if not self._free:
            size = len(self._pool)
            self._pool = np.concatenate([self._pool, np.zeros_like(self._pool)], 0)
            self._free = list(range(2 * size - 1, size - 1, -1))
        clock = self._free.pop()
        self._pool[clock] = 0
        return clock

    def copy(self, clock: int) -> int:
        """Return a new clock that knows the same."""
        twin = self.new()
        self._pool[twin] = self._pool[clock]
        return twin

    def free(self, clock: int) -> None:
        """Give a clock back."""
        self._free.append(clock)

    @property
    def live(self) -> int:
        """How many clocks are in use."""
        return len(self._pool) - len(self._free)

    # --- order --------------------------------------------------------------------------------

    def tick(self, clock: int, thread: int) -> int:
        """Begin a new epoch of a thread, known to this clock, and return its count."""
        count = self.counts[thread] + 1
        self.counts[thread] = count
        self._pool[clock, BEFORE, thread] = count
        return count

    def epoch(self, thread: int) -> int:
        """Begin a new epoch of a thread that no clock knows yet, and return its count."""
        self.counts[thread] += 1
        return self.counts[thread]

    def join(self, clock: int, other: int, candidate: int = ALWAYS) -> None:
        """Let a clock learn what another knows, by an edge of an operation."""
        mine = self._pool[clock]
        row = self._row.get(candidate)
        if row is None:
            np.maximum(mine, self._pool[other], out=mine)
            return
        before = mine[:, :, row].copy()
        np.maximum(mine, self._pool[other], out=mine)
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
        mine = self._pool[clock, BEFORE, thread]
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
        mine = self._pool[clock]
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
        column = self._pool[clock, plane, thread]
        if self._single or column.min() >= count:
            return bool(column[0] >= count)
        if column[0] < count:
            return False
        self._mark(column < count, skip)
        return True

    def surely_knows(self, clock: int, thread: int, count: int) -> bool:
        """Whether a clock knows an epoch in every world that still counts; marks nothing."""
        column = self._pool[clock, BEFORE, thread]
        if column[0] < count:
            return False
        return self._single or bool(((column >= count) | self._bad).all())

    def includes(self, clock: int, other: int) -> bool:
        """Whether a clock knows all that another knows, in the kernel as it is; marks nothing."""
        return bool((self._pool[clock, BEFORE, :, 0] >= self._pool[other, BEFORE, :, 0]).all())

    def covers(self, clock: int, other: int, skip: int = ALWAYS) -> bool:
        """Whether a clock knows all that another knows; like `knows`."""
        short = (self._pool[clock, BEFORE] < self._pool[other, BEFORE]).any(0)
        if short[0]:
            return False
        if not self._single and short.any():
            self._mark(short, skip)
        return True

    def _mark(self, lacking: Any, skip: int) -> None:
        row = self._row.get(skip)
        if row is not None:
            lacking[row] = False
        self._bad |= lacking
        if self._bad.sum() * 4 > len(self._bad) + 12:
            self.settle()

    def settle(self) -> None:
        """Leave out the worlds whose operation is known to be needed."""
        self.needed.update(self._candidates[row] for row in np.flatnonzero(self._bad))
        keep = ~self._bad
        self._pool = np.ascontiguousarray(self._pool[..., keep])
        self._candidates = [c for c, kept in zip(self._candidates, keep, strict=True) if kept]
        self._row = {number: row for row, number in enumerate(self._candidates) if row}
        self._bad = np.zeros(len(self._candidates), bool)
        self._single = len(self._candidates) == 1
