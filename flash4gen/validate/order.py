"""Whether sums may come out otherwise in another run: operations that add in an order of their own.

In: compiled kernels. Out: which of them add floats to memory that other programs add to.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flash4gen.build.artefact import Artefact

_FLOAT_SUM = re.compile(r"tt\.atomic_rmw fadd|ttng\.async_tma_reduce add")
"""Sums in global memory; Triton's names of both ways to form one."""

_TURNS = re.compile(r"tt\.atomic_poll acquire.*tt\.atomic_rmw exch, release", re.DOTALL)
"""A wait for a number in global memory, and its change when what was added is there."""

_ONE_BY_ONE = re.compile(r"tt\.atomic_rmw fadd")

IN_TURN = "programs add to one place one after the other, always in the same order"
FIXED = "every sum has one program and one order: no kernel adds atomically"


def unordered(kernels: Iterable[Artefact]) -> tuple[str, ...]:
    """Return the names of the kernels that add floats in global memory, in no order of theirs."""
    return tuple(
        kernel.kernel
        for kernel in kernels
        if _FLOAT_SUM.search(kernel.ttgir) and not _takes_turns(kernel)
    )


def kept_order(kernels: Iterable[Artefact]) -> str:
    """Return why sums of such kernels have an order."""
    return IN_TURN if any(map(_takes_turns, kernels)) else FIXED


def _takes_turns(kernel: Artefact) -> bool:
    """Whether the copy engine adds for one program at a time: each waits for the one before it."""
    one_by_one = _ONE_BY_ONE.search(kernel.ttgir)
    return one_by_one is None and _TURNS.search(kernel.ttgir) is not None


def broken_promise(names: Iterable[str]) -> str:
    """Return what is wrong with such kernels where the spec says ``deterministic = true``."""
    return f"deterministic = true, and {', '.join(names)} adds floats in memory in any order"
