"""Runs of a kernel and of its mutants: what the kernel does in a launch, and what a mutant does."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.check import Policy, check_ttgir
from flash4gen.vgpu.launch import HostDescriptor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flash4gen.vgpu.errors import Finding
    from flash4gen.vgpu.mutate.model import Mutant
    from flash4gen.vgpu.report import Report

# Most bugs show in any schedule; the extreme ones come next, because they disagree the most.
POLICIES = (Policy.IN_ORDER, Policy.LAZIEST, Policy.EAGEREST, Policy.RANDOM)
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
class Baseline:
    """What the kernel as it is did in one launch, under every policy, and what the launch is worth.

    Attributes:
        arguments: of the launch; never written.
        grid: of the launch.
        most: how many of its programs are executed; None for all.
        reports: of the kernel, one for each policy.
        outputs: the tensors of the launch afterwards.
        implied: lines of operations that ran and could go, by every report.
        idle: lines of operations that did not run.
        tried: mutants that ran in it.
        found: those of them that had a finding.
    """

    arguments: Sequence[Any]
    grid: Sequence[int]
    most: int | None
    reports: tuple[Report, ...]
    outputs: tuple[Tensor, ...]
    implied: frozenset[int] = field(init=False)
    idle: frozenset[int] = field(init=False)
    tried: int = field(default=0, init=False)
    found: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        sets = [frozenset((e.line, e.executed) for e in r.redundant) for r in self.reports]
        agreed = frozenset.intersection(*sets) if sets else frozenset()
        self.implied = frozenset(line for line, executed in agreed if executed)
        self.idle = frozenset(line for line, executed in agreed if not executed)

    def again(self, text: str, policy: Policy) -> Report:
        """Run another text in this launch, and look for what is redundant in it."""
        arguments = deepcopy(self.arguments)
        return check_ttgir(text, arguments, self.grid, policy=policy, most=self.most)

    @property
    def steps(self) -> int:
        """Steps of the longest run."""
        return max((report.steps for report in self.reports), default=1)

    @property
    def yields(self) -> float:
        """Findings to expect per step, judging by the mutants so far."""
        return (self.found + 1) / (self.tried + 1) / self.steps


def baseline(text: str, launch: Launch, policies: Sequence[Policy] = POLICIES) -> Baseline:
    """Run the kernel in one launch under every policy.

    Its reports may have findings; such a launch tells nothing of mutants.
    """
    given = launch.arguments()
    arguments: Sequence[Any] = ()
    reports: list[Report] = []
    for policy in policies:
        arguments = deepcopy(given)
        report = check_ttgir(text, arguments, launch.grid, policy=policy, most=launch.most)
        reports.append(report)
    return Baseline(given, launch.grid, launch.most, tuple(reports), _tensors(arguments))


def run(mutant: Mutant, bases: Sequence[Baseline], policy: Policy) -> tuple[Finding | None, bool]:
    """Run a mutant until something is found, in every launch in which its operation runs.

    Args:
        mutant: what to run.
        bases: the launches; what each is worth is updated.
        policy: the schedule.

    Returns:
        The first finding, and whether the numbers were right in every run without one.
    """
    same = True
    for base in sorted(bases, key=lambda base: base.yields, reverse=True):
        if mutant.line in base.idle:
            continue  # a launch in which the operation does nothing: the mutant is the kernel there
        base.tried += 1
        arguments = deepcopy(base.arguments)
        report = check_ttgir(
            mutant.text,
            arguments,
            base.grid,
            policy=policy,
            step_limit=_PATIENCE * base.steps + _SPARE_STEPS,
            redundancy=False,
            most=base.most,
            first=True,
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
