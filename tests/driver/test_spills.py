"""What sends a build on to the next schedule: spills in a loop, and kernels beyond the limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flash4gen.build.artefact import Artefact, Facts
from flash4gen.driver.build import next_plan, recorded_plan, spills_matter
from flash4gen.driver.model import Plan
from flash4gen.driver.run import suffixed
from flash4gen.ir.library import target
from flash4gen.ir.nodes import Pass
from flash4gen.render.provenance import excluded_rows
from flash4gen.schedule.backward.model import as_loops
from flash4gen.schedule.model import BUILD, AnySchedule
from flash4gen.schedule.text import record_text
from tests.ir.notation import attention
from tests.schedule.variants import chosen, portable, variant

B200 = target("b200")


def facts(spilled: int) -> Facts:
    """Facts of a kernel that spills so many bytes, by as many instructions in its loops."""
    return Facts(
        registers=128,
        spill_bytes=spilled,
        smem_bytes=0,
        tmem_columns=0,
        threads=512,
        tensor_instructions=(),
        instructions=0,
        spill_stores=0,
        spill_loads=spilled,
        loop_spills=spilled,
    )


@pytest.mark.parametrize(
    ("family", "spilled", "matters"),
    [
        ("portable", 0, False),
        ("portable", 4, True),
        ("blackwell", 0, False),
        ("blackwell", 12, False),
        ("blackwell", 13, True),
    ],
)
def test_a_few_reloads_in_specialised_loops_are_harmless(
    family: str, spilled: int, *, matters: bool
) -> None:
    find = portable if family == "portable" else chosen
    schedule = find(variant(), B200).schedule
    assert schedule.family == family
    assert spills_matter(schedule, facts(spilled)) == matters


def excluded(plan: Plan) -> set[AnySchedule]:
    return {item.schedule for item in plan.choice.rejected if item.constraint == BUILD}


@pytest.mark.parametrize("count", [1, 2])
def test_the_header_is_enough_to_come_to_the_same_schedule(count: int) -> None:
    what = variant()
    plan = Plan(what, B200, chosen(what, B200))
    spilled = [item.schedule for item in plan.choice.ranked[:count]]
    header = "".join(
        f"# excluded   {record_text(item)}: spills 96 bytes per thread\n" for item in spilled
    )
    again = recorded_plan(plan, header)
    assert excluded(again) == set(spilled)
    assert again.choice.schedule == plan.choice.ranked[count].schedule


def kernel(name: str, spills: int = 0, backward: tuple[Artefact, ...] = ()) -> Artefact:
    """A kernel that spills so many bytes."""
    return Artefact(
        kernel=name,
        target="rtx5090",
        ttgir="",
        ptx="",
        sass="",
        cubin=b"",
        facts=facts(spills),
        backward=backward,
    )


def trained(keys: int, queries: int) -> Artefact:
    """A module whose two kernels of gradients spill so many bytes."""
    found = kernel("_key_gradient_kernel", keys), kernel("_query_gradient_kernel", queries)
    return kernel("_forward_kernel", backward=(kernel("_rows_kernel"), *found))


def training_plan() -> Plan:
    what, hardware = replace(variant(), passes=(Pass.FORWARD, Pass.BACKWARD)), target("rtx5090")
    return Plan(what, hardware, chosen(what, hardware))


def unfit(plan: Plan) -> list[tuple[str, str]]:
    """Return the kernels of which a shape is excluded, each with the reason."""
    return [(shape.kernel, why) for shape, why in plan.unfit]


def test_a_backward_kernel_that_spills_gets_its_next_shape_alone() -> None:
    plan = training_plan()
    again = next_plan(plan, trained(keys=8, queries=0))
    assert again is not None
    assert plan.choice.backward is not None
    assert again.choice.backward is not None
    before = as_loops(plan.choice.backward.schedule)
    after = as_loops(again.choice.backward.schedule)
    assert before.keys != after.keys
    assert (before.queries, plan.choice.schedule) == (after.queries, again.choice.schedule)
    assert ("keys", "spills 8 bytes per thread") in unfit(again)
    assert next_plan(again, trained(keys=0, queries=0)) is again


def test_the_header_remembers_shapes_of_backward_kernels() -> None:
    plan = training_plan()
    again = next_plan(plan, trained(keys=8, queries=4))
    assert again is not None
    rows = excluded_rows(again.choice)
    assert len(rows) == 2
    header = "".join(f"# {row}\n" for row in rows)
    assert recorded_plan(plan, header).choice.backward == again.choice.backward


def too_large(kernel: Artefact) -> Artefact:
    """The same kernel, with more shared memory than its target has."""
    return replace(kernel, facts=replace(kernel.facts, smem_bytes=131_896))


def test_a_kernel_that_cannot_be_launched_gets_another_schedule() -> None:
    plan = training_plan()
    again = next_plan(plan, too_large(trained(keys=0, queries=0)))
    assert again is not None
    assert excluded(again) == {plan.choice.schedule}
    assert again.choice.backward == plan.choice.backward
    assert "needs 131,896 bytes of shared memory" in excluded_rows(again.choice)[0]


def test_a_backward_kernel_that_cannot_be_launched_gets_its_next_shape_alone() -> None:
    plan, (rows, keys, queries) = training_plan(), trained(keys=0, queries=0).backward
    module = kernel("_forward_kernel", backward=(rows, too_large(keys), queries))
    again = next_plan(plan, module)
    assert again is not None
    assert again.choice.schedule == plan.choice.schedule
    assert again.choice.backward is not None
    assert ("keys", "needs 131,896 bytes of shared memory") in unfit(again)


def test_there_is_an_end_to_it() -> None:
    plan: Plan | None = training_plan()
    tried = 0
    while plan is not None:
        plan = next_plan(plan, trained(keys=8, queries=0))
        tried += 1
        assert tried < 40


def test_what_is_emitted_of_backward_kernels_has_their_names() -> None:
    assert [suffix for _, suffix in suffixed(trained(0, 0))] == [
        "",
        ".rows",
        ".key_gradient",
        ".query_gradient",
    ]


def test_each_pass_is_judged_by_its_own_family() -> None:
    """A few reloads of a warp-specialised kernel are harmless, of a portable one beside it none."""
    what = replace(variant(32), passes=(Pass.FORWARD, Pass.BACKWARD))
    plan = Plan(what, B200, chosen(what, B200))
    assert plan.choice.mixed
    forward = kernel("_forward_kernel", 12, trained(keys=0, queries=0).backward)
    assert next_plan(plan, forward) is plan
    again = next_plan(plan, replace(forward, backward=trained(keys=4, queries=0).backward))
    assert again is not None
    assert again.choice.schedule == plan.choice.schedule
    assert again.choice.backward != plan.choice.backward
    assert again.choice.mixed


def test_a_portable_kernel_beside_a_pipeline_gets_its_next_shape_alone() -> None:
    """A few reloads of the pipeline are harmless, and its schedule is the only one."""
    both = (Pass.FORWARD, Pass.BACKWARD)
    what = attention(passes=both, head_dim=64, value_dim=64, score="s + bias[h, q, k]")
    plan = Plan(what, B200, chosen(what, B200))
    pipeline, beside = kernel("_gradient_kernel", 12), "_bias_h_q_k_gradient_kernel"
    assert next_plan(plan, kernel("_forward_kernel", backward=(pipeline, kernel(beside)))) is plan
    again = next_plan(plan, kernel("_forward_kernel", backward=(pipeline, kernel(beside, 4))))
    assert again is not None
    assert again.choice.schedule == plan.choice.schedule
    before, after = plan.choice.backward, again.choice.backward
    assert before is not None
    assert after is not None
    assert after.schedule == before.schedule
    assert after.schedule_of(beside) != before.schedule_of(beside)
    (told,) = excluded_rows(again.choice)
    assert told.startswith("excluded   pairs ")
    assert recorded_plan(plan, f"# {told}\n").choice.backward == after
