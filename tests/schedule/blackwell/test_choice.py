"""The choice of a warp-specialised schedule: always legal, and for the reasons that it gives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.library import target
from flash4gen.schedule.blackwell.model import (
    BlackwellSchedule,
    Dispatch,
    RowMax,
    TensorPlan,
)
from flash4gen.schedule.blackwell.registers import DEFAULTS
from flash4gen.schedule.model import BUILD, Family, TileOrder
from flash4gen.schedule.space import CHOICES
from flash4gen.schedule.verify import verify
from tests.schedule.blackwell.cases import B200, B300, WIDTHS, reasons, schedule
from tests.schedule.variants import (
    CAUSAL,
    FULL,
    IDENTITY,
    SOFTCAP,
    WINDOW,
    chosen,
    pinning,
    portable,
    variant,
)

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.model import Excluded

dims = st.integers(2, 32).map(lambda n: 8 * n)
masks = st.sampled_from(
    (FULL, CAUSAL, WINDOW, "k < 4 or q - k < 64 and k <= q", "(q + k) % 3 == 0")
)
scores = st.sampled_from((IDENTITY, SOFTCAP, "s - float(q - k) / 8.0"))
free_pins = st.fixed_dictionaries(
    {},
    optional={
        "query_tiles": st.sampled_from((1, 2)),
        "staging": st.sampled_from((1, 2)),
        "emulation_share": st.floats(0, 0.75),
        "early": st.sampled_from((0, 96)),
        "rescale_threshold": st.integers(0, 15),
        "dispatch": st.sampled_from(list(Dispatch)),
        "order": st.sampled_from(list(TileOrder)),
        "softmax_registers": st.sampled_from(range(168, 209, 8)),
        "pack": st.sampled_from((1, 16)),
    },
)


@given(st.sampled_from((B200, B300)), dims, dims, masks, scores)
@settings(max_examples=80, deadline=None)
def test_every_choice_satisfies_every_constraint(
    hardware: Hardware, head_dim: int, value_dim: int, mask: str, score: str
) -> None:
    what = variant(head_dim, value_dim, mask, score)
    choice = chosen(what, hardware)
    assert verify(choice.schedule, hardware, what) == ()
    for ranked in choice.ranked:
        assert verify(ranked.schedule, hardware, what) == ()
    narrow = max(head_dim, value_dim) <= 128
    taken = narrow or (head_dim, value_dim) in ((192, 128), (256, 256))
    assert (choice.schedule.family is Family.BLACKWELL) == taken


@given(st.sampled_from((B200, B300)), st.sampled_from((16, 64, 96, 128)), masks, free_pins)
@settings(max_examples=80, deadline=None)
def test_pins_are_obeyed_and_the_rest_is_legal(
    hardware: Hardware, head_dim: int, mask: str, pins: dict[str, int | float | str]
) -> None:
    group = int(pins.get("pack", 1))
    what = replace(variant(head_dim, mask=mask), heads=16, kv_heads=16 // group)
    found = schedule(pinning(what, **pins), hardware)
    assert verify(found, hardware, what) == ()
    share = pins.pop("emulation_share", found.emulated / 128)
    assert abs(found.emulated - 128 * float(share)) <= 2
    assert {name: getattr(found, name) for name in pins} == pins


@given(st.integers(0, 512))
@settings(max_examples=40, deadline=None)
def test_more_shared_memory_never_costs_a_stage(kilobytes: int) -> None:
    less = replace(B200, smem_per_block=B200.smem_per_block - 1024 * (kilobytes % 64))
    more = replace(B200, smem_per_block=B200.smem_per_block + 1024 * kilobytes)
    assert schedule(hardware=less).stages <= schedule(hardware=more).stages


@pytest.mark.parametrize(
    ("widths", "stages", "staging"),
    [
        ((64, 64), 10, 2),
        ((128, 128), 3, 2),
        ((192, 128), 2, 1),
        ((256, 256), 2, 1),
        ((16, 16), 16, 2),
    ],
)
def test_the_ring_has_as_many_slots_as_fit(
    widths: tuple[int, int], stages: int, staging: int
) -> None:
    found = schedule(variant(*widths))
    assert (found.stages, found.staging) == (stages, staging)


@pytest.mark.parametrize(
    ("widths", "mask", "emulated"),
    [
        ((128, 128), FULL, 24),
        ((128, 128), CAUSAL, 16),
        ((64, 64), WINDOW, 16),
        ((192, 128), FULL, 24),
        ((192, 128), CAUSAL, 8),
        ((256, 256), CAUSAL, 36),
    ],
)
def test_the_emulated_share_is_flash_attentions(
    widths: tuple[int, int], mask: str, emulated: int
) -> None:
    what = variant(*widths, mask=mask)
    assert schedule(what).emulated == emulated
    assert "FlashAttention-4" in reasons(what)["emulated"]
    assert schedule(what, B300).emulated == 0


def test_without_a_mask_programs_persist_and_under_one_the_longest_start_first() -> None:
    full, causal = schedule(variant(mask=FULL)), schedule(variant(mask=CAUSAL))
    assert (full.dispatch, full.order) == (Dispatch.STATIC, TileOrder.QUERY_TILES_FIRST)
    assert (causal.dispatch, causal.order) == (Dispatch.SINGLE, TileOrder.LONGEST_FIRST)


def test_head_dim_256_has_one_query_tile_with_two_score_slots() -> None:
    found = schedule(variant(256))
    assert (found.query_tiles, found.plan) == (1, TensorPlan.DOUBLE_S)
    assert found.tmem_columns == 512


@pytest.mark.parametrize(
    ("score", "row_max"),
    [
        (IDENTITY, RowMax.LOAD),
        (SOFTCAP, RowMax.LOAD),
        ("0.0 - s", RowMax.REDUCE),
        ("s - float(q - k)", RowMax.REDUCE),
    ],
)
def test_b300_takes_the_row_maximum_from_the_load_where_the_score_keeps_the_order(
    score: str, row_max: RowMax
) -> None:
    what = variant(score=score)
    assert schedule(what, B300).row_max is row_max
    assert schedule(what, B200).row_max is RowMax.REDUCE


@pytest.mark.parametrize("widths", WIDTHS)
def test_every_field_of_the_schedule_has_a_decision_with_its_value(widths: tuple[int, int]) -> None:
    choice = chosen(variant(*widths), B200)
    decided = {decision.field: decision.value for decision in choice.decisions}
    given = {"hardware", "normalised", "element"}  # by the target and the attention
    fields = set(BlackwellSchedule.__dataclass_fields__) - given
    assert decided == {name: getattr(choice.schedule, name) for name in fields}


def test_nothing_in_the_log_pretends_to_know_cycles() -> None:
    choice = chosen(variant(), B200)
    assert {item.cycles for item in choice.ranked} == {None}


@pytest.mark.parametrize(
    ("pins", "said"),
    [
        ({"family": "portable"}, "pinned by the spec"),
        ({"warps": 4}, "`warps = 4`"),
        ({"tile_q": 64}, "`tile_q = 64`"),
        ({"stages": 1}, "`stages = 1`"),
    ],
)
def test_a_pin_that_only_the_portable_family_has_leads_there_and_the_log_says_so(
    pins: dict[str, int | str], said: str
) -> None:
    what = pinning(variant(), **pins)
    assert chosen(what, B200).schedule.family is Family.PORTABLE
    assert said in reasons(what)["family"]


def test_pins_that_both_families_have_leave_the_choice() -> None:
    for name, value in (("tile_q", 128), ("stages", 2), ("order", "longest_first")):
        assert name in (*CHOICES, "order")
        assert getattr(schedule(pinning(variant(), **{name: value})), name) == value


def test_widths_without_a_plan_are_portable_and_the_log_says_so() -> None:
    what = variant(160)
    assert chosen(what, B200).schedule.family is Family.PORTABLE
    assert "head_dim 160 with value_dim 160 has no memory plan" in reasons(what)["family"]


def test_a_target_whose_shared_memory_is_too_small_is_portable_and_the_log_says_so() -> None:
    small = replace(B200, smem_per_block=150_000)
    assert chosen(variant(), small).schedule.family is Family.PORTABLE
    assert "bytes of shared memory" in reasons(variant(), small)["family"]


@pytest.mark.parametrize("name", ["a100", "h100", "rtx5090"])
def test_targets_without_tcgen05_keep_the_portable_family(name: str) -> None:
    assert chosen(variant(), target(name)) == replace(
        portable(variant(), target(name)),
        decisions=chosen(variant(), target(name)).decisions,
    )


def test_where_it_spills_other_register_splits_stand_in_and_then_the_portable_family() -> None:
    seen = [schedule()]
    exclude: Excluded = ((seen[0], "spills 128 bytes per thread"),)
    while (found := chosen(variant(), B200, exclude)).schedule.family is Family.BLACKWELL:
        assert isinstance(found.schedule, BlackwellSchedule)
        assert found.schedule not in seen
        seen.append(found.schedule)
        exclude = (*exclude, (found.schedule, "spills 128 bytes per thread"))
    splits = [(it.softmax_registers, it.correction_registers, it.other_registers) for it in seen]
    assert splits[0] == DEFAULTS[2]
    assert len(set(splits)) == len(seen) == 4
    logged = {item.schedule for item in found.rejected if item.constraint == BUILD}
    assert logged == set(seen)
    assert "spill" in {item.field: item.reason for item in found.decisions}["family"]


def test_work_tiles_count_query_positions() -> None:
    plain = schedule(pinning(variant(mask=FULL), ctas=2))
    assert (plain.rows, plain.tile_rows) == (256, 512)
    grouped = replace(variant(), heads=16, kv_heads=4)
    packed = schedule(pinning(grouped, pack=4))
    assert (packed.rows, packed.tile_rows) == (256, 64)
