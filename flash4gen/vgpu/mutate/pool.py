"""Runs mutants in several processes.

A process gets a kernel's text and its launches, and then one task after the other; which gets
which depends on nothing but their numbers. A pipe carries pickles both ways. The processes are new
ones and run this module: nothing of the caller's, no lock and no thread, is in them. To start one
takes seconds, so that the same run one kernel after the other.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import torch

from flash4gen.vgpu.check import prepare_checked
from flash4gen.vgpu.dtypes import FLOAT8
from flash4gen.vgpu.mutate.generate import mutants
from flash4gen.vgpu.mutate.runs import Baseline, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flash4gen.vgpu.check import Policy
    from flash4gen.vgpu.errors import Finding
    from flash4gen.vgpu.mutate.model import Mutant


@dataclass(frozen=True, slots=True)
class Task:
    """A run of one mutant, by its number among all of the text, under one policy."""

    mutant: int
    policy: Policy


def usable_cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Runner:
    """Runs tasks in this process."""

    def __init__(self) -> None:
        self._mutants: tuple[Mutant, ...] = ()
        self._bases: Sequence[Baseline] = ()

    def load(self, text: str, bases: Sequence[Baseline]) -> None:
        """Take a kernel, whose mutants tasks are about from now on, and what it did."""
        self._mutants = mutants(text)
        self._bases = bases

    def run(
        self, tasks: Sequence[Task], progress: Callable[[int], None]
    ) -> list[tuple[Finding | None, bool]]:
        """Run tasks; `progress` is told how many are done."""
        outcomes = []
        for task in tasks:
            outcomes.append(run(self._mutants[task.mutant], self._bases, task.policy))
            progress(len(outcomes))
        return outcomes


class Processes:
    """Runs tasks in other processes, the i-th in the i-th of them, and round again."""

    def __init__(self, workers: Sequence[subprocess.Popen[bytes]]) -> None:
        self._workers = workers

    def load(self, text: str, bases: Sequence[Baseline]) -> None:
        """Hand a kernel out, whose mutants tasks are about from now on, and what it did."""
        for worker in self._workers:
            _send(worker, (text, bases))

    def run(
        self, tasks: Sequence[Task], progress: Callable[[int], None]
    ) -> list[tuple[Finding | None, bool]]:
        """Run tasks; `progress` is told how many are done.

        Raises:
            RuntimeError: a process ended before its work was done.
        """
        many = len(self._workers)
        for number, worker in enumerate(self._workers):
            _send(worker, list(tasks[number::many]))
        outcomes = []
        for number in range(len(tasks)):
            outcomes.append(_receive(self._workers[number % many]))
            progress(len(outcomes))
        return outcomes


Pool: TypeAlias = Runner | Processes


@contextmanager
def runner(processes: int) -> Iterator[Pool]:
    """Return what runs tasks, in so many processes; they end with the block."""
    if processes < 2:
        yield Runner()
        return
    with ExitStack() as stack:
        yield Processes([stack.enter_context(_worker()) for _ in range(processes)])


@contextmanager
def _worker() -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def sent(message: object) -> bytes:
    """Return a message as it goes through a pipe."""
    buffer = io.BytesIO()
    _Pickler(buffer).dump(message)
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    """Sends 8-bit floats as bytes: torch 2 writes pickles of their storage that it cannot read."""

    def reducer_override(self, obj: object) -> Any:
        """Return how a tensor of 8-bit floats is made of one of bytes; others go their own way."""
        if isinstance(obj, torch.Tensor) and obj.dtype in FLOAT8:
            return torch.Tensor.view, (obj.view(torch.uint8), obj.dtype)
        return NotImplemented


def _send(worker: subprocess.Popen[bytes], message: object) -> None:
    pipe = cast("IO[bytes]", worker.stdin)
    try:
        pipe.write(sent(message))
        pipe.flush()
    except BrokenPipeError as error:
        raise _ended(worker) from error


def _receive(worker: subprocess.Popen[bytes]) -> tuple[Finding | None, bool]:
    try:
        outcome: tuple[Finding | None, bool] = pickle.load(cast("IO[bytes]", worker.stdout))
    except EOFError as error:
        raise _ended(worker) from error
    return outcome


def _ended(worker: subprocess.Popen[bytes]) -> RuntimeError:
    return RuntimeError(f"a process that runs mutants ended with code {worker.wait()}")


def serve() -> None:
    """Take texts with launches, and lists of tasks, from stdin; write outcomes to stdout."""
    torch.set_num_threads(1)  # the others have the other processors
    # What a kernel prints must not come between outcomes.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    local = Runner()
    while True:
        try:
            message: tuple[str, Sequence[Baseline]] | list[Task] = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        if isinstance(message, tuple):
            prepare_checked(message[0])  # raises where something the caller knows is unknown here
            local.load(*message)
            continue
        for task in message:
            pickle.dump(local.run((task,), lambda _done: None)[0], replies)
            replies.flush()
