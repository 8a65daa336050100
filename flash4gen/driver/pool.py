"""Processes that run jobs: so many at a time, their progress told, none of them able to end all."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import util
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flash4gen.driver.batch import Job, Order, Outcome, Status, run_job
from flash4gen.driver.model import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.queues import SimpleQueue

    Events = SimpleQueue[tuple[Job, Event]]
    Notify = Callable[[Job, Event | Outcome | None], None]
    Work = Callable[[Job, Order], Outcome]

POLL = 0.2
"""Seconds between two looks at what the processes tell."""

_told: Events | None = None
"""In a process of the pool: where it tells its progress, at once, as it may die the next moment."""


def run_jobs(
    jobs: Sequence[Job],
    order: Order,
    workers: int,
    notify: Notify,
    work: Work | None = None,
) -> tuple[Outcome, ...]:
    """Run jobs in up to ``workers`` processes and return an outcome for each, in their order.

    Args:
        jobs: what to run.
        order: what holds for all of them.
        workers: most processes at a time.
        notify: told every event and the outcome of a job; and None again and again, to show that
            time passes.
        work: what a process does with a job; compiles it if left out.
    """
    pool = _Pool(order, notify, work or _work)
    left = list(jobs)
    while left:
        pool.run(left, workers)
        # Where a process died, all that is unfinished is lost. Whose fault it was shows when each
        # that had begun runs alone.
        lost = [job for job in left if job not in pool.outcomes]
        for job in [job for job in lost if job in pool.begun] or lost:
            pool.run([job], 1)
            if job not in pool.outcomes:
                pool.give_up(job)
        left = [job for job in lost if job not in pool.outcomes]
    return tuple(pool.outcomes[job] for job in jobs)


class _Pool:
    """Runs jobs and keeps what became of them."""

    def __init__(self, order: Order, notify: Notify, work: Work) -> None:
        self._order = order
        self._notify = notify
        self._work = work
        self.outcomes: dict[Job, Outcome] = {}
        self.begun: set[Job] = set()

    def run(self, jobs: list[Job], workers: int) -> None:
        """Run jobs in a pool of processes; those without an outcome fell to a process that died.

        What ends this ends the processes at once. Whatever they have begun to write lies in a
        folder that goes then.
        """
        context = multiprocessing.get_context("spawn")
        told: Events = context.SimpleQueue()
        count = min(workers, len(jobs))
        with (
            TemporaryDirectory(prefix="flash4gen-", ignore_cleanup_errors=True) as scratch,
            ProcessPoolExecutor(count, context, _begin, (told, scratch)) as pool,
        ):
            try:
                waiting = {pool.submit(self._work, job, self._order): job for job in jobs}
                while waiting:
                    done, _ = wait(waiting, POLL, FIRST_COMPLETED)
                    self._pass_on(told)
                    for future in done:
                        self._finish(waiting.pop(future), future)
                    self._notify(jobs[0], None)
                self._pass_on(told)
            except BaseException:
                _end_children()  # which breaks the pool: it gives up what has not begun
                raise

    def give_up(self, job: Job) -> None:
        """Note that a job ends its process."""
        self._end(
            job,
            Outcome(
                spec=job.spec,
                target=job.target,
                status=Status.FAILED,
                fault="its process was ended by the system, perhaps for want of memory",
            ),
        )

    def _finish(self, job: Job, future: Future[Outcome]) -> None:
        try:
            self._end(job, future.result())
        except BrokenProcessPool:
            return

    def _end(self, job: Job, outcome: Outcome) -> None:
        self.outcomes[job] = outcome
        self._notify(job, outcome)

    def _pass_on(self, told: Events) -> None:
        while not told.empty():
            job, event = told.get()
            self.begun.add(job)
            if job not in self.outcomes:
                self._notify(job, event)


def _end_children() -> None:
    """End the processes of the pool, and the assemblers that they run."""
    for child in multiprocessing.active_children():
        if child.pid is None:
            continue
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has not begun: there is no group of this number yet
            child.kill()


def _begin(told: Events, scratch: str) -> None:
    """Prepare a process of the pool, before torch is loaded."""
    global _told
    _told = told
    os.setpgid(0, 0)  # a group of its own, to be ended with all that it starts
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its children
    tempfile.tempdir = scratch
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Triton's bindings print what is alive when an interpreter is taken down: end without.
    util.Finalize(None, os._exit, args=(0,), exitpriority=-100)


def tell(job: Job, event: Event) -> None:
    """In a process of the pool: say what a job is doing."""
    if _told is not None:
        _told.put((job, event))


def _work(job: Job, order: Order) -> Outcome:
    tell(job, Event(stage="compare", subject=job.subject, detail="", seconds=0.0, done=False))
    return run_job(job, order, lambda event: tell(job, event))
