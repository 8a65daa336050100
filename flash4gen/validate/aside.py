"""Climbs the rungs about numbers in a process of their own, while this one watches the kernel.

The process is a new one and runs this module, as those of the mutants do (`vgpu/mutate/pool.py`).
Its stdin is a file with the subject as a pickle, its stdout a pipe that brings back the rungs.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from flash4gen.build.load import load_module
from flash4gen.validate.numbers import number_rungs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.validate.certificate import Rung
    from flash4gen.validate.subject import Subject


@contextmanager
def numbers_aside(subject: Subject) -> Iterator[Callable[[], tuple[Rung, ...]]]:
    """Begin to climb the rungs about numbers elsewhere; the process ends with the block.

    Returns:
        What waits for the rungs. It raises RuntimeError if the process ends without an answer.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    with tempfile.TemporaryFile() as question:
        pickle.dump(subject, question)
        question.seek(0)
        process = subprocess.Popen(command, stdin=question, stdout=subprocess.PIPE, env=environment)
    with process:
        try:
            yield lambda: _answer(process)
        finally:
            process.kill()


def _answer(process: subprocess.Popen[bytes]) -> tuple[Rung, ...]:
    answer, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the process that runs the cases ended with code {process.returncode}")
    rungs: tuple[Rung, ...] = pickle.loads(answer)
    return rungs


def serve() -> None:
    """Take a subject from stdin, write its rungs to stdout."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    torch.set_num_threads(1)  # the others have the other processors
    # What a kernel prints must not come before the answer.
    reply = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    subject: Subject = pickle.load(sys.stdin.buffer)
    rungs = tuple(number_rungs(subject, load_module(subject.path), lambda _rung, _what: None))
    with reply:
        pickle.dump(rungs, reply)
    sys.stderr.flush()
    os._exit(0)  # Triton's bindings have a word to say when an interpreter is taken down
