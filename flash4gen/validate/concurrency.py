"""The rung ``concurrency``: no order of warps, copies and tensor cores can go wrong.

The compiled kernel runs on the checked virtual GPU in four schedules: vector clocks find what is
not ordered, whichever schedule ran. On demand the checks are checked: every synchronising operation
is deleted, weakened or moved, one at a time, and each such mutant must be found out, or the
operation proven redundant.

On AMD the text holds asynchronous copies to the LDS, if its target has any, and what waits for
them. Barriers between the waves of a block are placed below the TTGIR: nothing is said about them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.ir.hardware import Backend
from flash4gen.validate.backward_scenes import backward_scenes
from flash4gen.validate.blame import Failure, blame
from flash4gen.validate.certificate import Json, Rung, Status
from flash4gen.validate.scenes import Scene, scenes
from flash4gen.vgpu import Policy, Report, VirtualGpuError, synchronises
from flash4gen.vgpu.mutate import (
    Baseline,
    Launch,
    Mutant,
    MutationScore,
    Pool,
    baseline,
    runner,
    score_bases,
    usable_cores,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from flash4gen.validate.subject import Subject


NOTHING_ASYNCHRONOUS = (
    "nothing in the TTGIR is asynchronous: tiles pass registers, and barriers between waves are "
    "placed below it"
)
"""Why there is nothing to check of a kernel for AMD without copies to the LDS."""

LDS_SCOPE = (
    "copies to the LDS, what waits for them, and what reads and writes it; barriers between waves "
    "are placed below the TTGIR and not checked"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the kernel as it is did in one scene, under every policy."""

    scene: Scene
    base: Baseline

    @property
    def reports(self) -> tuple[Report, ...]:
        """The report of each policy."""
        return self.base.reports

    def executed(self, line: int) -> bool:
        """Whether the synchronising operation of that line ran."""
        told = (entry for report in self.reports for entry in report.redundant)
        return all(entry.executed for entry in told if entry.line == line)

    def redundant(self, line: int) -> bool:
        """Whether it could go, by every report."""
        return all(any(entry.line == line for entry in r.redundant) for r in self.reports)


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
        mutate: run the mutants too; each that no scene flags must be proven redundant.
    """
    on_amd = subject.hardware.backend == Backend.HIP
    taken = (*scenes(subject, module), *backward_scenes(subject, module))
    if on_amd and not any(synchronises(scene.text) for scene in taken):
        return Rung("concurrency", Status.NOT_RUN, f"not run: {NOTHING_ASYNCHRONOUS}")
    # Processes for the mutants are under way, if wanted, while the kernel itself is watched.
    with runner(usable_cores()) if mutate else nullcontext() as pool:
        seen = tuple(_watched(scene, progress) for scene in taken)
        kernels = _by_kernel(seen)
        failures = _failures(subject, seen)
        scored = () if pool is None or failures else kernels
        scores = tuple(_score(one, pool, progress) for one in scored)
    failures += tuple(
        Failure(reason=_told(mutant)) for score in scores for mutant in _survivors(score)
    )
    return Rung(
        "concurrency",
        Status.FAILED if failures else Status.PASSED,
        _summary(seen, failures, scores),
        _details(kernels, failures, scores) | ({"scope": LDS_SCOPE} if on_amd else {}),
    )


def _watched(scene: Scene, progress: Callable[[str], None]) -> Seen:
    progress(scene.shape)
    launch = Launch(scene.fresh, scene.grid, scene.most)
    return Seen(scene, baseline(scene.text, launch, tuple(Policy)))


def _by_kernel(seen: tuple[Seen, ...]) -> tuple[tuple[Seen, ...], ...]:
    """Return what was seen of each kernel of the module; lengths decide which one is launched."""
    texts = dict.fromkeys(view.scene.text for view in seen)
    return tuple(tuple(view for view in seen if view.scene.text == text) for text in texts)


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
                found.setdefault(f"{finding.kind} {finding.source or finding.line}", failure)
    return tuple(found.values())


def _score(
    seen: tuple[Seen, ...], pool: Pool | None, progress: Callable[[str], None]
) -> MutationScore:
    bases = [view.base for view in seen]
    text = seen[0].scene.text
    return score_bases(text, bases, progress=progress, pool=pool)


def _survivors(score: MutationScore) -> tuple[Mutant, ...]:
    """Return the mutants of which nothing is proven: what no scene reaches is missed as well."""
    return score.missed + score.unreached


def _is_redundant(line: int, seen: tuple[Seen, ...]) -> bool:
    """Whether an operation ran somewhere, and could go wherever it ran."""
    ran = [view for view in seen if view.executed(line)]
    return bool(ran) and all(view.redundant(line) for view in ran)


def _redundant_lines(kernels: tuple[tuple[Seen, ...], ...]) -> list[str]:
    """Return the operations that could go, with the number of kernels where that is so."""
    counts = Counter(text for seen in kernels for text in dict.fromkeys(_redundant_in(seen)))
    share = f" of {len(kernels)} kernels"
    return [
        text if count == len(kernels) else f"{text}, in {count}{share}"
        for text, count in counts.items()
    ]


def _redundant_in(seen: tuple[Seen, ...]) -> list[str]:
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


def _summary(
    seen: tuple[Seen, ...], failures: tuple[Failure, ...], scores: tuple[MutationScore, ...]
) -> str:
    runs = f"{len(seen)} shapes in {len(Policy)} schedules"
    count = len(failures) - sum(len(_survivors(score)) for score in scores)
    text = f"{runs}: {f'{count} findings' if count else 'no race, deadlock or overrun'}"
    if not scores:
        return f"{text}; mutants not run"
    told = _counts(scores)
    return (
        f"{text}; {told['all']} mutants: {told['flagged']} flagged, "
        f"{told['redundant']} redundant, {told['missed']} missed"
    )


def _counts(scores: tuple[MutationScore, ...]) -> dict[str, Json]:
    """Return how many mutants of all kernels came to what."""
    return {
        "all": sum(len(score.mutants) for score in scores),
        "flagged": sum(len(score.flagged) for score in scores),
        "redundant": sum(len(score.redundant) for score in scores),
        "of these without effect in any launch": sum(len(it.without_effect) for it in scores),
        "missed": sum(len(_survivors(score)) for score in scores),
    }


def _details(
    kernels: tuple[tuple[Seen, ...], ...],
    failures: tuple[Failure, ...],
    scores: tuple[MutationScore, ...],
) -> dict[str, Json]:
    details: dict[str, Json] = {
        "schedules": [policy.value for policy in Policy],
        "shapes": [view.scene.shape for seen in kernels for view in seen],
        "programs": "the first of each launch",
        "redundant": [*_redundant_lines(kernels)],
    }
    if scores:
        details["mutants"] = _counts(scores)
    if failures:
        details["failures"] = [failure.to_json() for failure in failures]
    return details
