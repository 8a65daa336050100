"""How a kernel says what its schedule leaves open, as far as it takes time.

In: nothing. Out: ``Idioms``: those of generated modules, and FlashAttention-4's, for comparisons
with what was measured of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.clock.program import Arrive, Sync

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.clock.program import Step

WORD = 4
"""Bytes of a float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Idioms:
    """What takes time and is no choice of a schedule.

    Attributes:
        gathered: all warps of a role meet before one thread arrives for them, as Triton compiles
            it; else every thread arrives.
        voted: all warps of the correction agree on whether to rescale, as branches of Gluon must be
            taken by all; else each decides on its own 32 rows.
    """

    gathered: bool = True
    voted: bool = True

    def arrive(self, barrier: str, label: str) -> Iterator[Step]:
        """Yield an arrival of a role of four warps."""
        if self.gathered:
            yield Sync(label=label)
        yield Arrive(barrier=barrier, label=label)


OURS = Idioms()

FLASH_ATTENTION_4 = Idioms(gathered=False, voted=False)
"""As its source has it (flash-attention@0251105, ``flash_fwd_sm100``): arrivals of 128 threads, and
a ballot in each warp."""
