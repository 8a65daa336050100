"""Scores the checks of the virtual GPU on one kernel: runs its mutants and counts what is found."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.check import Policy, check_ttgir
from flash4gen.vgpu.launch import HostDescriptor
from flash4gen.vgpu.mutate.generate import mutants
from flash4gen.vgpu.mutate.model import Mutant, MutantKind, MutationScore, Verdict
from flash4gen.vgpu.prove import proofs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash4gen.vgpu.errors import Finding
    from flash4gen.vgpu.report import Report

# Most bugs show in any schedule; the extreme ones come next, because they disagree the most.
POLICIES = (Policy.IN_ORDER, Policy.LAZIEST, Policy.EAGEREST, Policy.RANDOM)
# Kinds of mutants that no launch survives in which the operation takes effect.
_TELLING = {
    "ttng.barrier_expect": MutantKind.BYTES,
    "ttng.init_barrier": MutantKind.DELETE,
}
# A mutant may go on for so many times the steps of the kernel before it counts as endless.
_PATIENCE = 4
_SPARE_STEPS = 1000


@dataclass(frozen=True, slots=True)
class Launch:
    """A launch of the kernel.

    Attributes:
        arguments: makes its arguments, the same each time.
        grid: of the launch.
        most: how many of its programs are executed; None for all.
    """

    arguments: Callable[[], Sequence[Any]]
    grid: Sequence[int]
    most: int | None = None


@dataclass(slots=True)
class _Baseline:
    """What the kernel as it is did in one launch, under every policy, and what the launch is worth.

    Attributes:
        launch: the launch.
        outputs: its tensors afterwards.
        steps: of the longest run.
        implied: lines of operations that ran and could go.
        idle: lines of operations that did not run.
        tried: mutants that ran in it.
        found: those of them that had a finding.
    """

    launch: Launch
    outputs: tuple[Tensor, ...]
    steps: int
    implied: frozenset[int]
    idle: frozenset[int]
    tried: int = 0
    found: int = 0

    @property
    def yields(self) -> float:
        """Findings to expect per step, judging by the mutants so far."""
        return (self.found + 1) / (self.tried + 1) / self.steps


def score(
    text: str,
    arguments_factory: Callable[[], Sequence[Any]],
    grid: Sequence[int],
    *,
    policies: Sequence[Policy] = POLICIES,
    only: Callable[[Mutant], bool] = lambda _mutant: True,
) -> MutationScore:
    """Run every mutant of a kernel in one launch; see ``score_launches``.

    Args:
        text: the TTGIR of a kernel without findings.
        arguments_factory: makes the arguments of a launch, the same each time.
        grid: of the launch.
        policies: the schedules to try, in order.
        only: which mutants to run.

    Raises:
        ValueError: the kernel has findings itself.
    """
    launch = Launch(arguments_factory, grid)
    return score_launches(text, (launch,), policies=policies, only=only)


def score_launches(
    text: str,
    launches: Sequence[Launch],
    *,
    policies: Sequence[Policy] = POLICIES,
    only: Callable[[Mutant], bool] = lambda _mutant: True,
    progress: Callable[[str], None] = lambda _what: None,
) -> MutationScore:
    """Run every mutant of a kernel until a launch under some policy finds something.

    A mutant without a finding is *implied* if its operation ran, and in every launch where it ran
    and under every policy each access was ordered without it; *without effect* if the text proves
    that no launch whatsoever can tell; *unreached* if the operation took effect in none of these
    launches; else it is *missed*. Wrong numbers are no finding, and
    a mutant with wrong numbers is missed whatever else is known of it.

    Args:
        text: the TTGIR of a kernel without findings.
        launches: those to try; which come first is settled by what they find.
        policies: the schedules to try, in order.
        only: which mutants to run.
        progress: told each mutant before it runs.

    Raises:
        ValueError: the kernel has findings itself.
    """
    start = time.perf_counter()
    bases = tuple(_baseline(text, launch, policies) for launch in launches)
    chosen = tuple(mutant for mutant in mutants(text) if only(mutant))
    flagged: list[tuple[Mutant, Finding]] = []
    without_effect: list[Mutant] = []
    silent: list[Mutant] = []
    wrong: list[Mutant] = []
    for number, mutant in enumerate(chosen):
        progress(f"mutant {number + 1} of {len(chosen)}")
        found, same = _run(mutant.text, bases, policies[:1])
        if found is None and same and proven_without_effect(text, mutant):
            without_effect.append(mutant)
            continue
        if found is None:
            found, rest = _run(mutant.text, bases, policies[1:])
            same = same and rest
        if found is not None:
            flagged.append((mutant, found))
            continue
        silent.append(mutant)
        if not same:
            wrong.append(mutant)
    groups = _grouped(silent, wrong, bases)
    return MutationScore(
        mutants=chosen,
        flagged=tuple(flagged),
        implied=tuple(groups[Verdict.IMPLIED]),
        without_effect=tuple(without_effect),
        missed=tuple(groups[Verdict.MISSED]),
        unreached=tuple(groups[Verdict.UNREACHED]),
        wrong=tuple(wrong),
        seconds=time.perf_counter() - start,
    )


def _grouped(
    silent: Sequence[Mutant], wrong: Sequence[Mutant], bases: Sequence[_Baseline]
) -> dict[Verdict, list[Mutant]]:
    """Sort the mutants without a finding, of which the text proves nothing."""
    groups: dict[Verdict, list[Mutant]] = {verdict: [] for verdict in Verdict}
    told = _told_by_others(silent)
    for mutant in silent:
        verdict = Verdict.MISSED if mutant in wrong else _verdict(mutant, bases, told)
        groups[verdict].append(mutant)
    return groups


def _verdict(mutant: Mutant, bases: Sequence[_Baseline], told: frozenset[int]) -> Verdict:
    """Return what such a mutant is, its numbers being right."""
    ran = [base for base in bases if mutant.line not in base.idle]
    if not ran or mutant.line in told:
        return Verdict.UNREACHED
    if all(mutant.line in base.implied for base in ran):
        return Verdict.IMPLIED
    return Verdict.MISSED


def proven_without_effect(text: str, mutant: Mutant) -> bool:
    """Whether no launch can tell a mutant from the kernel, by what the text says.

    Either the operation never happens, whatever the arguments; or it makes a barrier that is used
    in no launch, with a count that is thus of no concern.
    """
    known = proofs(text)
    counts = mutant.kind in (MutantKind.COUNT_UP, MutantKind.COUNT_DOWN)
    return known.never(mutant.line) or (
        mutant.op == "ttng.init_barrier" and counts and known.idle(mutant.line)
    )


def _told_by_others(silent: Sequence[Mutant]) -> frozenset[int]:
    """Return the lines of operations that nothing in these launches depends on, by contradiction.

    Bytes announced wrongly by an operation that runs do not balance; a barrier that is used and was
    not made is an error at its first use. Where neither shows, the one did not run, or the barrier
    of the other has no user.
    """
    return frozenset(mutant.line for mutant in silent if _TELLING.get(mutant.op) is mutant.kind)


def _baseline(text: str, launch: Launch, policies: Sequence[Policy]) -> _Baseline:
    reports: list[Report] = []
    arguments: Sequence[Any] = ()
    for policy in policies:
        arguments = launch.arguments()
        report = check_ttgir(text, arguments, launch.grid, policy=policy, most=launch.most)
        if report.findings:
            raise ValueError(f"the kernel itself has findings: {report.findings[0]}")
        reports.append(report)
    sets = [frozenset((entry.line, entry.executed) for entry in r.redundant) for r in reports]
    agreed = frozenset.intersection(*sets) if sets else frozenset()
    return _Baseline(
        launch,
        _tensors(arguments),
        max((report.steps for report in reports), default=1),
        implied=frozenset(line for line, executed in agreed if executed),
        idle=frozenset(line for line, executed in agreed if not executed),
    )


def _run(
    text: str, bases: Sequence[_Baseline], policies: Sequence[Policy]
) -> tuple[Finding | None, bool]:
    """Return the first finding, and whether the numbers were right in every run without one."""
    same = True
    ordered = sorted(bases, key=lambda base: base.yields, reverse=True)
    for policy in policies:
        for base in ordered:
            base.tried += 1
            arguments = base.launch.arguments()
            report = check_ttgir(
                text,
                arguments,
                base.launch.grid,
                policy=policy,
                step_limit=_PATIENCE * base.steps + _SPARE_STEPS,
                redundancy=False,
                most=base.launch.most,
            )
            if report.findings:
                base.found += 1
                return report.findings[0], same
            pairs = zip(_tensors(arguments), base.outputs, strict=True)
            same = same and all(_same(a, b) for a, b in pairs)
    return None, same


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors agree bit by bit: NaN where there was NaN is no difference."""
    return torch.equal(a, b) or torch.equal(_bytes(a), _bytes(b))


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def _tensors(arguments: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return the tensors behind the arguments."""
    bases = (value.base if isinstance(value, HostDescriptor) else value for value in arguments)
    return tuple(value for value in bases if isinstance(value, Tensor))
