"""Scores the checks of the virtual GPU on one kernel: runs its mutants and counts what is found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.check import Policy, check_ttgir
from flash4gen.vgpu.launch import HostDescriptor
from flash4gen.vgpu.mutate.generate import mutants
from flash4gen.vgpu.mutate.model import Mutant, MutantKind, MutationScore, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash4gen.vgpu.errors import Finding

# Most bugs show in any schedule; the extreme ones come next, because they disagree the most.
POLICIES = (Policy.IN_ORDER, Policy.LAZIEST, Policy.EAGEREST, Policy.RANDOM)
# Kinds of mutants that no launch survives in which the operation takes effect.
_TELLING = {
    "ttng.barrier_expect": MutantKind.BYTES,
    "ttng.init_barrier": MutantKind.DELETE,
}
# A mutant may go on for so many times the steps of the kernel before it counts as endless.
_PATIENCE = 4


def score(
    text: str,
    arguments_factory: Callable[[], Sequence[Any]],
    grid: Sequence[int],
    *,
    policies: Sequence[Policy] = POLICIES,
    only: Callable[[Mutant], bool] = lambda _mutant: True,
) -> MutationScore:
    """Run every mutant of a kernel until a policy finds something, and sort them.

    A mutant without a finding counts as redundant if its operation is, in the kernel as it is and
    under every policy; as unreached if its operation never took effect in this launch; else it is
    missed. Wrong numbers are no finding.

    Args:
        text: the TTGIR of a kernel without findings.
        arguments_factory: makes the arguments of a launch, the same each time.
        grid: of the launch.
        policies: the schedules to try, in order.
        only: which mutants to run.

    Raises:
        ValueError: the kernel has findings itself.
    """
    start = time.perf_counter()
    expected, steps, proven = _baseline(text, arguments_factory, grid, policies)
    chosen = tuple(mutant for mutant in mutants(text) if only(mutant))
    flagged: list[tuple[Mutant, Finding]] = []
    silent: list[Mutant] = []
    wrong: list[Mutant] = []
    for mutant in chosen:
        found, same = _run(mutant.text, arguments_factory, grid, policies, expected, steps)
        if found is not None:
            flagged.append((mutant, found))
            continue
        silent.append(mutant)
        if not same:
            wrong.append(mutant)
    proven = dict.fromkeys(_without_effect(silent), Verdict.UNREACHED) | proven
    groups: dict[Verdict, list[Mutant]] = {verdict: [] for verdict in Verdict}
    for mutant in silent:
        groups[proven.get(mutant.line, Verdict.MISSED)].append(mutant)
    return MutationScore(
        mutants=chosen,
        flagged=tuple(flagged),
        redundant=tuple(groups[Verdict.REDUNDANT]),
        missed=tuple(groups[Verdict.MISSED]),
        unreached=tuple(groups[Verdict.UNREACHED]),
        wrong=tuple(wrong),
        seconds=time.perf_counter() - start,
    )


def _without_effect(silent: Sequence[Mutant]) -> set[int]:
    """Return the lines of operations that nothing in this launch depends on, by contradiction.

    Bytes announced wrongly by an operation that runs do not balance; a barrier that is used and was
    not made is an error at its first use. Where neither shows, the one did not run, or the barrier
    of the other has no user.
    """
    return {mutant.line for mutant in silent if _TELLING.get(mutant.op) is mutant.kind}


def _baseline(
    text: str,
    arguments_factory: Callable[[], Sequence[Any]],
    grid: Sequence[int],
    policies: Sequence[Policy],
) -> tuple[list[Tensor], int, dict[int, Verdict]]:
    """Return outputs, steps, and what every policy agrees on: redundant or unreached, by line."""
    steps = 0
    outputs: list[Tensor] = []
    agreed: set[tuple[int, bool]] | None = None
    for policy in policies:
        arguments = arguments_factory()
        report = check_ttgir(text, arguments, grid, policy=policy)
        if report.findings:
            raise ValueError(f"the kernel itself has findings: {report.findings[0]}")
        outputs = _tensors(arguments)
        steps = max(steps, report.steps)
        entries = {(entry.line, entry.executed) for entry in report.redundant}
        agreed = entries if agreed is None else agreed & entries
    verdicts = {True: Verdict.REDUNDANT, False: Verdict.UNREACHED}
    return outputs, steps, {line: verdicts[executed] for line, executed in agreed or ()}


def _run(
    text: str,
    arguments_factory: Callable[[], Sequence[Any]],
    grid: Sequence[int],
    policies: Sequence[Policy],
    expected: Sequence[Tensor],
    steps: int,
) -> tuple[Finding | None, bool]:
    """Return the first finding, and whether the numbers were right in every run without one."""
    same = True
    for policy in policies:
        arguments = arguments_factory()
        limit = _PATIENCE * steps + 1000
        report = check_ttgir(text, arguments, grid, policy=policy, step_limit=limit)
        if report.findings:
            return report.findings[0], same
        pairs = zip(_tensors(arguments), expected, strict=True)
        same = same and all(torch.equal(a, b) for a, b in pairs)
    return None, same


def _tensors(arguments: Sequence[Any]) -> list[Tensor]:
    """Return the tensors behind the arguments."""
    bases = (value.base if isinstance(value, HostDescriptor) else value for value in arguments)
    return [value for value in bases if isinstance(value, Tensor)]
