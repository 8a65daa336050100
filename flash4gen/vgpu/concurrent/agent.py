"""What a partition does by itself: it knows what came before it, and its accesses are checked.

It offers the operations the part of `flash4gen.vgpu.cta.Cta` that needs no engine and no barrier.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.vgpu.concurrent.barrier import Actor
from flash4gen.vgpu.concurrent.footprint import footprint
from flash4gen.vgpu.concurrent.history import Access
from flash4gen.vgpu.errors import FindingKind
from flash4gen.vgpu.onchip import EMPTY, SKIPPED, Buffer, View

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from flash4gen.vgpu.concurrent.machine import Machine
    from flash4gen.vgpu.concurrent.sites import Site
    from flash4gen.vgpu.parse.tree import MemDescType

_RACE = {"smem": FindingKind.RACE_SMEM, "tmem": FindingKind.RACE_TMEM}


class Agent:
    """A partition of a program, or the program itself where it has none.

    Attributes:
        at: the operation that runs; set by the generated code.
        rank: number of its CTA in the cluster.
    """

    rank = 0

    def __init__(self, machine: Machine, name: str, clock: int) -> None:
        self.machine = machine
        self.name = name
        self.clock = clock
        self.thread = machine.thread("partition", self)
        machine.clocks.tick(clock, self.thread)
        self.at: Site = machine.origin
        self._actors: dict[Site, Actor] = {}
        self.memory = machine.memory
        self.program = machine.program
        self.grid = machine.grid
        self.linear = machine.linear
        self.warps = machine.settings.warps
        self.tensormaps = machine.tensormaps

    # --- clocks -------------------------------------------------------------------------------

    def release(self) -> None:
        """Begin a new epoch: what follows is not known to those who learn what came before."""
        self.machine.clocks.tick(self.clock, self.thread)

    def begin(self) -> None:
        """Count a synchronising operation."""
        self.machine.step()
        self.machine.executed.add(self.at.candidate)

    def actor(self, clock: int) -> Actor:
        """Return this partition, at the operation that runs, with what a clock knows."""
        return Actor(self.at, self.name, clock)

    @property
    def me(self) -> Actor:
        """This partition, at the operation that runs, with what it knows."""
        actor = self._actors.get(self.at)
        if actor is None or actor.partition != self.name:
            actor = self._actors[self.at] = Actor(self.at, self.name, self.clock)
        return actor

    def report(
        self, kind: FindingKind, message: str, other: tuple[Site, str] | None = None
    ) -> None:
        """File a finding of the operation that runs."""
        self.machine.report(kind, message, self.me, other)

    def turn(self) -> None:
        """Count a turn of a loop."""
        self.machine.step()

    # --- accesses -----------------------------------------------------------------------------

    def touch(
        self, view: View, *, write: bool, by: tuple[int, int, int] | None = None, proxy: bool = True
    ) -> bool:
        """Check an access and remember it; return whether it collided with nothing.

        Args:
            view: what is accessed.
            write: whether it is written.
            by: clock, thread and count of a transfer or product; None is this partition.
            proxy: whether such a transfer goes through the async proxy.
        """
        self.machine.step()
        clocks = self.machine.clocks
        clock, thread, count = by or (self.clock, self.thread, clocks.counts[self.thread])
        where = view.footprint
        if where is None:
            where = view.footprint = footprint(view.data)
        access = Access(
            where, write, by is not None and proxy, thread, count, clock, self.at, self.name
        )
        collisions = self.machine.history(view.buffer).add(clocks, access)
        if not collisions:
            return True
        for collision in collisions:
            earlier = collision.earlier
            kind = _RACE[view.buffer.space] if collision.fenced else FindingKind.MISSING_FENCE
            what = _verb(access) + " " + ("while" if collision.fenced else "after")
            why = (
                f"{what} nothing orders it with {_noun(earlier)}"
                if collision.fenced
                else f"{what} {_noun(earlier)}, without fence_async_shared between them"
            )
            place = f"{view.buffer.space} of {view.name}, {access.footprint}, is "
            self.report(kind, place + why, (earlier.site, earlier.partition))
        return False

    def read(self, view: View) -> Tensor:
        """Return a copy of a view's elements."""
        clean = self.touch(view, write=False)
        if view.ready:
            return view.elements.clone()
        return self._filled(view, self.me, clean=clean)

    def value(self, view: View) -> Tensor:
        """Return a view's elements for the job that runs."""
        if view.ready:
            return view.elements
        job = self.machine.job
        return self._filled(view, Actor(job.site, self.name, 0), clean=job.clean)

    def _filled(self, view: View, actor: Actor, *, clean: bool) -> Tensor:
        """Return elements of which some are not ready.

        What nobody wrote is poison, and a finding if there is no other.
        """
        if clean and view.holds(EMPTY):
            self.machine.report(
                FindingKind.UNINITIALISED,
                f"{view.buffer.space} of {view.name} is read and was never written",
                actor,
            )
        return view.patched((EMPTY, SKIPPED))

    def write(self, view: View, value: Tensor) -> None:
        """Store a tensor."""
        self.touch(view, write=True)
        view.write(value)

    def skip(self, view: View) -> None:
        """Note that a predicated-off write would have come here."""
        self.machine.step()
        view.skip()

    def allocate(self, kind: MemDescType, dtype: torch.dtype, size: int, name: str) -> View:  # noqa: ARG002
        """Return a new allocation."""
        return self.allocate_local(kind, kind.shape, dtype, name)

    def allocate_local(
        self, kind: MemDescType, shape: tuple[int, ...], dtype: torch.dtype, name: str
    ) -> View:
        """Return a new allocation of what one CTA holds of a tensor."""
        buffer = Buffer(kind.space, math.prod(shape) * dtype.itemsize, name)
        return buffer.view(shape, dtype, kind.layout)

    def deallocate(self, view: View) -> None:
        """Give an allocation back: nobody may use it any more, or still be using it."""
        self.touch(view, write=True)
        view.mark(EMPTY)

    def take_scratch(self, size: int, alignment: int) -> int:
        """Return the address of the next piece of this CTA's global scratch."""
        return self.machine.take_scratch(self.rank, size, alignment)


def _verb(access: Access) -> str:
    return "written" if access.write else "read"


def _noun(access: Access) -> str:
    what = "write" if access.write else "read"
    return f"an asynchronous {what}" if access.asynchronous else f"a {what}"
