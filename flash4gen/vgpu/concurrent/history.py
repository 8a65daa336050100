"""The accesses to an allocation that a later one may still collide with.

An access is a footprint, an epoch and a proxy. Two that overlap, one of which writes, must be
ordered by the clocks; a generic-proxy write that the async proxy meets must be fenced as well.
An access that a later, ordered one covers is forgotten: whatever is unordered with the first and
not with the second cannot be (FastTrack's argument), so that histories stay as short as the
number of threads and views.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.vgpu.concurrent.clocks import VISIBLE
from flash4gen.vgpu.concurrent.footprint import Footprint, covers, overlap

if TYPE_CHECKING:
    from flash4gen.vgpu.concurrent.clocks import Clocks
    from flash4gen.vgpu.concurrent.sites import Site

# From this length on, reads that every clock of a newer read knows are looked for.
_LONG = 12


@dataclass(slots=True)
class Access:
    """One access.

    Attributes:
        footprint: bytes of the allocation.
        write: whether it writes.
        asynchronous: whether it goes through the async proxy.
        thread: and
        count: its epoch.
        clock: what it knows while it is checked; no longer valid afterwards.
        site: the operation.
        partition: who issued it.
    """

    footprint: Footprint
    write: bool
    asynchronous: bool
    thread: int
    count: int
    clock: int
    site: Site
    partition: str


@dataclass(frozen=True, slots=True)
class Collision:
    """Two accesses without order, or without a fence between them."""

    earlier: Access
    fenced: bool


class History:
    """The accesses to one allocation.

    Args:
        proxies: whether the async proxy has a view of its own of this memory.
    """

    __slots__ = ("_accesses", "_proxies")

    def __init__(self, *, proxies: bool) -> None:
        self._accesses: list[Access] = []
        self._proxies = proxies

    def __len__(self) -> int:
        return len(self._accesses)

    def add(self, clocks: Clocks, new: Access) -> list[Collision]:
        """Check an access against those before it, remember it, and return what it collides with.

        A transfer's epoch is that of its thread, while its clock is what its issuer knew: two
        transfers of one thread are ordered only if the issuer had waited for the first.
        """
        found: list[Collision] = []
        kept: list[Access] = []
        place, write, clock = new.footprint, new.write, new.clock
        fenced = self._proxies and new.asynchronous
        for old in self._accesses:
            if not (write or old.write):
                if not self._replaces(clocks, new, old):
                    kept.append(old)
                continue
            where = old.footprint
            if where is not place and not overlap(place, where):
                kept.append(old)
                continue
            if not clocks.knows(clock, old.thread, old.count):
                found.append(Collision(old, fenced=True))
            elif fenced and self._unfenced(clocks, new, old):
                found.append(Collision(old, fenced=False))
            if not (write and (where is place or covers(place, where))):
                kept.append(old)
        kept.append(new)
        self._accesses = kept
        return found

    @staticmethod
    def _unfenced(clocks: Clocks, new: Access, old: Access) -> bool:
        if old.asynchronous or not old.write:
            return False
        return not clocks.knows(new.clock, old.thread, old.count, VISIBLE)

    def _replaces(self, clocks: Clocks, new: Access, old: Access) -> bool:
        """Whether a read makes an older one superfluous."""
        if not covers(new.footprint, old.footprint):
            return False
        if old.thread == new.thread:
            return old.asynchronous == new.asynchronous
        return len(self._accesses) > _LONG and clocks.surely_knows(new.clock, old.thread, old.count)
