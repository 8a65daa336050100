"""Scores the checks of the virtual GPU on one kernel: runs its mutants and counts what is found."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.check import Policy, check_ttgir
from flash4gen.vgpu.launch import HostDescriptor
from flash4gen.vgpu.mutate.generate import mutants
from flash4gen.vgpu.mutate.model import Mutant, MutationScore, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash4gen.vgpu.errors import Finding

# Most bugs show in any schedule; the extreme ones come next, because they disagree the most.
POLICIES = (Policy.IN_ORDER, Policy.LAZIEST, Policy.EAGEREST, Policy.RANDOM)
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
    under every policy; else it is missed. Wrong numbers are no finding.

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
    expected, steps, redundant_lines = _baseline(text, arguments_factory, grid, policies)
    chosen = tuple(mutant for mutant in mutants(text) if only(mutant))
    flagged: list[tuple[Mutant, Finding]] = []
    groups: dict[Verdict, list[Mutant]] = {Verdict.REDUNDANT: [], Verdict.MISSED: []}
    wrong: list[Mutant] = []
    for mutant in chosen:
        found, same = _run(mutant.text, arguments_factory, grid, policies, expected, steps)
        if found is not None:
            flagged.append((mutant, found))
            continue
        proven = mutant.line in redundant_lines
        groups[Verdict.REDUNDANT if proven else Verdict.MISSED].append(mutant)
        if not same:
            wrong.append(mutant)
    return MutationScore(
        mutants=chosen,
        flagged=tuple(flagged),
        redundant=tuple(groups[Verdict.REDUNDANT]),
        missed=tuple(groups[Verdict.MISSED]),
        wrong=tuple(wrong),
        seconds=time.perf_counter() - start,
    )


def _baseline(
    text: str,
    arguments_factory: Callable[[], Sequence[Any]],
    grid: Sequence[int],
    policies: Sequence[Policy],
) -> tuple[list[Tensor], int, set[int]]:
    """Return outputs, steps, and the lines that are redundant under every policy."""
    steps = 0
    outputs: list[Tensor] = []
    redundant: set[int] | None = None
    for policy in policies:
        arguments = arguments_factory()
        report = check_ttgir(text, arguments, grid, policy=policy)
        if report.findings:
            raise ValueError(f"the kernel itself has findings: {report.findings[0]}")
        outputs = _tensors(arguments)
        steps = max(steps, report.steps)
        lines = {entry.line for entry in report.redundant}
        redundant = lines if redundant is None else redundant & lines
    return outputs, steps, redundant or set()


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
