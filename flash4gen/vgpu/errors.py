"""Findings of the virtual GPU: what went wrong, in which operation, and where that came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from flash4gen.vgpu.parse.tree import Location, Operation


class FindingKind(StrEnum):
    """The classes of findings; the values are stable names for reports and tests."""

    OUT_OF_BOUNDS = "out-of-bounds"
    MISALIGNED = "misaligned"
    UNINITIALISED = "uninitialised"
    IN_FLIGHT = "in-flight"
    WRITE_OVERLAP = "write-overlap"
    RACE_SMEM = "race-smem"
    RACE_TMEM = "race-tmem"
    RACE_GLOBAL = "race-global"
    MISSING_FENCE = "missing-fence"
    DEADLOCK = "deadlock"
    BARRIER_OVER_ARRIVAL = "barrier-over-arrival"
    BARRIER_TX_BYTES = "barrier-tx-bytes"
    BARRIER_COUNT = "barrier-count"
    BARRIER_NOT_INITIALISED = "barrier-not-initialised"
    BARRIER_REINIT = "barrier-reinit"
    PHASE_OVERRUN = "phase-overrun"
    LEFTOVER_PHASE = "leftover-phase"
    TMEM_LEAK = "tmem-leak"
    TMEM_OVERALLOCATION = "tmem-overallocation"
    SMEM_OVERALLOCATION = "smem-overallocation"
    STEP_LIMIT = "step-limit"
    DESCRIPTOR = "descriptor"
    ASSERTION = "assertion"
    UNSUPPORTED = "unsupported"
    INTERNAL = "internal"


# Where Triton keeps the functions that kernels inline.
_LIBRARY = ("/triton/language/", "/triton/experimental/")


def own_source(location: Location) -> str:
    """Return `file:line` of the kernel, not of Triton's own library; empty where unknown."""
    frames = location.frames
    own = [frame for frame in frames if not any(part in frame.file for part in _LIBRARY)]
    return str((own or list(frames))[0]) if frames else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """The operation that a finding's operation collided with.

    Attributes:
        op: name of the TTGIR operation.
        line: 1-based line of the TTGIR text.
        location: source positions, innermost first.
        partition: who ran it; empty in a program of one partition.
    """

    op: str
    line: int
    location: Location = field(default_factory=Location)
    partition: str = ""

    @property
    def source(self) -> str:
        """`file:line` of the kernel; empty where unknown."""
        return own_source(self.location)

    def __str__(self) -> str:
        parts = [f"{self.op}, TTGIR line {self.line}", self.source, self.partition]
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding.

    Attributes:
        kind: its class.
        message: what is wrong, in one or two sentences.
        op: name of the TTGIR operation; empty where the finding belongs to none.
        line: 1-based line of the TTGIR text; 0 where unknown.
        location: source positions, innermost first.
        program: the program's id in the grid, or None outside of a launch.
        partition: who ran the operation; empty in a program of one partition.
        other: what it collided with, where there is such an operation.
    """

    kind: FindingKind
    message: str
    op: str = ""
    line: int = 0
    location: Location = field(default_factory=Location)
    program: tuple[int, int, int] | None = None
    partition: str = ""
    other: Other | None = None

    @property
    def source(self) -> str:
        """`file:line` of the kernel, not of Triton's own library; empty where unknown."""
        return own_source(self.location)

    def __str__(self) -> str:
        where = [f"{self.op}, TTGIR line {self.line}"] if self.op else []
        where += [self.source] if self.source else []
        where += [self.partition] if self.partition else []
        where += [f"program {self.program}"] if self.program is not None else []
        text = f"{self.kind}: {self.message}" + (f" [{'; '.join(where)}]" if where else "")
        return text + (f" with [{self.other}]" if self.other else "")


class VirtualGpuError(Exception):
    """A launch came upon a finding; `finding` holds it as data."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(str(finding))
        self.finding = finding


class FaultError(Exception):
    """A finding that does not know its operation yet; the runner of the program adds it."""

    def __init__(self, kind: FindingKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


def finding_at(
    operation: Operation,
    kind: FindingKind,
    message: str,
    program: tuple[int, int, int] | None = None,
) -> VirtualGpuError:
    """Return the error of a finding at one operation."""
    finding = Finding(
        kind=kind,
        message=message,
        op=operation.name,
        line=operation.line,
        location=operation.location,
        program=program,
    )
    return VirtualGpuError(finding)
