"""Who touched each piece of global memory last, and whether that is ordered.

Only tensors that the launch has begun to write are watched: each has one map of the last write and
one of the last read of every piece of its storage, whatever the widths of accesses. Within a
program the clocks decide. Programs of a grid have no order at all, except by atomics, whose
protocols are taken on trust.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from flash4gen.vgpu.errors import FindingKind
from flash4gen.vgpu.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from flash4gen.vgpu.concurrent.clocks import Clocks
    from flash4gen.vgpu.concurrent.sites import Site

_PROGRAM, _THREAD = 44, 32
_COUNT_MASK = (1 << _THREAD) - 1
_THREAD_MASK = (1 << (_PROGRAM - _THREAD)) - 1


@dataclass(frozen=True, slots=True)
class Toucher:
    """Who touches global memory: program, epoch, what it knows, and where it is."""

    program: int
    clock: int
    thread: int
    count: int
    site: Site
    partition: str
    trusted: bool

    @property
    def packed(self) -> int:
        """Program and epoch in one number."""
        return self.program + 1 << _PROGRAM | self.thread << _THREAD | self.count


@dataclass(frozen=True, slots=True)
class Found:
    """What an access collided with; without a message, nothing."""

    kind: FindingKind
    message: str
    other: tuple[Site, str] | None


class GlobalLog:
    """The last accesses to the elements that a launch writes."""

    def __init__(self) -> None:
        self._writes: dict[int, Shadow] = {}
        self._reads: dict[int, Shadow] = {}
        self._sites: dict[tuple[int, int], dict[Site, tuple[int, str]]] = {}

    @property
    def writing(self) -> bool:
        """Whether the launch has written anything."""
        return bool(self._writes)

    def watched(self, tensor: Tensor) -> bool:
        """Whether the launch has written to the tensor's storage."""
        return _key(tensor) in self._writes

    def read(self, clocks: Clocks, cells: Tensor, index: Tensor | None, who: Toucher) -> Found:
        """Check a read of cells, or of those at an index, and remember it."""
        key = _key(cells)
        found = self._against(clocks, self._writes[key].get(cells, index), who, "read", "write")
        self._map(self._reads, cells).put(cells, index, who.packed)
        self._remember(who)
        return found

    def write(self, clocks: Clocks, cells: Tensor, index: Tensor | None, who: Toucher) -> Found:
        """Check a write of cells, or of those at an index, and remember it."""
        writes = self._map(self._writes, cells)
        found = self._against(clocks, writes.get(cells, index), who, "written", "write")
        reads = self._reads.get(_key(cells))
        if reads is not None and not found.message:
            found = self._against(clocks, reads.get(cells, index), who, "written", "read")
        writes.put(cells, index, who.packed)
        self._remember(who)
        return found

    def _against(self, clocks: Clocks, before: Tensor, who: Toucher, verb: str, noun: str) -> Found:
        if bool(before.any()):
            for packed in _distinct(before):
                program, thread = (packed >> _PROGRAM) - 1, packed >> _THREAD & _THREAD_MASK
                count = packed & _COUNT_MASK
                if program == who.program:
                    ordered = clocks.knows(who.clock, thread, count)
                else:
                    # Two writes of different programs are found by the log of writers.
                    ordered = who.trusted or (verb, noun) == ("written", "write")
                if not ordered:
                    whose = "" if program == who.program else f" of program {program}"
                    message = f"is {verb} while nothing orders it with a {noun}{whose}"
                    other = self._site(program, thread, count)
                    return Found(FindingKind.RACE_GLOBAL, message, other)
        return Found(FindingKind.RACE_GLOBAL, "", None)

    def _map(self, maps: dict[int, Shadow], cells: Tensor) -> Shadow:
        key = _key(cells)
        if key not in maps:
            size = cells.untyped_storage().nbytes()
            maps[key] = Shadow(size, cells.element_size(), blank=0, dtype=torch.int64)
        return maps[key]

    def _remember(self, who: Toucher) -> None:
        sites = self._sites.setdefault((who.program, who.thread), {})
        sites[who.site] = who.count, who.partition

    def _site(self, program: int, thread: int, count: int) -> tuple[Site, str] | None:
        """Return the operation that most likely made an epoch: the one that ended soonest after."""
        sites = self._sites.get((program, thread), {})
        later = [(last, site, name) for site, (last, name) in sites.items() if last >= count]
        if not later:
            return None
        _, site, name = min(later, key=lambda entry: entry[0])
        return site, name


def _key(cells: Tensor) -> int:
    return cells.untyped_storage().data_ptr()


def _distinct(values: Tensor) -> Iterator[int]:
    low, high = (int(bound) for bound in values.aminmax())
    for value in (low,) if low == high else torch.unique(values).tolist():
        if value:
            yield value
