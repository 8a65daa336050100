"""Mutants: each way to break an operation, and that what comes out is TTGIR again."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import pytest

from flash4gen.vgpu import parse_ttgir
from flash4gen.vgpu.mutate import Mutant, MutantKind, mutants
from flash4gen.vgpu.mutate.edit import sites
from tests.vgpu.gluon.all_cases import ALL, by_name

if TYPE_CHECKING:
    from tests.vgpu.gluon.case import Case

SYNCHRONISING = {
    "ttng.wait_barrier", "ttng.arrive_barrier", "ttng.barrier_expect", "ttng.init_barrier",
    "ttng.tc_gen5_commit", "ttng.fence_async_shared", "ttng.async_tma_store_wait",
    "ttng.warp_group_dot_wait", "ttg.async_wait", "ttg.async_commit_group", "ttng.cluster_barrier",
}  # fmt: skip


def changes(case: Case, mutant: Mutant) -> tuple[list[str], list[str]]:
    """Return the lines that a mutant lacks and those it has instead, without indents."""
    before, after = case.text().split("\n"), mutant.text.split("\n")
    diff = list(difflib.ndiff(before, after))
    gone = [line[2:].strip() for line in diff if line.startswith("- ")]
    new = [line[2:].strip() for line in diff if line.startswith("+ ")]
    return gone, new


def some(case: Case, kind: MutantKind, op: str, index: int = 0) -> Mutant:
    found = [m for m in mutants(case.text()) if m.kind is kind and m.op == op]
    return found[index]


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_every_mutant_is_valid_and_different(case: Case) -> None:
    found = mutants(case.text())
    texts = {mutant.text for mutant in found}
    assert len(texts) == len(found)
    assert case.text() not in texts
    for mutant in found:
        parse_ttgir(mutant.text)
        assert mutant.op in case.text().split("\n")[mutant.line - 1]
        assert "/tests/vgpu/gluon/kernels_" in mutant.source or "mbarrier" in mutant.source


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_every_synchronising_operation_is_deleted_once(case: Case) -> None:
    text = case.text()
    wanted = {
        (site.operation.name, site.operation.line)
        for site in sites(text)
        if site.operation.name in SYNCHRONISING
    }
    deleted = [
        (m.op, m.line)
        for m in mutants(text)
        if m.kind is MutantKind.DELETE and m.op != "ttng.tc_gen5_mma"
    ]
    assert len(deleted) == len(set(deleted))
    assert set(deleted) == wanted


def test_deleting_takes_one_line_out() -> None:
    case = by_name("ring_copy")
    gone, new = changes(case, some(case, MutantKind.DELETE, "ttng.wait_barrier"))
    assert (len(gone), new) == (1, [])
    assert gone[0].startswith("ttng.wait_barrier")


def test_deleting_a_wait_with_a_result_hands_its_operand_on() -> None:
    case = by_name("matmul_wgmma")
    gone, new = changes(case, some(case, MutantKind.DELETE, "ttng.warp_group_dot_wait", 1))
    assert "ttng.warp_group_dot_wait %acc " in gone[0]
    assert any("arith.truncf %acc " in line for line in new)


def test_counts_go_up_and_down() -> None:
    case = by_name("attention_four_roles")
    text = case.text()
    changed = {
        m.detail for m in mutants(text) if m.op == "ttng.init_barrier" and m.kind != "delete"
    }
    assert changed == {"1 became 2", "2 became 3", "2 became 1"}
    gone, new = changes(case, some(case, MutantKind.COUNT_UP, "ttng.arrive_barrier"))
    assert new == [gone[0].replace(", 1, %", ", 2, %")]


def test_a_wait_for_the_other_phase() -> None:
    case = by_name("ring_copy")
    gone, new = changes(case, some(case, MutantKind.PHASE, "ttng.wait_barrier"))
    (wait,) = gone
    phase = wait.split(", ")[1]
    assert f"%mutant_phase = arith.xori {phase}, %mutant_one : i32" in new[1]
    assert new[2] == wait.replace(f", {phase}", ", %mutant_phase")


def test_expected_bytes_change_both_ways() -> None:
    found = [m for m in mutants(by_name("ring_copy").text()) if m.kind is MutantKind.BYTES]
    assert [m.detail for m in found] == ["4096 became 4112", "4096 became 4080"]


def test_a_wait_moves_behind_everything_in_its_block() -> None:
    case = by_name("ring_copy")
    mutant = some(case, MutantKind.MOVE, "ttng.wait_barrier")
    lines = [line.strip() for line in mutant.text.split("\n")]
    wait = next(i for i, line in enumerate(lines) if line.startswith("ttng.wait_barrier"))
    assert lines[wait - 1].startswith("tt.store")
    assert lines[wait + 1].startswith("} loc(")


def test_an_arrival_moves_up_with_what_it_needs() -> None:
    case = by_name("ring_copy")
    mutant = some(case, MutantKind.MOVE, "ttng.arrive_barrier")
    lines = [line.strip() for line in mutant.text.split("\n")]
    arrive = next(i for i, line in enumerate(lines) if line.startswith("ttng.arrive_barrier"))
    barrier = lines[arrive].split()[1].rstrip(",")
    assert lines[arrive - 1].startswith(f"{barrier} = ttg.memdesc_index")
    assert not any("local_load" in line for line in lines[:arrive])


def test_a_product_loses_the_barrier_it_arrives_at() -> None:
    case = by_name("matmul_two_ctas")
    mutant = some(case, MutantKind.DELETE, "ttng.tc_gen5_mma")
    (before,), (after,) = changes(case, mutant)
    assert "[%true]" in before
    assert "[%true]" not in after


def test_a_wait_for_groups_leaves_one_more_pending() -> None:
    details = [
        m.detail for m in mutants(by_name("cp_async_copy").text()) if m.op == "ttg.async_wait"
    ]
    assert "1 pending became 2" in details
    assert "0 pending became 1" in details


# --- operations that no kernel here uses ----------------------------------------------------------

BARRIER = "!ttg.memdesc<1xi64, #bar, #smem, mutable>"
TILE = "!ttg.memdesc<32x64xf16, #bar, #smem, mutable>"


def kinds(*lines: str) -> list[str]:
    """Return how the one synchronising operation among some lines is broken."""
    body = "\n".join(f"{line} loc(#loc)" for line in lines)
    text = f"""#bar = #ttg.swizzled_shared<{{vec = 1, perPhase = 1, maxPhase = 1, order = [0]}}>
#loc = loc(unknown)
#smem = #ttg.shared_memory
module {{
tt.func public @k(%x: i32 loc(#loc), %ptr: !tt.ptr<f16> loc(#loc)) {{
%bar = ttg.local_alloc : () -> {BARRIER} loc(#loc)
%tile = ttg.local_alloc : () -> {TILE} loc(#loc)
{body}
tt.return loc(#loc)
}} loc(#loc)
}} loc(#loc)
"""
    found = mutants(text)
    assert len({mutant.line for mutant in found}) == 1
    for mutant in found:
        parse_ttgir(mutant.text)
    return [mutant.kind.value for mutant in found]


READ = f"%value = ttg.local_load %tile : {TILE} -> tensor<32x64xf16>"


@pytest.mark.parametrize(
    "wait",
    [
        "ttng.wait_barrier_named %x, 128 : i32, i32",
        "ttng.cluster_barrier",
        "ttng.cluster_wait",
        "ttng.fence_async_shared {bCluster = true}",
    ],
)
def test_waits_of_many_are_left_out_and_moved_behind(wait: str) -> None:
    assert kinds(wait, READ) == ["delete", "move"]


@pytest.mark.parametrize(
    "arrival",
    [
        "ttng.arrive_barrier_named %x, 128 : i32, i32",
        "ttng.cluster_arrive {relaxed = false}",
        f"ttng.async_copy_mbarrier_arrive %bar : {BARRIER}",
        f"ttng.tc_gen5_commit %bar : {BARRIER}",
    ],
)
def test_arrivals_are_left_out_and_moved_ahead(arrival: str) -> None:
    assert kinds(READ, arrival) == ["delete", "move"]
