"""One program while it runs: its partitions, its barriers, its work under way and its clocks."""

from __future__ import annotations

import random
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flash4gen.vgpu.concurrent.barrier import Actor, CheckedBarrier
from flash4gen.vgpu.concurrent.clocks import Clocks
from flash4gen.vgpu.concurrent.cluster import Meetings, Member
from flash4gen.vgpu.concurrent.history import History
from flash4gen.vgpu.concurrent.jobs import Job, Jobs, Policy
from flash4gen.vgpu.concurrent.named import NamedBarriers
from flash4gen.vgpu.concurrent.watch import Watch
from flash4gen.vgpu.concurrent.worker import Worker
from flash4gen.vgpu.errors import FaultError, FindingKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flash4gen.vgpu.concurrent.agent import Agent
    from flash4gen.vgpu.concurrent.globals import GlobalLog
    from flash4gen.vgpu.concurrent.sites import Site
    from flash4gen.vgpu.cta import TensorMap
    from flash4gen.vgpu.memory import GlobalMemory
    from flash4gen.vgpu.onchip import Buffer, View
    from flash4gen.vgpu.report import Collector


class FatalError(Exception):
    """The run cannot go on; the finding that says why has been filed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for a whole run.

    Attributes:
        policy: the schedule.
        seed: of the random schedule.
        step_limit: steps of all programs together.
        sites: the operations of the text that may be redundant.
        warps: of a program without partitions, or of its default one.
        ctas: of a program.
        pair: whether products are those of two CTAs together.
        first: whether the run ends with the first finding.
    """

    policy: Policy
    seed: int
    step_limit: int
    sites: tuple[Site, ...]
    warps: int = 4
    ctas: int = 1
    pair: bool = False
    first: bool = False


@dataclass(slots=True)
class Progress:
    """What a run has done so far, over all its programs.

    Attributes:
        steps: operations of memory and synchronisation, and turns of loops.
        executed: synchronising operations that ran.
        needed: those that some ordering needed.
        waiting: programs that have not started.
    """

    steps: int = 0
    executed: set[int] = field(default_factory=set)
    needed: set[int] = field(default_factory=set)
    waiting: deque[tuple[int, int, int]] = field(default_factory=deque)


class Machine:
    """The state that the partitions of one program share.

    Args:
        memory: the launch's global memory.
        log: who touched it last.
        program: id in the grid.
        grid: extents of the grid.
        scratch: address of the global scratch of each CTA, or 0 if it has none.
        settings: of the run.
        progress: of the run; updated.
        collector: takes the findings.
        origin: where a program is before its first operation.
    """

    def __init__(  # noqa: PLR0913 - what a program is made of
        self,
        memory: GlobalMemory,
        log: GlobalLog,
        program: tuple[int, int, int],
        grid: tuple[int, int, int],
        *,
        scratch: Sequence[int],
        settings: Settings,
        progress: Progress,
        collector: Collector,
        origin: Site,
    ) -> None:
        self.memory = memory
        self.program = program
        self.grid = grid
        self.linear = program[0] + grid[0] * (program[1] + grid[1] * program[2])
        self.tensormaps: dict[int, TensorMap] = {}
        self.origin = origin
        self.executed = progress.executed
        self._scratch = list(scratch)
        self.settings = settings
        self._progress = progress
        self._collector = collector
        waits = (s.candidate for s in settings.sites if s.candidate not in progress.needed)
        self.clocks = Clocks(waits)
        seed = settings.seed * 1_000_003 + self.linear
        self.jobs = Jobs(settings.policy, self._perform, random.Random(seed))
        self.job: Job
        self.watch = Watch(self, log)
        self.running_name = ""
        self._threads: dict[tuple[str, str], int] = {}
        self._kinds: list[str] = []
        self._last: dict[int, Actor] = {}
        self._lanes: list[int] = []
        self._barriers: list[tuple[CheckedBarrier, Actor]] = []
        self._workers: list[Worker] = []
        self._turn = 0
        self.meetings = Meetings(settings.ctas)
        ctas = range(settings.ctas)
        self.named = [NamedBarriers(self.clocks, self.report) for _ in ctas]

    # --- threads ------------------------------------------------------------------------------

    def thread(self, kind: str, worker: Agent) -> int:
        """Return the thread of the clocks for one kind of work of a partition."""
        key = (kind, worker.name)
        if key not in self._threads:
            self._threads[key] = self.clocks.thread()
            self._kinds.append(kind)
        return self._threads[key]

    def lane(self, worker: Worker) -> int:
        """Return a thread for a TMA load: one whose last load the partition knows to be done."""
        clocks = self.clocks
        for thread in self._lanes:
            if clocks.surely_knows(worker.clock, thread, clocks.counts[thread]):
                return thread
        thread = clocks.thread()
        self._kinds.append("TMA loads")
        self._lanes.append(thread)
        return thread

    def note(self, thread: int, worker: Worker) -> None:
        """Remember who used a thread last, for findings at the end."""
        self._last[thread] = worker.actor(0)

    def step(self) -> None:
        """Count a step; raises `FatalError` beyond the limit."""
        self._progress.steps += 1
        if self._progress.steps > self.settings.step_limit:
            at = self._workers[self._turn % len(self._workers)]
            self.report(
                FindingKind.STEP_LIMIT,
                f"more than {self.settings.step_limit} steps",
                at.actor(at.clock),
            )
            raise FatalError

    # --- findings -----------------------------------------------------------------------------

    def report(
        self,
        kind: FindingKind,
        message: str,
        actor: Actor,
        other: tuple[Site, str] | None = None,
    ) -> None:
        """File a finding; raises `FatalError` if that ends the run."""
        site = None if actor.site is self.origin else actor.site
        self._collector.add(kind, message, site, actor.partition, program=self.program, other=other)
        if self.settings.first:
            raise FatalError

    @contextmanager
    def lenient(self, actor: Actor) -> Iterator[None]:
        """File faults after which a run can go on."""
        try:
            yield
        except FaultError as fault:
            if fault.kind is not FindingKind.WRITE_OVERLAP:
                raise
            self.report(fault.kind, fault.message, actor)

    def _perform(self, job: Job) -> None:
        self.job = job
        try:
            job.run()
        except FaultError as fault:
            self.report(fault.kind, fault.message, Actor(job.site, job.partition, 0))
            if fault.kind is not FindingKind.WRITE_OVERLAP:
                raise FatalError from fault

    # --- memory and barriers ------------------------------------------------------------------

    def history(self, buffer: Buffer) -> History:
        """Return the accesses to an allocation."""
        if buffer.history is None:
            buffer.history = History(proxies=buffer.space == "smem")
        return buffer.history

    def take_scratch(self, cta: int, size: int, alignment: int) -> int:
        """Return the address of the next piece of a CTA's global scratch."""
        address = (self._scratch[cta] + alignment - 1) // alignment * alignment
        self._scratch[cta] = address + size
        return address

    def cancel(self) -> tuple[int, int]:
        """Take a program that has not started: whether there was one, and its packed id."""
        waiting = self._progress.waiting
        taken_elsewhere = self.jobs.policy is Policy.RANDOM and self.jobs.random.random() < 0.2
        if not waiting or taken_elsewhere:
            return 0, -1
        x, y, z = waiting.popleft()
        return 1, x | y << 21 | z << 42

    def barrier(self, view: View) -> CheckedBarrier:
        """Return the mbarrier at a view."""
        barrier = view.buffer.checked.get(view.offset)
        if barrier is None:
            raise FaultError(
                FindingKind.BARRIER_NOT_INITIALISED,
                f"{view.name} + {view.offset} bytes holds no barrier",
            )
        return barrier

    def init_barrier(self, view: View, count: int, worker: Worker) -> None:
        """Make a barrier at a view."""
        old = view.buffer.checked.get(view.offset)
        name = f"{view.name}+{view.offset}"
        if old is not None:
            worker.report(FindingKind.BARRIER_REINIT, f"{name} is initialised while it is in use")
            self._forget(old)
        if count < 1:
            raise FaultError(
                FindingKind.BARRIER_NOT_INITIALISED, f"{name} is given a count of {count}"
            )
        epoch = worker.thread, self.clocks.counts[worker.thread]
        barrier = CheckedBarrier(name, count, self.clocks, self.report, epoch)
        view.buffer.checked[view.offset] = barrier
        self._barriers.append((barrier, worker.actor(0)))
        worker.release()

    def inval_barrier(self, view: View, worker: Worker) -> None:
        """End the life of the barrier at a view."""
        barrier = self.barrier(view)
        barrier.close(worker.actor(worker.clock))
        del view.buffer.checked[view.offset]
        self._forget(barrier)

    def _forget(self, barrier: CheckedBarrier) -> None:
        self._barriers = [pair for pair in self._barriers if pair[0] is not barrier]

    # --- running ------------------------------------------------------------------------------

    def run(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        """Run the whole program."""
        roots = [self.start(worker, function, tuple(arguments)) for worker in self._roots()]
        for root in roots:
            while not root.done:
                self._round()
        self._close(roots)
        self.clocks.settle()
        self._progress.needed.update(self.clocks.needed)

    def _roots(self) -> list[Worker]:
        """Return the program, or what it is on each CTA."""
        ctas = self.settings.ctas
        if ctas == 1:
            return [Worker(self, "", self.clocks.new())]
        return [Member(self, "", self.clocks.new(), cta) for cta in range(ctas)]

    def start(
        self, worker: Worker, function: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> Worker:
        """Let a partition run."""
        worker.body = function(worker, *arguments)
        self._workers.append(worker)
        return worker

    def finish(self, worker: Worker) -> None:
        """Forget a partition that has ended."""
        self._workers.remove(worker)

    def _round(self) -> None:
        """Let one partition go on until it blocks, or do some work, as the policy has it."""
        jobs = self.jobs
        match jobs.policy:
            case Policy.RANDOM if jobs.under_way and jobs.random.random() < 0.5:
                jobs.advance()
                return
            case Policy.IN_ORDER:
                jobs.advance()
        ready = [
            worker
            for worker in self._workers
            if not worker.done and (worker.ready if worker.blocked is None else worker.blocked.over)
        ]
        if ready:
            self._go_on(ready)
        elif not jobs.advance():
            self._deadlock()

    def _go_on(self, ready: list[Worker]) -> None:
        if self.jobs.policy is Policy.RANDOM:
            worker = self.jobs.pick(ready)
        else:
            self._turn += 1
            worker = ready[self._turn % len(ready)]
        body = worker.body
        if body is None:
            raise RuntimeError("a partition without a body")
        self.running_name = worker.name
        try:
            next(body)
        except StopIteration as end:
            worker.result = end.value
            worker.done = True
        except FaultError as fault:
            self.report(fault.kind, fault.message, worker.actor(worker.clock))
            raise FatalError from fault

    def _deadlock(self) -> None:
        """File one finding for every partition that waits."""
        stuck = [(w, w.blocked) for w in self._workers if w.blocked is not None]
        for worker, blocked in stuck:
            others = [w.name or "the program" for w, _ in stuck if w is not worker]
            also = f"; waiting as well: {', '.join(others)}" if others else ""
            for kind, message in blocked.reasons():
                tail = also if kind is FindingKind.DEADLOCK else ""
                self.report(kind, message + tail, worker.actor(worker.clock))
        raise FatalError

    def _close(self, roots: Sequence[Worker]) -> None:
        """Check that nothing is under way at the end that should have ended."""
        clock = self.clocks.new()
        for root in roots:
            self.clocks.join(clock, root.clock)
        while self.jobs.advance():
            pass
        for thread, kind in enumerate(self._kinds):
            last = self._last.get(thread)
            count = self.clocks.counts[thread]
            if last is not None and not self.clocks.knows(clock, thread, count):
                self.report(
                    FindingKind.IN_FLIGHT, f"the program may end with {kind} under way", last
                )
        for barrier, actor in self._barriers:
            barrier.leftover(actor)
        for named in self.named:
            named.leftover()
