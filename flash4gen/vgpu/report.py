"""What a checked run found: collected as it runs, handed out as frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash4gen.vgpu.concurrent.jobs import Policy
from flash4gen.vgpu.errors import Finding, FindingKind, Other, own_source
from flash4gen.vgpu.parse.tree import Location

if TYPE_CHECKING:
    from flash4gen.vgpu.concurrent.sites import Site

# More findings than a reader wants; the first are what matters.
_MOST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Redundant:
    """A synchronising operation that every other ordering already implies.

    Attributes:
        op: name of the TTGIR operation.
        line: 1-based line of the TTGIR text.
        location: source positions, innermost first.
        executed: whether it ran at all; what did not run orders nothing in this launch.
    """

    op: str
    line: int
    location: Location = field(default_factory=Location)
    executed: bool = True

    @property
    def source(self) -> str:
        """`file:line` of the kernel; empty where unknown."""
        return own_source(self.location)

    def __str__(self) -> str:
        what = "orders nothing that is not ordered without it" if self.executed else "never ran"
        return f"{self.op} [TTGIR line {self.line}; {self.source}] {what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of a checked run.

    Attributes:
        findings: in the order they were made.
        redundant: synchronising operations that could go, one at a time.
        policy: the schedule.
        seed: of the random schedule.
        steps: operations of memory and synchronisation, and turns of loops.
    """

    findings: tuple[Finding, ...]
    redundant: tuple[Redundant, ...] = ()
    policy: Policy = Policy.IN_ORDER
    seed: int = 0
    steps: int = 0


class Collector:
    """Gathers findings, each kind once per pair of operations and partition."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._known: set[object] = set()

    def add(
        self,
        kind: FindingKind,
        message: str,
        site: Site | None,
        partition: str,
        *,
        program: tuple[int, int, int] | None,
        other: tuple[Site, str] | None = None,
    ) -> None:
        """File a finding unless its like is known."""
        operation = site.operation if site is not None else None
        line = operation.line if operation is not None else 0
        against = (other[0].operation.line, other[1]) if other is not None else None
        key = (kind, line, partition, against, message if operation is None else "")
        if key in self._known or len(self.findings) >= _MOST:
            return
        self._known.add(key)
        self.findings.append(
            Finding(
                kind=kind,
                message=message,
                op=operation.name if operation is not None else "",
                line=line,
                location=operation.location if operation is not None else Location(),
                program=program,
                partition=partition,
                other=None if other is None else _other(*other),
            )
        )


def _other(site: Site, partition: str) -> Other:
    operation = site.operation
    return Other(
        op=operation.name,
        line=operation.line,
        location=operation.location,
        partition=partition,
    )
