"""What mutants have in common is made once: blocks, partitions, and the functions they become."""

from __future__ import annotations

import pytest

from flash4gen.vgpu import Policy, check_ttgir, parse_ttgir
from flash4gen.vgpu.check import prepare_checked
from flash4gen.vgpu.contract import contract
from flash4gen.vgpu.mutate import Mutant, mutants
from flash4gen.vgpu.parse.tree import Operation, Region
from flash4gen.vgpu.reuse import Reuse
from tests.vgpu.gluon.all_cases import by_name

CASE = by_name("attention_four_roles")


def roles(text: str, reuse: Reuse | None = None) -> tuple[Region, ...]:
    """Return the default role of a kernel and its partitions."""
    module = contract(parse_ttgir(text), reuse) if reuse else parse_ttgir(text)
    (block,) = module.kernel.body.blocks
    (fork,) = (op for op in block.operations if op.name == "ttg.warp_specialize")
    return fork.regions


def differing(one: tuple[Region, ...], two: tuple[Region, ...]) -> int:
    return sum(a is not b for a, b in zip(one, two, strict=True))


def some() -> list[Mutant]:
    """Return mutants of different roles that leave an operation out."""
    found = [m for m in mutants(CASE.text()) if m.kind == "delete" and m.op == "ttng.wait_barrier"]
    assert len(found) > 6
    return found[::3]


def test_a_mutant_brings_one_new_role() -> None:
    """Of the others there are two versions: as they were, and a line higher up in the text."""
    prepare = [roles(mutant.text) for mutant in some()]  # the first text is read in another way
    found = [roles(mutant.text) for mutant in some()]
    assert all(differing(a, b) == 0 for a, b in zip(prepare[1:], found[1:], strict=True))
    distinct = {id(role) for regions in found for role in regions}
    assert len(distinct) <= len(found) + 2 * len(found[0])


def test_what_is_fused_is_remembered() -> None:
    reuse = Reuse()
    text = some()[0].text
    first, second = roles(text, reuse), roles(text, reuse)
    assert differing(first, second) == 0
    assert differing(first, roles(text, Reuse())) > 0


def test_parts_are_forgotten_when_they_are_too_many() -> None:
    reuse = Reuse(most=2)
    parts = [Operation(name="test.operation", line=line) for line in range(3)]
    made = [reuse(part, lambda part: [part.line], "line") for part in parts]
    assert made == [[0], [1], [2]]
    assert reuse(parts[2], lambda _part: [9], "line") is made[2]
    assert reuse(parts[0], lambda _part: [9], "line") == [9]


def test_kinds_do_not_mix() -> None:
    reuse, part = Reuse(), Operation(name="test.operation", line=1)
    assert reuse(part, lambda part: part.line, "line") == 1
    assert reuse(part, lambda part: part.name, "name") == "test.operation"


@pytest.mark.parametrize("policy", list(Policy))
def test_a_text_runs_as_well_after_others_as_before(policy: Policy) -> None:
    """Parts of mutants, and sites in them, are not taken for those of the kernel."""

    def report() -> tuple[object, ...]:
        found = check_ttgir(CASE.text(), CASE.fresh(), CASE.grid, policy=policy)
        return found.findings, found.redundant, found.steps

    prepare_checked.cache_clear()
    before = report()
    for mutant in some():
        prepare_checked(mutant.text)
    prepare_checked.cache_clear()
    assert report() == before
    assert before[0] == ()
