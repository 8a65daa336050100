"""From cycles of a work tile to a whole launch: which SM computes what, and how long all take.

In: the cycles of a work tile as the clock has them, the work tiles in the order in which the kernel
walks them, and how its programs come to them. Out: ``Launch``: cycles from the start of the first
program to the end of the last, and what share of the SMs' time was spent on work.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heapreplace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Placement(StrEnum):
    """How work tiles come to SMs.

    SINGLE: a program for each, handed to the SM that is free first. STATIC: as many programs as fit
    at a time, program p walks the tiles p, p + programs, … TAKE_OVER: as SINGLE, but a program
    stays and takes over the next tile (cluster launch control).
    """

    SINGLE = "single"
    STATIC = "static"
    TAKE_OVER = "take_over"


class WorkTile(NamedTuple):
    """A work tile: steps over key tiles without mask code, and with it."""

    plain: int
    masked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCycles:
    """Cycles of a work tile, from the clock.

    Attributes:
        step: of a step over a key tile, both query tiles.
        masked: of a step with mask code.
        alone: of a tile besides its steps, where a program has only this one: set-up, the first
            loads, the last products, normalising and storing.
        further: of each further tile of a program, whose start overlaps the end of the last.
    """

    step: float
    masked: float
    alone: float
    further: float

    def of(self, work: WorkTile) -> float:
        """Return the cycles of a tile's steps."""
        return work.plain * self.step + work.masked * self.masked


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A whole launch, modelled.

    Attributes:
        cycles: from the first program's start to the last one's end.
        slots: programs that run at a time.
        tiles: work tiles.
        waves: work tiles of the SM that has most of them.
        busy: share of the time of all slots in which they had a tile.
        bound: what it waits for: ``work tiles`` or ``memory``.
    """

    cycles: float
    slots: int
    tiles: int
    waves: int
    busy: float
    bound: str


def launch(
    works: Sequence[WorkTile],
    cost: TileCycles,
    slots: int,
    placement: Placement,
    *,
    memory_cycles: float = 0.0,
) -> Launch:
    """Return a launch of work tiles.

    Args:
        works: the tiles in the order in which programs are numbered; at least one.
        cost: cycles of a tile.
        slots: programs that run at a time: SMs, by the CTAs of a cluster.
        placement: how tiles come to programs.
        memory_cycles: the least time in which global memory can deliver what all tiles read.
    """
    loads = [cost.of(work) for work in works]
    if placement is Placement.STATIC:
        shares = [loads[first::slots] for first in range(min(slots, len(loads)))]
        ends = [cost.alone + sum(share) + cost.further * (len(share) - 1) for share in shares]
        counts = [len(share) for share in shares]
    else:
        further = cost.alone if placement is Placement.SINGLE else cost.further
        ends, counts = _greedy(loads, slots, cost.alone, further)
    cycles = max(ends)
    return Launch(
        cycles=max(cycles, memory_cycles),
        slots=slots,
        tiles=len(loads),
        waves=max(counts),
        busy=sum(ends) / (slots * cycles),
        bound="memory" if memory_cycles > cycles else "work tiles",
    )


def _greedy(
    loads: list[float], slots: int, first: float, further: float
) -> tuple[list[float], list[int]]:
    """Return when each slot ends and its number of tiles: whoever is free takes the next tile."""
    free = [(first + load, slot) for slot, load in enumerate(islice(loads, slots))]
    counts = [1] * len(free)
    heapify(free)
    for load in loads[slots:]:
        end, slot = free[0]
        heapreplace(free, (end + further + load, slot))
        counts[slot] += 1
    return [end for end, _ in free], counts
