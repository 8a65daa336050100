"""Scores the checks of the virtual GPU on one kernel: runs its mutants and counts what is found."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flash4gen.vgpu.mutate.generate import mutants
from flash4gen.vgpu.mutate.model import Mutant, MutantKind, MutationScore, Verdict
from flash4gen.vgpu.mutate.pool import Runner, Task, runner
from flash4gen.vgpu.mutate.runs import POLICIES, Baseline, Launch, baseline
from flash4gen.vgpu.prove import proofs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from flash4gen.vgpu.check import Policy
    from flash4gen.vgpu.errors import Finding
    from flash4gen.vgpu.mutate.pool import Pool
    from flash4gen.vgpu.report import Report

# Kinds of mutants that no launch survives in which the operation takes effect.
_TELLING = {
    "ttng.barrier_expect": MutantKind.BYTES,
    "ttng.init_barrier": MutantKind.DELETE,
}
# Waits and fences that do no harm if they are there twice.
_REPEATABLE = frozenset(
    {"ttng.wait_barrier", "ttng.fence_async_shared", "ttng.async_tma_store_wait"}
)


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
    processes: int = 1,
) -> MutationScore:
    """Run every mutant of a kernel in several launches; see ``score_bases``.

    Args:
        text: the TTGIR of a kernel without findings.
        launches: those to try; which come first is settled by what they find.
        policies: the schedules to try, in order.
        only: which mutants to run.
        progress: told each mutant before it runs.
        processes: how many to run them in.

    Raises:
        ValueError: the kernel has findings itself.
    """
    start = time.perf_counter()
    bases = [baseline(text, launch, policies) for launch in launches]
    with runner(processes) as pool:
        result = score_bases(
            text, bases, policies=policies, only=only, progress=progress, pool=pool
        )
    return replace(result, seconds=time.perf_counter() - start)


def score_bases(
    text: str,
    bases: Sequence[Baseline],
    *,
    policies: Sequence[Policy] = POLICIES,
    only: Callable[[Mutant], bool] = lambda _mutant: True,
    progress: Callable[[str], None] = lambda _what: None,
    pool: Pool | None = None,
) -> MutationScore:
    """Run every mutant of a kernel until a launch under some policy finds something.

    A mutant without a finding is *implied* if its operation ran, and in every launch where it ran
    and under every policy each access was ordered without it, or, if it was moved, with it in its
    new place; *without effect* if the text proves that no launch whatsoever can tell; *unreached*
    if the operation took effect in none of these launches; else it is *missed*. Wrong numbers are
    no finding, and a mutant with wrong numbers is missed whatever else is known of it.

    Args:
        text: the TTGIR of a kernel without findings.
        bases: what the kernel does in its launches, under these policies.
        policies: the schedules to try, in order.
        only: which mutants to run.
        progress: told how many mutants have run.
        pool: the processes to run them in, see ``runner``; the verdicts do not depend on it.

    Raises:
        ValueError: the kernel has findings itself.
    """
    start = time.perf_counter()
    found = next((f for base in bases for report in base.reports for f in report.findings), None)
    if found is not None:
        raise ValueError(f"the kernel itself has findings: {found}")
    chosen = {number: mutant for number, mutant in enumerate(mutants(text)) if only(mutant)}
    pool = pool or Runner()
    pool.load(text, bases)
    results = _results(text, chosen, bases, policies, pool, progress)
    flagged = tuple((mutant, result.found) for mutant, result in results if result.found)
    silent = [mutant for mutant, result in results if not (result.found or result.proven)]
    wrong = [mutant for mutant, result in results if not (result.found or result.same)]
    groups = _grouped(silent, wrong, bases)
    good = [
        mutant
        for mutant in groups[Verdict.MISSED]
        if mutant not in wrong and as_good(text, mutant, bases, policies[:2])
    ]
    return MutationScore(
        mutants=tuple(chosen.values()),
        flagged=flagged,
        implied=(*groups[Verdict.IMPLIED], *good),
        without_effect=tuple(mutant for mutant, result in results if result.proven),
        missed=tuple(mutant for mutant in groups[Verdict.MISSED] if mutant not in good),
        unreached=tuple(groups[Verdict.UNREACHED]),
        wrong=tuple(wrong),
        seconds=time.perf_counter() - start,
    )


@dataclass(slots=True)
class _Result:
    """What became of a mutant: a finding, right numbers without one, or a proof."""

    found: Finding | None
    same: bool
    proven: bool = False


def _results(
    text: str,
    chosen: Mapping[int, Mutant],
    bases: Sequence[Baseline],
    policies: Sequence[Policy],
    pool: Pool,
    progress: Callable[[str], None],
) -> list[tuple[Mutant, _Result]]:
    """Run all mutants under the first policy, and those that it does not settle under the others.

    If every report says that an operation is implied, which does not depend on the schedule, what
    breaks it runs under the second policy and no other. Each such run is a task of its own, so that
    processes have equally much to do.
    """
    numbers = list(chosen)
    tasks = [Task(number, policies[0]) for number in numbers]
    outcomes = pool.run(tasks, lambda done: progress(f"mutant {done} of {len(numbers)}"))
    results = {number: _Result(*outcome) for number, outcome in zip(numbers, outcomes, strict=True)}
    for number, result in results.items():
        silent = result.found is None and result.same
        result.proven = silent and proven_without_effect(text, chosen[number])
    rest = [n for n, result in results.items() if not (result.found or result.proven)]
    tasks = [
        Task(number, policy)
        for place, policy in enumerate(policies[1:], 1)
        for number in rest
        if place == 1 or not _implied(chosen[number].line, bases)
    ]
    outcomes = pool.run(tasks, lambda done: progress(f"run {done} of {len(tasks)} of the silent"))
    for task, (found, same) in zip(tasks, outcomes, strict=True):
        result = results[task.mutant]
        result.found = result.found or found
        result.same = result.same and same
    return [(chosen[number], result) for number, result in results.items()]


def _grouped(
    silent: Sequence[Mutant], wrong: Sequence[Mutant], bases: Sequence[Baseline]
) -> dict[Verdict, list[Mutant]]:
    """Sort the mutants without a finding, of which the text proves nothing."""
    groups: dict[Verdict, list[Mutant]] = {verdict: [] for verdict in Verdict}
    told = _told_by_others(silent)
    for mutant in silent:
        verdict = Verdict.MISSED if mutant in wrong else _verdict(mutant, bases, told)
        groups[verdict].append(mutant)
    return groups


def _verdict(mutant: Mutant, bases: Sequence[Baseline], told: frozenset[int]) -> Verdict:
    """Return what such a mutant is, its numbers being right."""
    if all(mutant.line in base.idle for base in bases) or mutant.line in told:
        return Verdict.UNREACHED
    return Verdict.IMPLIED if _implied(mutant.line, bases) else Verdict.MISSED


def _implied(line: int, bases: Sequence[Baseline]) -> bool:
    """Whether an operation ran, and every access was ordered without it wherever it did."""
    ran = [base for base in bases if line not in base.idle]
    return bool(ran) and all(line in base.implied for base in ran)


def as_good(
    text: str, mutant: Mutant, bases: Sequence[Baseline], policies: Sequence[Policy]
) -> bool:
    """Whether a wait that was moved orders in its new place all that it ordered in the old one.

    The kernel runs with the wait in both places: the old one must be implied then, wherever it
    runs. At the end of a loop's turn, for instance, a wait may be for the very phase that the next
    turn would begin by waiting for.
    """
    if mutant.kind is not MutantKind.MOVE or mutant.op not in _REPEATABLE:
        return False
    lines = mutant.text.split("\n")
    lines.insert(mutant.line - 1, text.split("\n")[mutant.line - 1])
    both = "\n".join(lines)
    ran = [base for base in bases if mutant.line not in base.idle]
    return bool(ran) and all(
        _implied_in(again, mutant.line)
        for base in ran
        for again in (base.again(both, policy) for policy in policies)
    )


def _implied_in(report: Report, line: int) -> bool:
    redundant = any(entry.line == line and entry.executed for entry in report.redundant)
    return redundant and not report.findings


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
