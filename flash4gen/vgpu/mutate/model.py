"""What a mutation run is made of: mutants, verdicts on them, and the score."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flash4gen.vgpu.errors import Finding


class MutantKind(StrEnum):
    """The ways to break a synchronising operation; the values are stable names for reports."""

    DELETE = "delete"
    COUNT_UP = "count+1"
    COUNT_DOWN = "count-1"
    PHASE = "phase"
    BYTES = "bytes"
    MOVE = "move"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A text with one synchronising operation broken.

    Attributes:
        kind: how.
        op: name of the operation.
        line: its 1-based line in the text that was mutated.
        source: `file:line` of the kernel it came from; empty where unknown.
        detail: what exactly was changed.
        text: the mutated TTGIR.
    """

    kind: MutantKind
    op: str
    line: int
    source: str
    detail: str
    text: str = field(repr=False)

    def __str__(self) -> str:
        where = f" [{self.source}]" if self.source else ""
        return f"{self.kind} {self.op} at TTGIR line {self.line}: {self.detail}{where}"


class Verdict(StrEnum):
    """What became of a mutant."""

    FLAGGED = "flagged"
    IMPLIED = "implied"
    WITHOUT_EFFECT = "without effect"
    UNREACHED = "unreached"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MutationScore:
    """The verdicts of a mutation run; every mutant is in exactly one of the first five groups.

    Attributes:
        mutants: all of them, in the order of the text.
        flagged: those with a finding, each with its first.
        implied: those without, of operations that ran and that every other ordering implies.
        without_effect: those without, which no launch of any arguments can tell from the kernel.
        missed: the others that ran.
        unreached: those of operations that never took effect in these launches: nothing is known.
        wrong: those without a finding whose numbers differed nevertheless.
        seconds: time of the whole run.
    """

    mutants: tuple[Mutant, ...]
    flagged: tuple[tuple[Mutant, Finding], ...]
    implied: tuple[Mutant, ...]
    without_effect: tuple[Mutant, ...]
    missed: tuple[Mutant, ...]
    unreached: tuple[Mutant, ...] = ()
    wrong: tuple[Mutant, ...] = ()
    seconds: float = 0.0

    @property
    def redundant(self) -> tuple[Mutant, ...]:
        """Those proven to change nothing, for either reason."""
        return self.implied + self.without_effect

    def __str__(self) -> str:
        counts = f"{len(self.mutants)} mutants: {len(self.flagged)} flagged, "
        counts += f"{len(self.redundant)} redundant, {len(self.missed)} missed"
        counts += f", {len(self.unreached)} unreached" if self.unreached else ""
        return "\n".join([counts, *(f"  missed: {mutant}" for mutant in self.missed)])
