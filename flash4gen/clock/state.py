"""What changes while the clock runs: agents, barriers, results, and the record of spans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash4gen.clock.timeline import Kind, Span

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.clock.program import Mma, Role, Step, Wait


class DeadlockError(RuntimeError):
    """Every role that has not ended waits, and nothing is under way.

    Attributes:
        waiting: (role, what it waits for, line) of each.
    """

    def __init__(self, waiting: tuple[tuple[str, str, int], ...]) -> None:
        told = "; ".join(f"{role} waits for {what} (line {line})" for role, what, line in waiting)
        super().__init__(f"deadlock: {told}")
        self.waiting = waiting


@dataclass(slots=True)
class Result:
    """A named result: there, or under way with agents that wait for it.

    Attributes:
        at: cycle at which it can be read; ``None`` while that is unknown.
        span: what brings it.
        then: called when ``at`` becomes known.
    """

    at: float | None = None
    span: int | None = None
    then: list[Callable[[], None]] = field(default_factory=list)


@dataclass(slots=True)
class Barrier:
    """An mbarrier as waiters see it.

    Attributes:
        count: arrivals of a phase.
        arrived: of the current phase, as shares of roles may arrive.
        completions: (cycle, span that brought the last arrival) of each phase that has ended.
        waiting: agents' waits by the number of the completion.
    """

    count: int
    arrived: float = 0
    completions: list[tuple[float, int | None]] = field(default_factory=list)
    waiting: dict[int, list[Callable[[], None]]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Agent:
    """One warp group of a role, or the single warps of a smaller one.

    Attributes:
        name: unique.
        role: what it does.
        index: which of the role's agents it is.
        count: how many agents the role has.
        resident: which CTA of the SM it belongs to.
        at: next step.
        results: its named results.
        memory: loads and stores that it has begun.
        copies: copies by cp.async that it has begun.
        products: its products under way, or the cycle and span of the last one.
        turns: (number, cycle).
        last: its last span.
    """

    name: str
    role: Role
    index: int
    count: int
    resident: int
    at: int = 0
    results: dict[str, Result] = field(default_factory=dict)
    memory: list[Result] = field(default_factory=list)
    copies: list[Result] = field(default_factory=list)
    product: Result | None = None
    turns: list[tuple[int, float]] = field(default_factory=list)
    last: int | None = None
    blocked: Wait | Step | None = None

    @property
    def ended(self) -> bool:
        """Whether it has done all its steps."""
        return self.at >= len(self.role.steps)


@dataclass(slots=True)
class Queued:
    """A product in the tensor core's queue."""

    step: Mma
    agent: Agent
    ready: float
    issued_by: int | None
    result: Result


@dataclass(slots=True, eq=False)
class Record:
    """Spans as they are written."""

    _spans: list[Span] = field(default_factory=list)

    def begin(self, actor: str, kind: Kind, step: Step, start: float, alone: float = 0) -> int:
        """Note that something begins; returns its index."""
        self._spans.append(Span(actor, kind, step.label, step.line, start, start, alone))
        return len(self._spans) - 1

    def end(self, index: int, end: float, cause: int | None = None) -> None:
        """Note that it has ended, and what it waited for."""
        s = self._spans[index]
        self._spans[index] = Span(s.actor, s.kind, s.label, s.line, s.start, end, s.alone, cause)

    def alone(self, index: int, cycles: float) -> None:
        """Note how long it would take with every unit to itself."""
        s = self._spans[index]
        self._spans[index] = Span(s.actor, s.kind, s.label, s.line, s.start, s.end, cycles, s.cause)

    @property
    def spans(self) -> tuple[Span, ...]:
        """All of them."""
        return tuple(self._spans)
