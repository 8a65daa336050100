"""The portable search: its choice satisfies every constraint, and the log says what happened."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.hardware import Feature
from flash4gen.ir.library import target
from flash4gen.schedule.model import Load, TileOrder, as_portable
from flash4gen.schedule.registers import pressure, thread_limit
from flash4gen.schedule.space import shape_of
from flash4gen.schedule.verify import verify
from flash4gen.schedule.workload import workload
from tests.schedule.variants import (
    CAUSAL,
    FULL,
    IDENTITY,
    SOFTCAP,
    TARGETS,
    WINDOW,
    cycles,
    portable,
    said,
    variant,
)

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware

dims = st.integers(2, 32).map(lambda n: 8 * n)
targets = st.sampled_from(TARGETS)
masks = st.sampled_from(
    (FULL, CAUSAL, WINDOW, "k < 4 or q - k < 64 and k <= q", "(q + k) % 3 == 0")
)
scores = st.sampled_from((IDENTITY, SOFTCAP, "s + exp(s) * sigmoid(s) - float(q - k) / 8.0"))


@given(targets, dims, dims, masks, scores)
@settings(max_examples=60, deadline=None)
def test_every_choice_satisfies_every_constraint(
    hardware: Hardware, head_dim: int, value_dim: int, mask: str, score: str
) -> None:
    choice = portable(variant(head_dim, value_dim, mask, score), hardware)
    assert verify(choice.schedule, hardware) == ()
    for ranked in choice.ranked:
        assert verify(ranked.schedule, hardware) == ()


@given(targets, dims, st.integers(0, 128))
@settings(max_examples=30, deadline=None)
def test_more_shared_memory_never_makes_the_choice_fail_or_cost_more(
    hardware: Hardware, head_dim: int, kilobytes: int
) -> None:
    more = replace(
        hardware,
        smem_per_block=hardware.smem_per_block + 1024 * kilobytes,
        smem_per_sm=hardware.smem_per_sm + 1024 * kilobytes,
    )
    before = portable(variant(head_dim), hardware).ranked[0]
    after = portable(variant(head_dim), more).ranked[0]
    assert cycles(after) <= cycles(before)


MEASURED = [
    pytest.param(item, width, id=f"{item.name}-{width}")
    for item in TARGETS
    for width in ([64, 128] if item.has(Feature.MFMA) else [16, 32, 64, 128, 256])
]
"""Targets and widths whose best candidates were compiled; for AMD the model answers elsewhere."""


@pytest.mark.parametrize(("hardware", "head_dim"), MEASURED)
@pytest.mark.parametrize(
    ("score", "mask"), [(IDENTITY, FULL), (IDENTITY, CAUSAL), (SOFTCAP, WINDOW)]
)
def test_the_usual_variants_get_schedules_that_were_compiled_without_spills(
    hardware: Hardware, head_dim: int, score: str, mask: str
) -> None:
    what = variant(head_dim, mask=mask, score=score)
    best = as_portable(portable(what, hardware).schedule)
    work = workload(what)
    needed = pressure(hardware, shape_of(best), work)
    assert needed.measured
    assert needed.registers <= thread_limit(hardware, best.warps)


def test_the_log_holds_every_candidate_once_the_winner_first() -> None:
    choice = portable(variant(), target("b200"))
    shapes = [shape_of(as_portable(item.schedule)) for item in choice.ranked]
    shapes += [shape_of(as_portable(item.schedule)) for item in choice.rejected]
    assert len(set(shapes)) == len(shapes) == 5 * 5 * 2 * 4 * 2
    assert choice.ranked[0].schedule == choice.schedule
    spent = [cycles(item) for item in choice.ranked]
    assert all(a <= b + 1 for a, b in pairwise(spent))  # ranked in whole cycles


def test_a_schedule_that_the_build_excludes_is_logged_and_the_next_one_taken() -> None:
    hardware = target("b200")
    first = portable(variant(), hardware)
    second = portable(variant(), hardware, ((first.schedule, "spills 8 bytes"),))
    assert second.schedule == first.ranked[1].schedule
    log = {item.schedule: item for item in second.rejected}
    assert log[first.schedule].constraint == "build"
    assert log[first.schedule].reason == "spills 8 bytes"


def test_targets_without_a_copy_engine_load_by_pointer_and_say_so() -> None:
    choice = portable(variant(), target("a100"))
    assert as_portable(choice.schedule).load is Load.POINTER
    reasons = {decision.field: decision.reason for decision in choice.decisions}
    assert "by pointer only" in reasons["load"]


def test_tiles_that_grow_with_the_query_start_longest_first() -> None:
    hardware = target("rtx5090")
    assert portable(variant(mask=CAUSAL), hardware).schedule.order is TileOrder.LONGEST_FIRST
    assert portable(variant(mask=FULL), hardware).schedule.order is TileOrder.QUERY_TILES_FIRST


def test_widths_are_padded_to_powers_of_two_and_the_waste_is_named() -> None:
    choice = portable(variant(192, 128), target("h100"))
    assert (choice.schedule.head_pad, choice.schedule.value_pad) == (256, 128)
    reasons = {decision.field: decision.reason for decision in choice.decisions}
    assert "25 % of the columns are zeros" in reasons["head_pad"]


def test_every_field_of_the_schedule_has_a_decision_with_its_value() -> None:
    choice = portable(variant(64), target("h100"))
    decided = {decision.field: decision.value for decision in choice.decisions}
    fields = said(choice.schedule) - {"hardware"}
    assert decided == {name: getattr(choice.schedule, name) for name in fields}
