"""The verifier of warp-specialised schedules: whatever is corrupted, it is found."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.library import target
from flash4gen.ir.nodes import Lengths, Weights
from flash4gen.schedule.blackwell.memory import Barrier, Region, memory_plan
from flash4gen.schedule.blackwell.model import Dispatch, RowMax, TensorPlan
from flash4gen.schedule.blackwell.plan_check import faults
from flash4gen.schedule.blackwell.registers import Split, equation, pool, splits, used
from flash4gen.schedule.blackwell.resolve import planned
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.schedule.memory import Buffer
from flash4gen.schedule.model import Family
from flash4gen.schedule.verify import constraint_names, schedule_text, verify
from tests.schedule.blackwell.cases import B200, B300, refusal, schedule
from tests.schedule.variants import CAUSAL, FULL, pinning, variant

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.memory import MemoryPlan

MEASURED = 231_004
"""Bytes that Triton 3.9 asked for: head_dim 128, two query tiles, three slots, two staged."""

GOOD = schedule(variant(128))

CORRUPTIONS: list[tuple[str, Any, str]] = [
    ("family", Family.PORTABLE, "sums"),
    ("hardware", "b300", "sums"),
    ("query_tiles", 3, "domains"),
    ("query_tiles", 1, "tiles"),
    ("ctas", 4, "domains"),
    ("tile_q", 64, "domains"),
    ("tile_k", 64, "domains"),
    ("stages", 0, "domains"),
    ("stages", 4, "shared_memory"),
    ("stages", 2, "sums"),
    ("plan", TensorPlan.DOUBLE_S, "tiles"),
    ("plan", TensorPlan.DISJOINT, "tensor_memory"),
    ("pack", 3, "domains"),
    ("pack", 4, "packing"),
    ("softmax_registers", 200, "registers"),
    ("softmax_registers", 203, "domains"),
    ("correction_registers", 96, "registers"),
    ("other_registers", 16, "domains"),
    ("emulated", 26, "domains"),
    ("emulated", 128, "domains"),
    ("early", 64, "domains"),
    ("rescale_threshold", 16, "domains"),
    ("row_max", RowMax.LOAD, "instructions"),
    ("staging", 3, "domains"),
    ("staging", 1, "sums"),
    ("head_pad", 64, "padding"),
    ("head_pad", 112, "widths"),
    ("value_pad", 256, "widths"),
    ("smem_bytes", MEASURED, "sums"),
    ("tmem_columns", 256, "sums"),
    ("ctas", 2, "pair_mask"),
    ("element", 1, "domains"),
    ("short_queries", 64, "domains"),
    ("short_softmax_registers", 160, "short"),
    ("short_correction_registers", 104, "short"),
    ("short_other_registers", 24, "short"),
]


@pytest.mark.parametrize(("field", "value", "constraint"), CORRUPTIONS)
def test_a_corrupted_field_breaks_the_rule_it_is_about(
    field: str, value: Any, constraint: str
) -> None:
    what = variant(128, mask=CAUSAL)
    good = schedule(what)
    assert verify(good, B200, what) == ()
    bad = replace(good, **{field: value})
    assert constraint in {found.constraint for found in verify(bad, B200, what)}


@given(st.sampled_from([field for field, _, _ in CORRUPTIONS]), st.integers(-300, 300_000))
@settings(max_examples=150, deadline=None)
def test_any_number_in_place_of_a_derived_one_is_found_and_nothing_crashes(
    field: str, number: int
) -> None:
    corrupted: dict[str, Any] = {field: number}
    found = verify(replace(GOOD, **corrupted), B200)
    if field in ("smem_bytes", "tmem_columns", "head_pad", "value_pad", "hardware", "family"):
        assert (found == ()) == (getattr(GOOD, field) == number)


def test_the_rules_are_listed_by_name() -> None:
    names = constraint_names(schedule())
    assert {constraint for _, _, constraint in CORRUPTIONS} <= set(names)
    assert len(set(names)) == len(names)


def test_a_schedule_reads_as_one_field_a_line() -> None:
    lines = schedule_text(schedule()).splitlines()
    assert lines[:2] == ["family = blackwell", "hardware = b200"]
    assert "plan = shared_s" in lines
    # Came later, and are left out where they are not set.
    later = {"normalised", "key_loops", "element"}
    written = {line.partition(" = ")[0] for line in lines}
    assert written == set(schedule().__dataclass_fields__) - later


def test_the_plan_covers_what_triton_asks_for_and_fits() -> None:
    planned_bytes = schedule(variant(128)).smem_bytes
    assert MEASURED <= planned_bytes <= B200.smem_per_block


@pytest.mark.parametrize(
    ("plan", "columns", "regions"),
    [("p_in_s", 256, {"s0", "p0", "o0"}), ("shared_s", 512, {"s", "p0", "o0"})],
)
def test_short_queries_have_one_tile_of_the_plan(
    plan: str, columns: int, regions: set[str]
) -> None:
    """One of two query tiles, with the pool of three groups; the ring is the same."""
    whole = schedule(pinning(variant(128), plan=plan))
    one = one_tile(whole)
    assert one is not None
    assert faults(memory_plan(one), B200) == ()
    assert (one.query_tiles, one.tmem_columns) == (1, columns)
    assert one.stages == whole.stages
    split = Split(one.softmax_registers, one.correction_registers, one.other_registers)
    assert used(split, 1) == pool(1, B200) == 504
    assert {region.name for region in memory_plan(one).regions} == regions
    assert one_tile(one) is None


@pytest.mark.parametrize(
    "what",
    [
        pinning(variant(128), query_tiles=1),
        pinning(variant(128, mask=FULL), ctas=2),
        variant(256),
        pinning(variant(128), short_queries=0),
        replace(variant(128), lengths=Lengths.EQUAL),
    ],
)
def test_not_every_schedule_has_another_for_short_queries(what: Attention) -> None:
    assert one_tile(schedule(what)) is None


def test_a_kernel_for_short_queries_of_a_pair_is_refused() -> None:
    found = refusal(pinning(variant(128, mask=FULL), ctas=2, short_queries=128))
    assert "kernel for short queries has one of two query tiles" in found.notes[0]
    assert found.helps == ("write `short_queries = 0`",)


def test_the_reducing_load_needs_the_feature() -> None:
    found = verify(replace(schedule(hardware=B300), hardware="b200"), B200)
    assert [item.constraint for item in found] == ["instructions"]


def test_older_targets_cannot_run_it() -> None:
    found = verify(schedule(), target("h100"))
    assert "no tcgen05" in found[0].reason


@pytest.mark.parametrize(("query_tiles", "total"), [(2, 512), (1, 504)])
def test_registers_come_out_of_one_pool(query_tiles: int, total: int) -> None:
    assert pool(query_tiles, B200) == total
    assert equation(query_tiles, B200).endswith(f"= {total}")
    allowed = list(splits(query_tiles, B200))
    assert allowed
    for split in allowed:
        assert used(split, query_tiles) == total
        assert all(24 <= registers <= 256 and registers % 8 == 0 for registers in split)
        assert split.softmax >= 168


@pytest.mark.parametrize(("widths", "stages"), [((128, 128), 6), ((192, 128), 4)])
def test_pairs_hold_half_of_every_tile(widths: tuple[int, int], stages: int) -> None:
    two = schedule(pinning(variant(*widths, mask=FULL), ctas=2))
    rings = {item.name: item.bytes for item in memory_plan(two).buffers if "ring" in item.name}
    keys, values = 64 * widths[0] * 2, 128 * widths[1] // 2 * 2
    assert rings == {"ring of k": stages // 2 * keys, "ring of v": stages // 2 * values}
    more = planned(replace(two, stages=stages + 2))
    assert verify(more, B200)[0].constraint == "shared_memory"


def test_slots_of_a_pair_come_in_twos() -> None:
    two = schedule(pinning(variant(mask=FULL), ctas=2))
    (found,) = verify(planned(replace(two, stages=5)), B200)
    assert found.constraint == "pair"
    assert found.reason.endswith("their number is even")
    assert "`stages = 4`" in " ".join(refusal(pinning(variant(mask=FULL), ctas=2, stages=5)).helps)


PLANS = [
    schedule(variant(128)),
    schedule(pinning(variant(128), plan=TensorPlan.SHARED_S)),
    schedule(pinning(variant(64), plan=TensorPlan.DISJOINT)),
    schedule(pinning(variant(64), query_tiles=1)),
    schedule(pinning(variant(64), dispatch=Dispatch.CLC, early=0)),
    schedule(variant(256)),
]


@pytest.mark.parametrize("good", PLANS, ids=lambda item: f"{item.plan}-{item.dispatch}")
def test_memory_plans_are_sound(good: Any) -> None:
    plan = memory_plan(good)
    assert faults(plan, B200) == ()
    names = {barrier.name: barrier for barrier in plan.barriers}
    own_slots = good.plan in (TensorPlan.SHARED_S, TensorPlan.DISJOINT)
    assert ({"s_empty", "pv_done"} <= set(names)) == own_slots
    assert ("p_last" in names) == (good.early > 0)
    assert ("work_full" in names) == (good.dispatch is Dispatch.CLC)
    assert names["p_ready"].arrivals == 2
    assert names["kv_full"].count == good.stages
    assert plan.smem_bytes == good.smem_bytes


def changed(plan: MemoryPlan, **fields: Any) -> MemoryPlan:
    return replace(plan, **fields)


def corrupted() -> list[tuple[MemoryPlan, str]]:
    plan = memory_plan(schedule(variant(128)))
    first, *barriers = plan.barriers
    one, *regions = plan.regions
    return [
        (changed(plan, regions=(one._replace(columns=129), *regions)), "overlap"),
        (changed(plan, regions=(*plan.regions, Region("x", 480, 64))), "columns 480 to 543"),
        (changed(plan, regions=(*plan.regions, Region("x", 0, 64, "y"))), "not lie inside y"),
        (changed(plan, regions=(one, *plan.regions)), "two regions"),
        (changed(plan, barriers=(replace(first, arrivals=2), *barriers)), "counts 2 arrivals"),
        (changed(plan, barriers=(replace(first, count=0), *barriers)), "no barrier"),
        (changed(plan, barriers=(*plan.barriers, Barrier("x", 1, 1, ("y",)))), "no role"),
        (changed(plan, barriers=(first, *plan.barriers)), "two barriers"),
        (changed(plan, buffers=(*plan.buffers, Buffer("x", 0))), "0 bytes"),
        (changed(plan, buffers=(*plan.buffers, Buffer("x", 1024))), "a block may have 232,448"),
        (changed(plan, roles=plan.roles[1:]), "correction arrives"),
    ]


@pytest.mark.parametrize(("plan", "said"), corrupted())
def test_a_corrupted_memory_plan_is_found(plan: MemoryPlan, said: str) -> None:
    assert any(said in fault for fault in faults(plan, B200))


@pytest.mark.parametrize(
    ("pins", "reason"),
    [
        ({"rescale_threshold": 8}, "nothing is ever rescaled"),
        ({"ctas": 2}, "laid out for a softmax"),
        ({"row_max": "load"}, "no row maximum that a load could find"),
    ],
    ids=["rescaled", "a pair", "a maximum"],
)
def test_sigmoid_weights_have_no_maximum(pins: dict[str, int | str], reason: str) -> None:
    what = replace(variant(mask=FULL), weights=Weights.SIGMOID)
    found = schedule(what, B300)
    assert (found.normalised, found.rescale_threshold) == (False, 0)
    assert reason in refusal(pinning(what, **pins), B300).notes[0]


def test_without_a_softmax_there_are_no_row_statistics() -> None:
    plan = memory_plan(schedule(replace(variant(), weights=Weights.SIGMOID)))
    names = {barrier.name: barrier.arrivers for barrier in plan.barriers}
    assert "stats_full" not in names
    assert names["p_ready"] == ("softmax",)
    assert names["o_empty"] == ("correction",)
    assert not faults(plan, B200)
    assert all(buffer.name != "row statistics" for buffer in plan.buffers)
