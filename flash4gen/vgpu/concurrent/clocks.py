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
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_T = TypeVar("_T")
_Planes: TypeAlias = tuple[list[_T], list[_T]]

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
        # By plane and clock: counts of threads in the kernel, bounds of those in all worlds, and
        # the counts in each. Clocks share what they agree on: nothing here is changed in place.
        self._kernel: _Planes[list[int]] = ([], [])
        self._bounds: _Planes[list[int]] = ([], [])
        self._worlds: _Planes[NDArray[np.int32]] = ([], [])
        self._blank()
        self._free: list[int] = []
        self._bad = np.zeros(len(self._candidates), bool)
        self._slowed = 0
        self.needed: set[int] = set()
        self.counts: list[int] = []

    def _blank(self) -> None:
        """Make what a clock that knows nothing holds."""
        self._nothing = [0] * self._width
        self._nowhere = np.zeros((self._width, len(self._candidates)), np.int32)

    # --- clocks and threads -------------------------------------------------------------------

    def thread(self) -> int:
        """Return a new thread."""
        self.counts.append(0)
        if len(self.counts) > self._width:
            for plane in (*self._kernel, *self._bounds):
                plane[:] = [counts + self._nothing for counts in plane]
            for worlds in self._worlds:
                worlds[:] = [np.concatenate([each, self._nowhere]) for each in worlds]
            self._width *= 2
            self._blank()
        return len(self.counts) - 1

    def new(self) -> int:
        """Return a clock that knows nothing."""
        clock = self._take()
        for plane in (*self._kernel, *self._bounds):
            plane[clock] = self._nothing
        for worlds in self._worlds:
            worlds[clock] = self._nowhere
        return clock

    def copy(self, clock: int) -> int:
        """Return a new clock that knows the same."""
        twin = self._take()
        before, visible = self._kernel
        before[twin], visible[twin] = before[clock], visible[clock]
        if self._candidates:
            before, visible = self._bounds
            before[twin], visible[twin] = before[clock], visible[clock]
            first, second = self._worlds
            first[twin], second[twin] = first[clock], second[clock]
        return twin

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        for plane in (*self._kernel, *self._bounds):
            plane.append(self._nothing)
        for worlds in self._worlds:
            worlds.append(self._nowhere)
        return len(self._kernel[BEFORE]) - 1

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
        _set(self._kernel[BEFORE], clock, thread, count)
        if self._candidates:
            _set(self._bounds[BEFORE], clock, thread, count)
            worlds = self._worlds[BEFORE]
            worlds[clock] = mine = worlds[clock].copy()
            mine[thread] = count
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
        row = self._row.get(candidate)
        if row is None:
            _join(self._bounds, clock, other)
        for worlds in self._worlds:
            mine, others = worlds[clock], worlds[other]
            if mine is not others:
                worlds[clock] = joined = np.maximum(mine, others)
                if row is not None:
                    joined[:, row] = mine[:, row]

    def learn(
        self,
        clock: int,
        thread: int,
        count: int,
        candidate: int = ALWAYS,
        instead: Iterable[tuple[int, int]] = (),
    ) -> None:
        """Let a clock know an epoch; `instead` gives other counts for some worlds."""
        if self._kernel[BEFORE][clock][thread] < count:
            _set(self._kernel[BEFORE], clock, thread, count)
        if not self._candidates:
            return
        worlds = self._worlds[BEFORE]
        before = worlds[clock][thread]
        worlds[clock] = worlds[clock].copy()
        mine = worlds[clock][thread]
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
        first, second = self._worlds
        kept, row = second[clock], self._row.get(candidate)
        second[clock] = np.maximum(kept, first[clock])
        if row is not None:
            second[clock][:, row] = kept[:, row]

    # --- questions ----------------------------------------------------------------------------

    def knows(
        self, clock: int, thread: int, count: int, plane: int = BEFORE, skip: int = ALWAYS
    ) -> bool:
        """Whether a clock knows an epoch; worlds that do not, unless `skip`, need their edge."""
        if self._kernel[plane][clock][thread] < count:
            return False
        if not self._candidates or self._bounds[plane][clock][thread] >= count:
            return True
        column = self._worlds[plane][clock][thread]
        bound = int(column.min())
        _set(self._bounds[plane], clock, thread, bound)
        if bound < count:
            self._mark(column < count, skip)
        return True

    def surely_knows(self, clock: int, thread: int, count: int) -> bool:
        """Whether a clock knows an epoch in every world that still counts; marks nothing."""
        if self._kernel[BEFORE][clock][thread] < count:
            return False
        if not self._candidates or self._bounds[BEFORE][clock][thread] >= count:
            return True
        column = self._worlds[BEFORE][clock][thread]
        return bool(((column >= count) | self._bad).all())

    def includes(self, clock: int, other: int) -> bool:
        """Whether a clock knows all that another knows, in the kernel as it is; marks nothing."""
        before = self._kernel[BEFORE]
        mine, others = before[clock], before[other]
        return mine is others or all(map(ge, mine, others))

    def covers(self, clock: int, other: int, skip: int = ALWAYS) -> bool:
        """Whether a clock knows all that another knows; like `knows`."""
        known = self._kernel[BEFORE][other]
        if self._candidates and all(map(ge, self._bounds[BEFORE][clock], known)):
            return True
        if not self.includes(clock, other):
            return False
        if self._candidates:
            worlds = self._worlds[BEFORE]
            short = (worlds[clock] < worlds[other]).any(0)
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
        # Clocks that share what they know go on doing so.
        fewer = {id(each): each[:, keep] for worlds in self._worlds for each in worlds}
        for worlds in self._worlds:
            worlds[:] = [fewer[id(each)] for each in worlds]
        self._candidates = [c for c, kept in zip(self._candidates, keep, strict=True) if kept]
        self._row = {number: row for row, number in enumerate(self._candidates)}
        self._bad = np.zeros(len(self._candidates), bool)
        self._slowed = 0
        self._blank()


def _set(plane: list[list[int]], clock: int, thread: int, count: int) -> None:
    """Give a clock another count of a thread."""
    plane[clock] = counts = plane[clock].copy()
    counts[thread] = count


def _join(planes: _Planes[list[int]], clock: int, other: int) -> None:
    """Raise each count of a clock to that of another."""
    for plane in planes:
        mine, others = plane[clock], plane[other]
        if mine is others:
            continue
        if mine == others:
            plane[clock] = others
        else:
            plane[clock] = [a if a > b else b for a, b in zip(mine, others, strict=True)]
