"""Named barriers: the sixteen of a CTA that need no memory (PTX ISA, "bar{.cta}, barrier{.cta}").

Threads arrive, and go on (`bar.arrive`) or wait (`bar.sync`), until as many have come as each of
them names. The barrier is free for its next use at once. Nothing tells one use from the next, so
that who arrives must know that the use before is over; else the arrival may count for that one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash4gen.vgpu.concurrent.barrier import Actor
from flash4gen.vgpu.errors import FaultError, FindingKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.vgpu.concurrent.clocks import Clocks
    from flash4gen.vgpu.concurrent.sites import Site

    Reporter = Callable[[FindingKind, str, Actor, tuple[Site, str] | None], None]

_BARRIERS = 16
# Threads of a warp.
_THREADS = 32


@dataclass(eq=False)
class Use:
    """One use of a barrier, from its first arrival until enough threads have come.

    Attributes:
        name: of the barrier, for messages.
        threads: that must come, by who came first.
        clock: what they know, all together.
        arrived: threads that have come.
        waiting: partitions that have not gone on yet.
        closed: whether nobody can join any more.
        comers: each arrival's operation and partition.
    """

    name: str
    threads: int
    clock: int
    arrived: int = 0
    waiting: int = 0
    closed: bool = False
    comers: list[tuple[Site, str]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether all have come."""
        return self.closed

    def reasons(self) -> list[tuple[FindingKind, str]]:
        """Say how many are missing."""
        who = ", ".join(name or "the program" for _, name in self.comers)
        message = (
            f"wait at {self.name} for {self.threads} threads, of which {self.arrived} have come "
            f"({who}), and nobody is under way that would bring the others"
        )
        return [(FindingKind.DEADLOCK, message)]


class NamedBarriers:
    """The named barriers of one CTA.

    Args:
        clocks: of the program.
        report: takes the kind, the message, who did it and what it collided with.
    """

    def __init__(self, clocks: Clocks, report: Reporter) -> None:
        self._clocks = clocks
        self._report = report
        self._open: dict[int, Use] = {}
        self._last: dict[int, Use] = {}

    def come(self, number: int, threads: int, warps: int, actor: Actor, *, waits: bool) -> Use:
        """Let the warps of a partition arrive; return the use that they arrive in.

        Args:
            number: of the barrier.
            threads: that this arrival names.
            warps: of the partition.
            actor: who arrives.
            waits: whether it waits for the others; it must call `leave` then.

        Raises:
            FaultError: there is no such barrier, or a number of threads that is none of warps.
        """
        use = self._use(number, threads)
        self._ordered(number, use, actor)
        coming = warps * _THREADS
        if threads != use.threads:
            self._report(
                FindingKind.BARRIER_COUNT,
                f"{use.name} is used with {threads} threads, and in the same turn with "
                f"{use.threads}",
                actor,
                use.comers[0] if use.comers else None,
            )
        if use.arrived + coming > use.threads:
            self._report(
                FindingKind.BARRIER_OVER_ARRIVAL,
                f"{coming} threads arrive at {use.name}, which needs "
                f"{use.threads - use.arrived} more of {use.threads}",
                actor,
                use.comers[-1] if use.comers else None,
            )
        use.arrived += coming
        use.waiting += waits
        use.comers.append((actor.site, actor.partition))
        # Each counts: without one the others would not go on.
        self._clocks.needed.add(actor.site.candidate)
        self._clocks.join(use.clock, actor.clock)
        if use.arrived >= use.threads:
            self._finish(number, use)
        return use

    def leave(self, use: Use, clock: int, candidate: int) -> None:
        """Let a partition that has waited learn what all knew."""
        self._clocks.join(clock, use.clock, candidate)
        use.waiting -= 1

    def leftover(self) -> None:
        """Report uses that have begun and will not end."""
        for use in self._open.values():
            site, partition = use.comers[-1]
            self._report(
                FindingKind.LEFTOVER_PHASE,
                f"{use.name} is left with {use.arrived} of {use.threads} threads",
                Actor(site, partition, 0),
                None,
            )

    def _use(self, number: int, threads: int) -> Use:
        name = f"named barrier {number}"
        if not 0 <= number < _BARRIERS:
            message = f"{name} is used, and there are {_BARRIERS}, from 0 on"
            raise FaultError(FindingKind.BARRIER_COUNT, message)
        if threads < _THREADS or threads % _THREADS:
            message = f"{name} is used with {threads} threads, which are no whole warps"
            raise FaultError(FindingKind.BARRIER_COUNT, message)
        if number not in self._open:
            self._open[number] = Use(name, threads, self._clocks.new())
        return self._open[number]

    def _ordered(self, number: int, use: Use, actor: Actor) -> None:
        last = self._last.get(number)
        skip = actor.site.candidate
        if last is not None and not self._clocks.covers(actor.clock, last.clock, skip):
            self._report(
                FindingKind.BARRIER_OVER_ARRIVAL,
                f"an arrival at {use.name} is not ordered behind the end of its last turn, and may "
                "count for that one",
                actor,
                last.comers[-1],
            )

    def _finish(self, number: int, use: Use) -> None:
        use.closed = True
        del self._open[number]
        old = self._last.get(number)
        if old is not None and not old.waiting:
            self._clocks.free(old.clock)
        self._last[number] = use
