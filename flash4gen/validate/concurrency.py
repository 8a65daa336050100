"""The rung ``concurrency``: no order of warps, copies and tensor cores can go wrong.

The compiled kernel runs on the checked virtual GPU in four schedules: vector clocks find what is
not ordered, whichever schedule ran. On demand the checks are checked: every synchronising operation
is deleted, weakened or moved, one at a time, and each such mutant must be found out, or the
operation proven redundant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.validate.blame import Failure, blame
from flash4gen.validate.certificate import Json, Rung, Status
from flash4gen.validate.scenes import GRID, Scene, scenes
from flash4gen.vgpu import Policy, Report, VirtualGpuError, check_ttgir
from flash4gen.vgpu.mutate import Mutant, mutants

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from flash4gen.validate.subject import Subject

# A mutant may go on for so many times the steps of the kernel before it counts as endless.
_PATIENCE = 4
_SPARE_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel as it is did in one scene, under every policy."""

    scene: Scene
    reports: tuple[Report, ...]

    @property
    def steps(self) -> int:
        """Of the longest run."""
        return max(report.steps for report in self.reports)

    def executed(self, line: int) -> bool:
        """Whether the synchronising operation of that line ran."""
        told = (entry for report in self.reports for entry in report.redundant)
        return all(entry.executed for entry in told if entry.line == line)

    def redundant(self, line: int) -> bool:
        """Whether it could go, by every report."""
        return all(any(entry.line == line for entry in r.redundant) for r in self.reports)


@dataclass(frozen=True, slots=True)
class Score:
    """What became of the mutants; each is in exactly one of the four groups.

    Attributes:
        mutants: all of them.
        flagged: those with a finding.
        redundant: those of operations that could go, wherever they ran.
        unreached: those of operations that took effect in no launch: Triton pipelines a loop for
            more turns than a mask may leave it. Nothing is said about these.
        missed: the others.
    """

    mutants: int
    flagged: int
    redundant: int
    unreached: int
    missed: tuple[Mutant, ...]


def concurrency_rung(
    subject: Subject,
    module: ModuleType,
    progress: Callable[[str], None],
    *,
    mutate: bool = False,
) -> Rung:
    """Run the kernel with all concurrency checks on.

    Args:
        subject: what is validated.
        module: its module, imported.
        progress: told each step before it runs.
        mutate: run the mutants too.
    """
    seen = tuple(_watched(scene, progress) for scene in scenes(subject, module))
    failures = _failures(subject, seen)
    score = _score(seen, progress) if mutate and not failures else None
    if score is not None:
        failures += tuple(Failure(reason=_told(mutant)) for mutant in score.missed)
    return Rung(
        "concurrency",
        Status.FAILED if failures else Status.PASSED,
        _summary(seen, failures, score),
        _details(seen, failures, score),
    )


def _watched(scene: Scene, progress: Callable[[str], None]) -> Seen:
    progress(scene.shape)
    reports = [check_ttgir(scene.text, scene.fresh(), GRID, policy=policy) for policy in Policy]
    return Seen(scene, tuple(reports))


def _failures(subject: Subject, seen: tuple[Seen, ...]) -> tuple[Failure, ...]:
    found: dict[str, Failure] = {}
    for view in seen:
        for report in view.reports:
            for finding in report.findings:
                failure = blame(
                    VirtualGpuError(finding),
                    subject.path.name,
                    subject.rendered.text,
                    f"{view.scene.shape}, {report.policy.value}",
                )
                found.setdefault(f"{finding.kind} {finding.line}", failure)
    return tuple(found.values())


def _score(seen: tuple[Seen, ...], progress: Callable[[str], None]) -> Score:
    flagged = redundant = unreached = 0
    missed: list[Mutant] = []
    everything = mutants(seen[0].scene.text)
    for number, mutant in enumerate(everything):
        progress(f"mutant {number + 1} of {len(everything)}")
        reached = [view for view in seen if view.executed(mutant.line)]
        if not reached:
            unreached += 1
        elif any(_is_flagged(mutant, view) for view in reached):
            flagged += 1
        elif _is_redundant(mutant.line, seen):
            redundant += 1
        else:
            missed.append(mutant)
    return Score(len(everything), flagged, redundant, unreached, tuple(missed))


def _is_flagged(mutant: Mutant, view: Seen) -> bool:
    limit = _PATIENCE * view.steps + _SPARE_STEPS
    return any(
        check_ttgir(
            mutant.text,
            view.scene.fresh(),
            GRID,
            policy=policy,
            step_limit=limit,
            redundancy=False,
        ).findings
        for policy in Policy
    )


def _is_redundant(line: int, seen: tuple[Seen, ...]) -> bool:
    """Whether an operation ran somewhere, and could go wherever it ran."""
    ran = [view for view in seen if view.executed(line)]
    return bool(ran) and all(view.redundant(line) for view in ran)


def _redundant_lines(seen: tuple[Seen, ...]) -> list[str]:
    named = {
        entry.line: f"{entry.op} at module line {entry.source.rpartition(':')[2]}"
        for view in seen
        for report in view.reports
        for entry in report.redundant
    }
    return [text for line, text in sorted(named.items()) if _is_redundant(line, seen)]


def _told(mutant: Mutant) -> str:
    line = mutant.source.rpartition(":")[2]
    where = f", module line {line}" if line else ""
    return f"nothing found, nor proven redundant: {mutant.kind} {mutant.op}: {mutant.detail}{where}"


def _summary(seen: tuple[Seen, ...], failures: tuple[Failure, ...], score: Score | None) -> str:
    runs = f"{len(seen)} shapes in {len(Policy)} schedules"
    count = len(failures) - (len(score.missed) if score else 0)
    text = f"{runs}: {f'{count} findings' if count else 'no race, deadlock or overrun'}"
    if score is None:
        return f"{text}; mutants not run"
    return (
        f"{text}; {score.mutants} mutants: {score.flagged} flagged, {score.redundant} redundant, "
        f"{score.unreached} unreached, {len(score.missed)} missed"
    )


def _details(
    seen: tuple[Seen, ...], failures: tuple[Failure, ...], score: Score | None
) -> dict[str, Json]:
    details: dict[str, Json] = {
        "schedules": [policy.value for policy in Policy],
        "shapes": [view.scene.shape for view in seen],
        "programs": "the first of each launch",
        "redundant": [*_redundant_lines(seen)],
    }
    if score is not None:
        details["mutants"] = {
            "all": score.mutants,
            "flagged": score.flagged,
            "redundant": score.redundant,
            "unreached": score.unreached,
            "missed": len(score.missed),
        }
    if failures:
        details["failures"] = [failure.to_json() for failure in failures]
    return details
