"""mbarriers with everything that their protocol can get wrong, whatever the order of a run.

A barrier completes phase n when its count of arrivals and its bytes have come; a wait names a
parity only. Three rules make parity enough, and each is checked with clocks, not with the order
in which things happened to run:

* who arrives in phase n knows that phase n - 1 is complete (else the arrival may count for that);
* phase n + 1 completes only after everyone who waits for phase n has done so (else the parity
  they look for has come and gone);
* a wait names the first phase of its parity that the waiter does not know to be complete, or the
  last one that it does.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from flash4gen.vgpu.errors import FindingKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.vgpu.concurrent.clocks import Clocks
    from flash4gen.vgpu.concurrent.sites import Site

# Completed phases whose clocks are kept: a waiter that is farther behind is lost anyway.
_REMEMBERED = 4


class Actor(NamedTuple):
    """Who does something to a barrier: an operation, its partition, and what it knows."""

    site: Site
    partition: str
    clock: int


class Blocked(Protocol):
    """What a partition may wait for."""

    @property
    def over(self) -> bool:
        """Whether the wait is over."""
        ...

    def reasons(self) -> list[tuple[FindingKind, str]]:
        """Say why it is not, if nothing is under way any more."""
        ...


@dataclass(slots=True)
class _Waited:
    """A wait that saw a phase complete."""

    phase: int
    thread: int
    count: int
    site: Site
    partition: str


@dataclass(slots=True)
class _Completed:
    """A phase that is over: what its arrivals knew, and the operations that arrived."""

    index: int
    clock: int
    arrivals: frozenset[int]


@dataclass(eq=False)
class CheckedBarrier:
    """One mbarrier.

    Attributes:
        name: for messages.
        count: arrivals a phase needs.
        clocks: of the program.
        report: takes the kind, the message, who did it and what it collided with.
        init: thread and count of the initialisation.
        phase: index of the phase that is running.
        pending: arrivals still to come in it.
        bytes: announced and not yet delivered; negative if more came than were announced.
        announced: bytes announced since the initialisation.
        issued: bytes of the transfers issued since then.
    """

    name: str
    count: int
    clocks: Clocks
    report: Callable[[FindingKind, str, Actor, tuple[Site, str] | None], None]
    init: tuple[int, int]
    phase: int = 0
    pending: int = field(init=False)
    bytes: int = 0
    announced: int = 0
    issued: int = 0

    def __post_init__(self) -> None:
        self.pending = self.count
        self._clock = self.clocks.new()
        self._completed: deque[_Completed] = deque()
        self._waits: list[_Waited] = []
        self._arrivals: set[int] = set()
        self._announcers: set[str] = set()
        self._seen: dict[str, int] = {}

    # --- arrivals -----------------------------------------------------------------------------

    def expect(self, count: int, actor: Actor) -> None:
        """Announce bytes for the running phase; an arrival follows."""
        self.bytes += count
        self.announced += count
        self._announcers.add(actor.partition)

    def issue(self, count: int, actor: Actor) -> None:
        """Note that a transfer of that many bytes is under way."""
        self.issued += count
        self._started(actor)
        last = self._completed[-1] if self._completed else None
        if last is not None and not self.clocks.covers(actor.clock, last.clock):
            self.report(
                FindingKind.BARRIER_TX_BYTES,
                f"bytes for phase {self.phase} of {self.name} are not ordered behind the end of "
                f"phase {last.index}, and may count for that one",
                actor,
                None,
            )
        if self.issued > self.announced and self._announcers == {actor.partition}:
            self.report(
                FindingKind.BARRIER_TX_BYTES,
                f"transfers of {self.issued} bytes have been issued for {self.name}, and "
                f"{self.announced} were announced",
                actor,
                None,
            )
            self.announced = self.issued

    def hold(self, count: int) -> None:
        """Let the running phase need that many arrivals more."""
        self.pending += count

    def deliver(self, count: int, actor: Actor) -> None:
        """Bytes arrive by TMA."""
        self.bytes -= count
        self.clocks.join(self._clock, actor.clock)
        if self.pending == 0 and self.bytes < 0:
            self.bytes = 0  # reported when the transfer was issued, or at the end
        self._turn(actor)

    def arrive(self, count: int, actor: Actor) -> None:
        """Threads or a commit arrive."""
        self._started(actor)
        last = self._completed[-1] if self._completed else None
        skip = actor.site.candidate
        if last is not None and not self.clocks.covers(actor.clock, last.clock, skip):
            self.report(
                FindingKind.BARRIER_OVER_ARRIVAL,
                f"an arrival for phase {self.phase} of {self.name} is not ordered behind the end "
                f"of phase {last.index}, and may count for that one",
                actor,
                None,
            )
        if count > self.pending:
            self.report(
                FindingKind.BARRIER_OVER_ARRIVAL,
                f"{count} arrivals at {self.name}, whose phase {self.phase} needs "
                f"{self.pending} more of {self.count}",
                actor,
                None,
            )
            count = self.pending
        self.pending -= count
        self._arrivals.add(skip)
        self.clocks.join(self._clock, actor.clock)
        self._turn(actor)

    def _started(self, actor: Actor) -> None:
        if not self.clocks.knows(actor.clock, *self.init, skip=actor.site.candidate):
            self.report(
                FindingKind.BARRIER_NOT_INITIALISED,
                f"{self.name} is used without being ordered behind its initialisation",
                actor,
                None,
            )

    def _turn(self, actor: Actor) -> None:
        if self.pending or self.bytes:
            return
        for wait in self._waits:
            known = self.clocks.knows(
                self._clock, wait.thread, wait.count, skip=wait.site.candidate
            )
            if not known:
                self._overrun(wait.phase, Actor(wait.site, wait.partition, 0), actor)
        self._waits.clear()
        done = _Completed(self.phase, self.clocks.copy(self._clock), frozenset(self._arrivals))
        self._completed.append(done)
        if len(self._completed) > _REMEMBERED:
            self.clocks.free(self._completed.popleft().clock)
        self._arrivals.clear()
        self.phase += 1
        self.pending = self.count

    def _overrun(self, phase: int, waiter: Actor, arrival: Actor | None) -> None:
        self.report(
            FindingKind.PHASE_OVERRUN,
            f"phase {phase + 1} of {self.name} can complete before this wait has seen phase "
            f"{phase}; the parity it waits for is gone then",
            waiter,
            None if arrival is None else (arrival.site, arrival.partition),
        )

    # --- waits --------------------------------------------------------------------------------

    def target(self, actor: Actor, parity: int) -> int:
        """Return the index of the phase that a wait means; -1 is before the first."""
        self._started(actor)
        known = self._seen.get(actor.partition, 0)
        for done in reversed(self._completed):
            if done.index < known:
                break
            if self.clocks.includes(actor.clock, done.clock):
                known = done.index + 1
                break
        return known if (known ^ parity) & 1 == 0 else known - 1

    def pass_wait(self, actor: Actor, target: int, thread: int) -> None:
        """A wait has seen its phase complete: it learns what the arrivals knew."""
        skip = actor.site.candidate
        if self.phase > target + 1:
            self._overrun(target, actor, None)
        else:
            count = self.clocks.counts[thread]
            self._waits.append(_Waited(target, thread, count, actor.site, actor.partition))
        for done in self._completed:
            if done.index == target - 1:
                self.clocks.covers(actor.clock, done.clock, skip)
            elif done.index == target:
                self.clocks.join(actor.clock, done.clock, skip)
                # Without them the phase would not end, and this wait would not either.
                self.clocks.needed.update(done.arrivals)
        if target >= 0:
            self._seen[actor.partition] = target + 1

    # --- the end ------------------------------------------------------------------------------

    def close(self, actor: Actor) -> None:
        """Check at the end of its life that nobody uses it and no phase is half done."""
        if not self.clocks.covers(actor.clock, self._clock):
            self.report(
                FindingKind.BARRIER_REINIT,
                f"{self.name} is given up while an arrival may still be under way",
                actor,
                None,
            )
        for wait in self._waits:
            if not self.clocks.knows(actor.clock, wait.thread, wait.count):
                self.report(
                    FindingKind.BARRIER_REINIT,
                    f"{self.name} is given up while a wait for it may still be going on",
                    actor,
                    (wait.site, wait.partition),
                )
        self.leftover(actor)

    def leftover(self, actor: Actor) -> None:
        """Report a phase that has begun and will not end, and bytes that do not add up."""
        if self.announced != self.issued:
            self.report(
                FindingKind.BARRIER_TX_BYTES,
                f"{self.announced} bytes were announced to {self.name}, and transfers brought "
                f"{self.issued}",
                actor,
                None,
            )
        if self.pending != self.count or self.bytes:
            self.report(
                FindingKind.LEFTOVER_PHASE,
                f"phase {self.phase} of {self.name} is left with {self.pending} of {self.count} "
                f"arrivals and {self.bytes} bytes missing",
                actor,
                None,
            )


class BarrierWait(NamedTuple):
    """A wait for one phase of a barrier."""

    barrier: CheckedBarrier
    target: int

    @property
    def over(self) -> bool:
        """Whether the phase is complete."""
        return self.barrier.phase > self.target

    def reasons(self) -> list[tuple[FindingKind, str]]:
        """Say what the phase lacks."""
        barrier = self.barrier
        found = []
        if barrier.pending == 0 and barrier.bytes > 0:
            message = (
                f"phase {barrier.phase} of {barrier.name} lacks {barrier.bytes} bytes that no "
                "transfer brings"
            )
            found.append((FindingKind.BARRIER_TX_BYTES, message))
        message = (
            f"wait for phase {self.target} of {barrier.name}, whose phase {barrier.phase} lacks "
            f"{barrier.pending} of {barrier.count} arrivals and {barrier.bytes} bytes, and "
            "nothing is under way that would bring them"
        )
        return [*found, (FindingKind.DEADLOCK, message)]
