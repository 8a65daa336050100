"""Where in a launch a step of the sketch is: the walks of a program, and uses of barriers.

In: the steps of each work tile that a program computes. Out: for every step its number since the
launch, from which the uses of barriers follow as the kernel's parities do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.clock.program import Wait
from flash4gen.schedule.blackwell.model import TensorPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.schedule.blackwell.model import BlackwellSchedule

AHEAD = (TensorPlan.SHARED_S, TensorPlan.DISJOINT, TensorPlan.DOUBLE_S)
"""Plans whose next scores are multiplied before the last weights (``concern/mma/ahead``)."""

FREED = (TensorPlan.SHARED_S, TensorPlan.DISJOINT)
"""Plans in which softmax says that it has its scores in registers."""


@dataclass(frozen=True, slots=True)
class Walk:
    """A work tile of a program.

    Attributes:
        done: work tiles of the program before it.
        turn: steps of the program before it.
        masked: of each of its steps, whether it runs mask code.
    """

    done: int
    turn: int
    masked: tuple[bool, ...]

    @property
    def steps(self) -> int:
        """Its steps."""
        return len(self.masked)

    @property
    def last(self) -> int:
        """Steps of the program when it is done."""
        return self.turn + self.steps


def walks(tiles: tuple[tuple[bool, ...], ...]) -> Iterator[Walk]:
    """Yield the walks of a program."""
    turn = 0
    for done, masked in enumerate(tiles):
        yield Walk(done, turn, masked)
        turn += len(masked)


def scores_full(schedule: BlackwellSchedule, tile: int, turn: int) -> tuple[str, int]:
    """Return the barrier of a tile's scores in a step, and its use."""
    return _slotted(schedule, "s_full", tile, turn)


def weights_ready(schedule: BlackwellSchedule, name: str, tile: int, turn: int) -> tuple[str, int]:
    """Return a barrier of a tile's weights (``p_ready`` or ``p_last``) in a step, and its use."""
    return _slotted(schedule, name, tile, turn)


def _slotted(schedule: BlackwellSchedule, name: str, tile: int, turn: int) -> tuple[str, int]:
    if schedule.plan is TensorPlan.DOUBLE_S:
        return f"{name}[{turn % 2}]", turn // 2
    return f"{name}[{tile}]", turn


def wait(barrier: tuple[str, int], label: str = "") -> Wait:
    """Return a wait for a use of a barrier."""
    name, use = barrier
    return Wait(barrier=name, use=use, label=label or f"wait for {name}")
