"""Asynchronous work that has been issued, and the policies that say when it is done.

Work of one queue is done in order; loose work in any. What a wait forces is done at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar, assert_never

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from flash4gen.vgpu.concurrent.sites import Site

_T = TypeVar("_T")


class Policy(StrEnum):
    """Which schedule a run follows; every one of them could happen."""

    IN_ORDER = "time order"
    RANDOM = "random"
    LAZIEST = "laziest"
    EAGEREST = "most eager"


@dataclass(eq=False, slots=True)
class Job:
    """One transfer or product, or an arrival behind it; `site` and `partition` issued it.

    `clean` says that its accesses collided with nothing when it was issued.
    """

    run: Callable[[], None]
    site: Site
    partition: str
    clean: bool = True
    number: int = 0
    done: bool = False


@dataclass(eq=False)
class Jobs:
    """All work under way of a program.

    Args:
        policy: of the run.
        perform: runs a job, and files its faults.
        random: source of the random policy.
    """

    policy: Policy
    perform: Callable[[Job], None]
    random: random.Random
    _queues: list[deque[Job]] = field(default_factory=list)
    _loose: list[Job] = field(default_factory=list)
    _count: int = 0

    def queue(self) -> deque[Job]:
        """Return a new queue whose work is done in order."""
        queue: deque[Job] = deque()
        self._queues.append(queue)
        return queue

    def issue(self, job: Job, queue: deque[Job] | None = None) -> Job:
        """Put work under way."""
        self._count += 1
        job.number = self._count
        if self.policy is Policy.EAGEREST:
            self._do(job)
        elif queue is None:
            self._loose.append(job)
        else:
            queue.append(job)
        return job

    def force(self, job: Job, queue: deque[Job] | None = None) -> None:
        """Do a job now, and what must come before it."""
        if job.done:
            return
        if queue is None:
            self._loose.remove(job)
            self._do(job)
            return
        while not job.done:
            self._do(queue.popleft())

    def advance(self) -> bool:
        """Do one job as the policy has it; False if there is none."""
        heads = [queue for queue in self._queues if queue]
        if not heads and not self._loose:
            return False
        match self.policy:
            case Policy.RANDOM:
                choice = self.random.randrange(len(heads) + len(self._loose))
                if choice < len(heads):
                    self._do(heads[choice].popleft())
                else:
                    self._do(self._loose.pop(choice - len(heads)))
            case Policy.LAZIEST:
                # Transfers in the reverse order: nobody may rely on theirs.
                if heads:
                    self._do(max(heads, key=lambda queue: queue[0].number).popleft())
                else:
                    self._do(self._loose.pop())
            case Policy.IN_ORDER | Policy.EAGEREST:
                oldest = min(heads, key=lambda queue: queue[0].number, default=None)
                if oldest and not (self._loose and self._loose[0].number < oldest[0].number):
                    self._do(oldest.popleft())
                else:
                    self._do(self._loose.pop(0))
            case _:
                assert_never(self.policy)
        return True

    def _do(self, job: Job) -> None:
        job.done = True
        self.perform(job)

    @property
    def under_way(self) -> bool:
        """Whether any work is."""
        return bool(self._loose) or any(self._queues)

    def pick(self, items: Sequence[_T]) -> _T:
        """Return one of some items, at random."""
        return items[self.random.randrange(len(items))]
