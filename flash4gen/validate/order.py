"""Whether sums may come out otherwise in another run: operations that add in an order of their own.

In: compiled kernels. Out: a sentence for each that adds to memory which others add to as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flash4gen.build.artefact import Artefact

UNORDERED = ("tt.atomic_rmw", "tt.atomic_cas", "tt.descriptor_reduce", "ttng.async_tma_reduce")
"""Operations of TTGIR that add to global memory when they get there: atomics, and a TMA's sums."""

FIXED = "every sum has one program and one order: no kernel adds atomically"


def unordered(kernels: Iterable[Artefact]) -> Iterator[str]:
    """Yield why the numbers of kernels are not the same bits in every run."""
    for kernel in kernels:
        for operation in UNORDERED:
            if operation in kernel.ttgir:
                yield f"{kernel.kernel} adds by {operation}, in an order that differs between runs"
