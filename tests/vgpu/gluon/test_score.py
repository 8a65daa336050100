"""Mutation: no mutant of a correct kernel is missed, and what survives is redundant indeed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from torch import Tensor

from flash4gen.vgpu import Policy, check_ttgir
from flash4gen.vgpu.mutate import (
    Launch,
    Mutant,
    MutantKind,
    baseline,
    mutants,
    pool,
    score,
    score_bases,
    score_launches,
)
from tests.vgpu.gluon.all_cases import ALL, by_name

if TYPE_CHECKING:
    from tests.vgpu.gluon.case import Case

EXTRA_WAIT = "wait that scores imply"
"""A variant that is correct and waits for what another wait implies already."""
TWO_A_TURN = "two a turn"
"""A variant that is correct and hands two tiles over in a turn."""
SLOW = ("attention_four_roles_128", "flash", "flash_128")


@pytest.mark.parametrize("case", [c for c in ALL if c.name not in SLOW], ids=lambda case: case.name)
def test_no_mutant_is_missed(case: Case) -> None:
    result = score(case.text(), case.fresh, case.grid)
    assert result.missed == ()
    assert result.wrong == ()
    assert result.unreached == ()
    assert len(result.flagged) + len(result.redundant) == len(result.mutants)
    assert result.seconds < 120


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_no_mutant_of_a_large_kernel_is_missed(name: str) -> None:
    case = by_name(name)
    assert score(case.text(), case.fresh, case.grid).missed == ()


def test_without_findings_nothing_is_redundant_but_what_is() -> None:
    """The last buffer that the correction role hands back is never asked for again."""
    case = by_name("attention_four_roles")
    result = score(
        case.text(), case.fresh, case.grid, only=lambda m: m.op.endswith("arrive_barrier")
    )
    (survivor,) = result.redundant
    assert (survivor.kind, survivor.op) == (MutantKind.DELETE, "ttng.arrive_barrier")
    after = case.text().split("\n")[survivor.line :]
    assert not any("ttng.arrive_barrier %f_empty" in line for line in after)


@pytest.mark.parametrize("policy", list(Policy))
def test_a_wait_that_another_implies_is_redundant(policy: Policy) -> None:
    case = by_name("attention_two_roles")
    arguments = case.fresh(EXTRA_WAIT)
    report = check_ttgir(case.text(EXTRA_WAIT), arguments, case.grid, policy=policy)
    assert report.findings == ()
    (redundant,) = report.redundant
    assert redundant.op == "ttng.wait_barrier"
    assert redundant.line == extra_wait(case)


def extra_wait(case: Case) -> int:
    """Return the TTGIR line of the wait that only the variant has: the one on its own barrier."""
    lines = case.text(EXTRA_WAIT).split("\n")
    (line,) = [i for i, text in enumerate(lines, 1) if "wait_barrier %o_done" in text]
    return line


def test_a_redundant_wait_survives_its_deletion() -> None:
    case = by_name("attention_two_roles")

    def chosen(mutant: Mutant) -> bool:
        return mutant.line == extra_wait(case) and mutant.kind is MutantKind.DELETE

    result = score(case.text(EXTRA_WAIT), lambda: case.fresh(EXTRA_WAIT), case.grid, only=chosen)
    assert [mutant.kind for mutant in result.redundant] == [MutantKind.DELETE]
    assert result.flagged == ()
    assert result.missed == ()


def test_what_never_runs_is_not_called_redundant() -> None:
    """Without tiles the partitions have nothing to do, and nothing is known of their waits."""
    case = by_name("ring_copy")
    idle = replace(case, values=lambda: case.values() | {"tiles": 0})
    result = score(idle.text(), idle.fresh, idle.grid)
    assert {mutant.op for mutant in result.unreached} == {
        "ttng.wait_barrier", "ttng.arrive_barrier", "ttng.barrier_expect",
    }  # fmt: skip
    assert result.redundant == ()


def test_what_one_launch_does_not_reach_another_may() -> None:
    case = by_name("ring_copy")
    idle = replace(case, values=lambda: case.values() | {"tiles": 0})
    launches = [Launch(idle.fresh, case.grid), Launch(case.fresh, case.grid)]
    result = score_launches(case.text(), launches)
    assert len(result.flagged) == len(result.mutants)


def test_a_mutant_is_not_run_where_its_operation_does_nothing() -> None:
    case = by_name("ring_copy")
    idle = replace(case, values=lambda: case.values() | {"tiles": 0})
    bases = [baseline(case.text(), Launch(one.fresh, case.grid)) for one in (idle, case)]
    wait = next(mutant for mutant in mutants(case.text()) if mutant.op == "ttng.wait_barrier")
    result = score_bases(case.text(), bases, only=lambda mutant: mutant == wait)
    assert len(result.flagged) == 1
    assert [base.tried for base in bases] == [0, 1]


def test_what_every_report_implies_runs_in_two_schedules() -> None:
    case = by_name("attention_two_roles")
    text = case.text(EXTRA_WAIT)
    base = baseline(text, Launch(lambda: case.fresh(EXTRA_WAIT), case.grid))

    def chosen(mutant: Mutant) -> bool:
        return mutant.line == extra_wait(case) and mutant.kind is MutantKind.DELETE

    result = score_bases(text, [base], only=chosen)
    assert result.implied == result.mutants
    assert (base.tried, base.found) == (2, 0)


def test_a_wait_that_orders_as_much_in_its_new_place_is_redundant() -> None:
    """At the end of a turn it is for the phase that the next turn begins with; elsewhere it is not.

    Left out, or for the other phase, it is found out, and so is the other wait wherever it goes.
    """
    ring = by_name("ring_copy")
    case = replace(ring, values=lambda: ring.values() | {"tiles": 4, "STAGES": 1})
    result = score(
        case.text(TWO_A_TURN),
        lambda: case.fresh(TWO_A_TURN),
        case.grid,
        only=lambda mutant: mutant.op == "ttng.wait_barrier",
    )
    (survivor,) = result.implied
    assert survivor.kind is MutantKind.MOVE
    assert result.missed == ()
    others = [mutant.kind for mutant, _ in result.flagged if mutant.line == survivor.line]
    assert others == [MutantKind.DELETE, MutantKind.PHASE]
    assert len(result.flagged) == 8


def test_several_processes_come_to_the_same_verdicts() -> None:
    case = by_name("attention_two_roles")
    text, launches = case.text(EXTRA_WAIT), [Launch(lambda: case.fresh(EXTRA_WAIT), case.grid)]
    one, two = (score_launches(text, launches, processes=number) for number in (1, 2))
    assert one.redundant
    assert replace(one, seconds=0.0) == replace(two, seconds=0.0)


def test_a_process_that_ends_early_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that does not know an assembly block which only the caller has registered."""
    case = by_name("ring_copy")
    monkeypatch.setattr(pool, "__name__", "flash4gen.no_such_module")
    with pytest.raises(RuntimeError, match="a process that runs mutants ended with code 1"):
        score_launches(case.text(), [Launch(case.fresh, case.grid)], processes=2)


def test_numbers_that_are_nan_both_times_are_not_wrong() -> None:
    """Only a mutant without a finding has its numbers compared: here the redundant wait's."""
    case = by_name("attention_two_roles")
    text = case.text(EXTRA_WAIT)

    def fresh() -> list[Any]:
        arguments = case.fresh(EXTRA_WAIT)
        for tensor in (a for a in arguments if isinstance(a, Tensor)):
            tensor.fill_(float("nan"))
        return arguments

    result = score(text, fresh, case.grid, only=lambda m: m.line == extra_wait(case))
    assert result.wrong == ()
    assert [mutant.kind for mutant in result.implied] == [MutantKind.DELETE]


def test_a_kernel_with_findings_has_no_score() -> None:
    case, bug = by_name("ring_copy"), "arrives too early"
    with pytest.raises(ValueError, match="the kernel itself has findings"):
        score(case.text(bug), lambda: case.fresh(bug), case.grid)
