"""A choice and its runners-up on the clock: the modelled cycles of a step of each.

In: a ``Choice`` of this family with what it was made from. Out: ``Compared``. One run each, with
latencies as they are, remembered between runs of the program; ``tune`` looks closer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flash4gen.clock.machine import NoConstantsError
from flash4gen.schedule.blackwell.model import Dispatch
from flash4gen.schedule.blackwell.pace import STILL, kernel
from flash4gen.schedule.blackwell.published import flash_attention_4
from flash4gen.schedule.blackwell.registers import DEFAULTS
from flash4gen.schedule.blackwell.remembered import modelled
from flash4gen.schedule.blackwell.traits import traits
from flash4gen.schedule.model import Schedule, TileOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule
    from flash4gen.schedule.model import AnySchedule, Choice, Ranked
    from flash4gen.schedule.table import Row

EQUAL = 0.01
"""Differences below this are none: the clock is not that good."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Modelled cycles of 256 queries and 128 keys, without mask code.

    Attributes:
        chosen: the choice.
        cycles: of every schedule, as far as a step knows it; empty where nothing is known of the
            target.
        fa4: of FlashAttention-4's schedule, in our kernel; None where there is none.
    """

    chosen: BlackwellSchedule
    cycles: dict[BlackwellSchedule, float]
    fa4: float | None

    def of(self, schedule: AnySchedule) -> float | None:
        """Return the cycles of a schedule, None if they are not known."""
        return None if isinstance(schedule, Schedule) else self.cycles.get(_step(schedule))

    def reason(self, item: Ranked) -> str:
        """Return what speaks against a runner-up, with its modelled cycles where they differ."""
        mine, its = self.of(self.chosen), self.of(item.schedule)
        assert not isinstance(item.schedule, Schedule)
        if mine is None or its is None or _step(item.schedule) == _step(self.chosen):
            return item.reason
        ratio = its / mine
        if abs(ratio - 1) < EQUAL:
            return f"{item.reason}; modelled as fast, {its:,.0f} cycles a step"
        return f"{item.reason}; {ratio:.2f}× the modelled cycles, {its:,.0f} a step"

    def rows(self) -> Iterator[Row]:
        """Yield the lines of a table: the choice, and FlashAttention-4's schedule beside it."""
        mine = self.of(self.chosen)
        if mine is None:
            yield "the choice", "unknown", "nothing was published that a model could rest on"
            return
        yield "the choice", f"{mine:,.0f}", ""
        if self.fa4 is not None:
            remark = f"{self.fa4 / mine:.2f}× the choice's, in a kernel like ours"
            yield "as FlashAttention-4", f"{self.fa4:,.0f}", remark

    def data(self) -> dict[str, Any] | None:
        """Return the same as plain data."""
        mine = self.of(self.chosen)
        if mine is None:
            return None
        return {"step_cycles": mine, "step_cycles_as_flash_attention_4": self.fa4}


def compared(
    choice: Choice, schedule: BlackwellSchedule, attention: Attention, hardware: Hardware
) -> Compared:
    """Run a choice and its runners-up on the clock."""

    def cycles(item: BlackwellSchedule) -> float:
        each = modelled(kernel(item, attention, hardware), STILL).cycles
        return each * 2 / item.query_tiles

    steps = {_step(schedule): 0.0}
    for ranked in choice.ranked:
        if not isinstance(ranked.schedule, Schedule):
            steps[_step(ranked.schedule)] = 0.0
    try:
        found = {item: cycles(item) for item in steps}
        known = traits(attention)
        # Its kernel for the widest heads is another one, and it has no sigmoid weights.
        other = known.widest or not known.normalised
        fa4 = None if other else cycles(flash_attention_4(known, hardware))
    except NoConstantsError:
        return Compared(schedule, {}, None)
    return Compared(schedule, found, fa4)


def _step(schedule: BlackwellSchedule) -> BlackwellSchedule:
    """Return a schedule with everything at rest that a step does not know of."""
    softmax, correction, other = DEFAULTS[schedule.query_tiles]
    return replace(
        schedule,
        dispatch=Dispatch.STATIC,
        order=TileOrder.QUERY_TILES_FIRST,
        pack=1,
        softmax_registers=softmax,
        correction_registers=correction,
        other_registers=other,
    )
