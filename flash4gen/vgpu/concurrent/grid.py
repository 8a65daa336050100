"""Programs of a launch that wait for each other, by numbers in global memory.

Programs run one after the other. One that waits for what another program writes stands aside, and
goes on once it is there. On a GPU a program may wait for those with lower numbers only: they have
started before it, as programs start in the order of their numbers; those with higher ones may have
no place until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.vgpu.cta import starved
from flash4gen.vgpu.errors import FindingKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from flash4gen.vgpu.concurrent.machine import Machine
    from flash4gen.vgpu.memory import GlobalMemory


@dataclass(frozen=True, slots=True)
class GlobalWait:
    """A wait for a number in global memory."""

    memory: GlobalMemory
    address: int
    expected: Tensor

    @property
    def over(self) -> bool:
        """Whether it is there."""
        found = self.memory.scalar_load(self.address, self.expected.dtype)
        return bool(found == self.expected)

    def reasons(self) -> list[tuple[FindingKind, str]]:
        """Say that nobody writes it."""
        found = self.memory.scalar_load(self.address, self.expected.dtype)
        return [(FindingKind.DEADLOCK, starved(int(found), int(self.expected)))]


Aside = tuple["Machine", "Iterator[None]"]
"""A program that stands aside, and what is left of it."""


def run_together(
    start: Callable[[], Aside | None],
    go_on: Callable[[Aside], bool],
    *,
    in_order: bool,
) -> None:
    """Run programs one after the other; those that wait for each other by turns.

    Args:
        start: gives the next program, None after the last one.
        go_on: runs a program until it ends, or else stands aside; says whether it has ended.
        in_order: whether programs start in the order of their numbers, so that none may wait for
            one that has not.
    """
    aside: list[Aside] = []
    left = True
    while left or aside:
        ready = next((one for one in aside if one[0].can_go_on), None)
        if ready is not None:
            if go_on(ready):
                aside.remove(ready)
            continue
        if aside and (in_order or not left):
            aside[0][0].deadlock()
        program = start()
        left = program is not None
        if program is not None and not go_on(program):
            aside.append(program)
