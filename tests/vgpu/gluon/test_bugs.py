"""Findings, both ways: every bug is found where it is, and correct kernels are silent."""

from __future__ import annotations

from pathlib import Path

import pytest

from flash4gen.vgpu import FindingKind, Policy, check_ttgir
from tests.long_matrix import slow
from tests.vgpu.gluon.all_cases import ALL
from tests.vgpu.gluon.broken import BUGS, Bug
from tests.vgpu.gluon.case import Case, flat_arguments
from tests.vgpu.gluon.running import STEPS, run


def line_of(source: str) -> str:
    """Return the text of a `file:line`."""
    file, _, line = source.rpartition(":")
    return Path(file).read_text().split("\n")[int(line) - 1] if file else ""


@pytest.mark.parametrize("policy", [Policy.IN_ORDER, Policy.LAZIEST, Policy.EAGEREST])
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_correct_kernel_is_silent_and_right(case: Case, policy: Policy) -> None:
    report = run(case, policy)
    assert report.findings == ()
    assert report.policy is policy


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_correct_kernel_is_silent_in_random_order(case: Case, seed: int) -> None:
    assert run(case, Policy.RANDOM, seed).findings == ()


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_a_correct_kernel_is_silent_in_fifty_random_orders(case: Case) -> None:
    for seed in range(3, 53):
        assert run(case, Policy.RANDOM, seed).findings == ()


@pytest.mark.parametrize(
    "policy", [Policy.IN_ORDER, Policy.LAZIEST, *slow(Policy.EAGEREST, Policy.RANDOM)]
)
@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_bug_is_found_where_it_is(bug: Bug, policy: Policy) -> None:
    text = bug.text()
    arguments = flat_arguments(text, bug.kernel.values())
    report = check_ttgir(text, arguments, bug.kernel.grid, policy=policy, step_limit=STEPS)
    found = [finding for finding in report.findings if finding.kind in bug.kinds]
    assert found, f"found {[str(finding) for finding in report.findings]}"
    places = [finding.source for finding in found]
    places += [finding.other.source for finding in found if finding.other is not None]
    assert any(bug.where in line_of(place) for place in places), places


def test_every_kind_of_concurrency_finding_has_a_bug() -> None:
    """A kind that no bug of these kernels can have is named here, with the reason."""
    elsewhere = {
        FindingKind.MISALIGNED, FindingKind.DESCRIPTOR, FindingKind.ASSERTION,
        FindingKind.UNSUPPORTED, FindingKind.INTERNAL,
        FindingKind.BARRIER_COUNT,  # of named barriers, which Gluon has not: see test_named.py
        FindingKind.TMEM_LEAK,  # no operation of TTGIR frees tensor memory: the compiler does
    }  # fmt: skip
    covered = {kind for bug in BUGS for kind in bug.kinds}
    assert covered == set(FindingKind) - elsewhere
