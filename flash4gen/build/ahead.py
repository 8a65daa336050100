"""Kernels of one module compiled side by side, before its launches ask for one after the other.

Triton leaves Python's lock while LLVM optimises and while ptxas runs, which is most of the time,
so that threads are enough.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import triton

from flash4gen.vgpu.mutate import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Request = tuple[Any, str]
    """A function for Triton to compile, and what for, as Triton writes it."""

A = TypeVar("A")
B = TypeVar("B")


def workers() -> int:
    """Return how many threads compile: a core each; one in a pool, whose processes take the cores.

    At most four: each holds a module of LLVM's, and a variant has no more large kernels.
    """
    if multiprocessing.parent_process() is not None:
        return 1
    return min(4, usable_cores())


def in_threads(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """Return what becomes of items, in their order; the first error is raised."""
    if len(items) < 2 or workers() < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(workers()) as pool:
        return list(pool.map(work, items))


def compile_ahead(launch: Callable[[], None]) -> None:
    """Compile what a module's launchers are about to ask for, so that they find it compiled.

    Args:
        launch: calls the launchers, on a virtual GPU that does not execute; called once more
            after this, it is what raises the errors that are met here.
    """
    if workers() < 2:
        return
    requests = _requested(launch)
    # Gradients are launched last and take longest: begun first, they leave no thread without work.
    in_threads(_compile, requests[::-1])


def _requested(launch: Callable[[], None]) -> list[Request]:
    """Return the kernels that launches need, each once, and compile nothing."""
    found: dict[str, Request] = {}

    def note(*, fn: Any, compile: dict[str, Any], **_: Any) -> bool:  # noqa: A002 - Triton's name
        wanted = compile["specialization_data"]
        found.setdefault(wanted, (fn.jit_function, wanted))
        return True  # Triton leaves out compile and launch.

    knob = triton.knobs.runtime
    before, knob.jit_cache_hook = knob.jit_cache_hook, note
    try:
        launch()
    except Exception:
        return []  # It is met again where it is reported.
    finally:
        knob.jit_cache_hook = before
    return list(found.values())


def _compile(request: Request) -> None:
    function, wanted = request
    with contextlib.suppress(Exception):  # Likewise.
        function.preload(wanted)
