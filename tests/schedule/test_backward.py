"""The schedule of a backward pass: shapes that a compile has proven, and who has none."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from flash4gen.ir import library
from flash4gen.ir.nodes import Lengths, Pass, Pin
from flash4gen.schedule.backward.choose import choose_backward
from flash4gen.schedule.backward.facts import Variant, read_facts
from flash4gen.schedule.backward.heads import HeadLoop, head_loop
from flash4gen.schedule.backward.model import KernelShape, as_loops
from flash4gen.schedule.backward.space import (
    CANDIDATES,
    WAVE_CANDIDATES,
    Kernel,
    candidates,
)
from flash4gen.schedule.choose import choose
from flash4gen.schedule.explain import explain, explanation
from flash4gen.schedule.model import Choice, Load, as_portable
from flash4gen.schedule.units import GROUP_ROWS, Unit, best_unit
from tests.ir.notation import attention, expr

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.model import BackwardChoice, LoopShape

TRAINED = attention(passes=(Pass.FORWARD, Pass.BACKWARD), head_dim=64, value_dim=64)


def queries_of(choice: BackwardChoice) -> LoopShape:
    """Return the shape of the kernel of the gradients of queries, which there must be."""
    shape = as_loops(choice.schedule).queries
    assert shape is not None
    return shape


def test_a_chosen_shape_was_compiled_without_spills() -> None:
    hardware = library.target("rtx5090")
    schedule = as_loops(choose_backward(TRAINED, hardware).schedule)
    fitting = {
        (fact.kernel, fact.shape)
        for fact in read_facts()
        if fact.head_dim == 64 and fact.arch == hardware.arch and fact.fits(hardware)
    }
    assert {(Kernel.KEYS, schedule.keys), (Kernel.QUERIES, schedule.queries)} <= fitting


def test_the_reason_names_what_came_before() -> None:
    capped = replace(TRAINED, score=expr("5.0 * tanh(s / 5.0)"))
    choice = choose_backward(capped, library.target("rtx5090"))
    assert "no spills" in choice.reason("keys")
    assert "spills" in choice.reason("keys").partition(";")[2]


def test_an_excluded_shape_is_not_chosen_again() -> None:
    hardware = library.target("rtx5090")
    first = as_loops(choose_backward(TRAINED, hardware).schedule).keys
    second = choose_backward(TRAINED, hardware, ((KernelShape("keys", first), "spills"),))
    assert second.schedule.keys != first
    assert "spills" in second.reason("keys")


@pytest.mark.parametrize("target", ["h100", "b200", "rtx5090", "rtx4090", "mi300x", "mi355x"])
def test_sums_by_distance_have_square_tiles(target: str) -> None:
    """A diagonal of tiles is one of scores."""
    by_distance = attention(
        **{"passes": TRAINED.passes, "head_dim": 64, "value_dim": 64},
        score="s + table[h, min(max(k - q, -4), 4) + 4]",
    )
    hardware = library.target(target)
    choice = choose_backward(by_distance, hardware)
    shape = as_loops(choice.schedule).distances
    assert shape is not None
    assert shape.tile_q == shape.tile_k
    assert "no spills" in choice.reason("distances")
    if best_unit(hardware) is Unit.TCGEN05:
        assert shape.stages == 1


@pytest.mark.parametrize(
    "score", ["s", "s + bias[h, q, k]", "s + table[h, q % 9]", "s * float(k - q)"]
)
def test_others_have_no_kernel_by_distance(score: str) -> None:
    other = attention(passes=TRAINED.passes, score=score)
    choice = choose_backward(other, library.target("h100"))
    assert as_loops(choice.schedule).distances is None
    assert "distances" not in dict(choice.reasons)


def test_unknown_widths_get_the_smallest_shape() -> None:
    wide = attention(passes=TRAINED.passes, head_dim=512, value_dim=512)
    schedule = choose_backward(wide, library.target("rtx5090")).schedule
    assert schedule.keys == CANDIDATES[Kernel.KEYS][-1]


PORTABLE = replace(TRAINED, pins=(Pin("family", "portable"),))


@pytest.mark.parametrize(
    ("variant", "target", "load"),
    [
        (PORTABLE, "a100", Load.POINTER),
        (PORTABLE, "h100", Load.TMA),
        (PORTABLE, "b200", Load.TMA),
        # has a copy engine, but multiplies from registers, where whole tiles have no room
        (PORTABLE, "rtx5090", Load.POINTER),
        (replace(PORTABLE, lengths=Lengths.PACKED), "h100", Load.TMA),
        (replace(PORTABLE, lengths=Lengths.PACKED), "a100", Load.POINTER),
        # sums of 256 columns leave wgmma no registers
        (replace(PORTABLE, head_dim=256, value_dim=256), "h100", Load.POINTER),
        # the forward kernel alone would be as fast with addresses
        (replace(PORTABLE, dropout=0.1), "b300", Load.TMA),
        (replace(PORTABLE, pins=(Pin("load", "pointer"),)), "h100", Load.POINTER),
    ],
)
def test_both_passes_bring_tiles_in_alike(variant: Attention, target: str, load: Load) -> None:
    choice = choose(variant, library.target(target))
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    assert as_portable(choice.schedule).load is load
    assert as_loops(choice.backward.schedule).load is load


def test_a_pinned_copy_engine_that_gradients_have_no_use_for_is_refused() -> None:
    pinned = replace(TRAINED, pins=(Pin("load", "tma"),))
    found = choose(pinned, library.target("rtx5090"))
    assert not isinstance(found, Choice)
    assert "mma.sync" in found[0].notes[0]


@pytest.mark.parametrize("target", ["h100", "b200"])
@pytest.mark.parametrize("kernel", [Kernel.KEYS, Kernel.QUERIES])
def test_no_warp_computes_what_another_one_does(target: str, kernel: Kernel) -> None:
    """Products by wgmma, of 64 rows or more, have 16 for each warp: with fewer some would be
    computed twice."""
    for shape in candidates(library.target(target), kernel, Load.TMA):
        rows = shape.tile_k if kernel is Kernel.KEYS else shape.tile_q
        assert rows < GROUP_ROWS or rows >= 16 * shape.warps


def test_a_pinned_blackwell_family_is_refused_with_the_reason() -> None:
    pinned = attention(passes=TRAINED.passes, head_dim=160, pins=(Pin("family", "blackwell"),))
    found = choose(pinned, library.target("b200"))
    assert not isinstance(found, Choice)
    assert "has no memory plan" in found[0].notes[0]


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("target", ["mi300x", "mi355x"])
def test_shapes_for_amd_were_compiled_for_that_very_target(target: str, head_dim: int) -> None:
    hardware = library.target(target)
    trained = attention(passes=TRAINED.passes, head_dim=head_dim, value_dim=head_dim)
    choice = choose_backward(trained, hardware)
    schedule = as_loops(choice.schedule)
    swept = {(f.kernel, f.shape) for f in read_facts() if f.arch == hardware.arch and f.stack == 0}
    assert {(Kernel.KEYS, schedule.keys), (Kernel.QUERIES, schedule.queries)} <= swept
    assert "no spills" in choice.reason("keys")


def test_every_shape_for_amd_has_16_rows_for_each_warp() -> None:
    for kernel, shapes in WAVE_CANDIDATES.items():
        for shape in shapes:
            rows = shape.tile_k if kernel is Kernel.KEYS else shape.tile_q
            assert rows >= 16 * shape.warps


def test_an_amd_shape_that_spills_is_replaced_by_the_next() -> None:
    hardware = library.target("mi300x")
    first = as_loops(choose_backward(TRAINED, hardware).schedule).keys
    second = choose_backward(TRAINED, hardware, ((KernelShape("keys", first), "spills"),))
    assert as_loops(second.schedule).keys == WAVE_CANDIDATES[Kernel.KEYS][1]
    assert "spills" in second.reason("keys")


def test_what_has_no_gradient_kernels_is_refused_with_what_works() -> None:
    """Norms and gates are PyTorch's, but a packed row does not know its place there."""
    gated = attention(passes=TRAINED.passes, epilogue=expr("float(q)"), lengths=Lengths.PACKED)
    found = choose(gated, library.target("rtx5090"))
    assert not isinstance(found, Choice)
    assert "in PyTorch" in found[0].helps[0]


def test_explain_shows_the_shape_of_each_backward_kernel_and_why() -> None:
    hardware = library.target("rtx5090")
    choice = choose(TRAINED, hardware)
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    text = explain(choice, TRAINED, hardware)
    assert "backward kernels" in text
    assert choice.backward.schedule.keys.text in text
    data = explanation(choice, TRAINED, hardware)["backward"]
    assert data["schedule"]["queries"]["tile_q"] == queries_of(choice.backward).tile_q
    assert "no spills" in data["reasons"]["queries"]


WIDE = {"passes": TRAINED.passes, "heads": 4, "head_dim": 128, "value_dim": 128}
GROUPED = attention(**WIDE, kv_heads=2)
SLOPED = attention(**WIDE, kv_heads=2, score="s + slopes[h] * float(k - q_end)")


def test_heads_in_one_loop_have_room_for_larger_tiles() -> None:
    for name in ("h100", "b200"):
        larger, smaller = (
            as_loops(choose_backward(one, library.target(name)).schedule).keys
            for one in (GROUPED, SLOPED)
        )
        assert larger.tile_q * larger.tile_k > smaller.tile_q * smaller.tile_k


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (GROUPED, HeadLoop.TOGETHER),
        # a head has no keys to share
        (attention(**WIDE, kv_heads=4), HeadLoop.APART),
        # the distance of a head is known from its number, and need not be read
        (attention(**WIDE, kv_heads=2, score="s - 0.5 * float(h * k)"), HeadLoop.TOGETHER),
        (attention(**WIDE, kv_heads=2, mask="docs[b, q] == docs[b, k]"), HeadLoop.TOGETHER),
        # a gradient for each query: another kernel's
        (attention(**WIDE, kv_heads=2, score="s * temperature[0, q]"), HeadLoop.TOGETHER),
        # read once for each head, and summed over it
        (SLOPED, HeadLoop.APART),
        # a gradient for each key and head
        (attention(**WIDE, kv_heads=2, score="s + key_bias[0, k]"), HeadLoop.APART),
        # a range of queries for each head
        (attention(**WIDE, kv_heads=2, mask="q_end - k < 16 * h"), HeadLoop.APART),
        # a counter for each head
        (attention(**WIDE, kv_heads=2, dropout=0.1), HeadLoop.APART),
    ],
)
def test_heads_go_together_unless_something_belongs_to_one(
    variant: Attention, expected: HeadLoop
) -> None:
    assert head_loop(variant) is expected
    choice = choose_backward(variant, library.target("h100"))
    assert as_loops(choice.schedule).heads is expected
    assert bool(choice.reason("heads")) is (expected is HeadLoop.TOGETHER)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # read in each step, where there are registers for it
        ({"score": "s + slopes[h] * float(k - q_end)"}, HeadLoop.TOGETHER),
        ({"score": "s * temperature[h, q] + bias[h, q, k]"}, HeadLoop.TOGETHER),
        # a gradient for each key and head, and what would be read for each key again and again
        ({"score": "s + key_bias[0, k]"}, HeadLoop.APART),
        ({"mask": "docs[b, q] == docs[h, k]"}, HeadLoop.APART),
        ({"mask": "q_end - k < 16 * h"}, HeadLoop.APART),
        ({"dropout": 0.1}, HeadLoop.APART),
    ],
)
def test_more_goes_together_where_tiles_come_by_tma(
    changes: dict[str, Any], expected: HeadLoop
) -> None:
    assert head_loop(attention(**WIDE, kv_heads=2, **changes), Load.TMA) is expected


def test_after_all_known_shapes_have_spilled_comes_one_that_is_not_known() -> None:
    hardware = library.target("h100")
    tried: tuple[tuple[KernelShape, str], ...] = ()
    shapes = []
    for _ in range(10):
        shapes.append(queries_of(choose_backward(GROUPED, hardware, tried)))
        tried += ((KernelShape("queries", shapes[-1]), "spills"),)
    # each is tried once, the larger ones first, and not the smallest at once
    assert len(set(shapes)) == len(shapes)
    sizes = [shape.tile_q * shape.tile_k for shape in shapes]
    assert sizes[0] == max(sizes)
    assert sizes[1] > sizes[-1]


def test_a_shape_that_spills_in_a_demanding_variant_is_known_to_fit_in_a_lesser_one() -> None:
    alone = attention(passes=TRAINED.passes, heads=4, kv_heads=4, head_dim=128, value_dim=128)
    hardware = library.target("h100")
    shape = as_loops(choose_backward(alone, hardware).schedule).keys
    of_shape = {
        fact.variant: fact
        for fact in read_facts()
        if (fact.arch, fact.kernel, fact.head_dim, fact.shape) == (90, Kernel.KEYS, 128, shape)
    }
    assert not of_shape[Variant.CAPPED].fits(hardware)
    assert of_shape[Variant.BARE].fits(hardware)


def test_a_dropped_weight_takes_the_registers_of_larger_tiles() -> None:
    dropping = attention(
        passes=TRAINED.passes, heads=4, kv_heads=4, dropout=0.1, head_dim=128, value_dim=128
    )
    plain = attention(passes=TRAINED.passes, heads=4, kv_heads=4, head_dim=128, value_dim=128)
    hardware = library.target("h100")
    assert (
        choose_backward(dropping, hardware).schedule.keys
        != choose_backward(plain, hardware).schedule.keys
    )


def test_what_spills_with_wider_heads_does_not_rule_out_what_fits_these() -> None:
    hardware = library.target("h100")
    narrow, wide = (
        as_loops(choose_backward(replace(GROUPED, head_dim=d, value_dim=d), hardware).schedule).keys
        for d in (64, 128)
    )
    assert (narrow.tile_q, narrow.tile_k) == (64, 128)
    assert narrow.tile_q * narrow.tile_k > wide.tile_q * wide.tile_k


def shaped(**pins: int) -> Attention:
    return replace(TRAINED, pins=tuple(Pin(name, value) for name, value in pins.items()))


@pytest.mark.parametrize("target", ["h100", "b200"])
def test_a_pinned_shape_is_kept_and_what_is_free_follows_from_what_fits(target: str) -> None:
    choice = choose(shaped(keys_tile_q=32, queries_stages=2), library.target(target))
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    schedule = as_loops(choice.backward.schedule)
    assert (schedule.keys.tile_q, queries_of(choice.backward).stages) == (32, 2)
    assert choice.backward.reason("keys").startswith("keys_tile_q pinned; ")
    assert "queries_stages pinned" in explain(choice, TRAINED, library.target(target))


def test_a_pinned_kernel_that_was_compiled_before_has_a_shape_that_fits() -> None:
    hardware = library.target("h100")
    schedule = as_loops(choose_backward(shaped(keys_tile_q=32), hardware).schedule)
    known = {f.shape for f in read_facts() if f.kernel is Kernel.KEYS and f.fits(hardware)}
    assert schedule.keys in known


def test_a_pinned_shape_that_nobody_compiled_is_tried_and_the_next_after_a_spill() -> None:
    hardware, pinned = library.target("h100"), shaped(queries_stages=4)
    first = queries_of(choose_backward(pinned, hardware))
    assert first not in CANDIDATES[Kernel.QUERIES]
    spills = ((KernelShape("queries", first), "spills"),)
    second = queries_of(choose_backward(pinned, hardware, spills))
    assert (second.stages, second == first) == (4, False)


def test_pins_that_leave_a_block_no_memory_are_refused() -> None:
    wide = replace(shaped(keys_tile_q=256, keys_stages=4), head_dim=128, value_dim=128)
    found = choose(wide, library.target("h100"))
    assert not isinstance(found, Choice)
    assert found[0].code == "F4G504"
    assert "keys_tile_q = 256, keys_stages = 4" in found[0].message
    assert "shared memory" in found[0].notes[0]


def test_pins_of_gradients_need_gradients() -> None:
    found = choose(attention(pins=(Pin("keys_warps", 4),)), library.target("h100"))
    assert not isinstance(found, Choice)
    assert found[0].code == "F4G507"
    assert "`passes = forward, backward`" in found[0].helps[0]


def test_a_wrong_value_of_such_a_pin_lists_the_right_ones() -> None:
    found = choose(shaped(queries_warps=3), library.target("h100"))
    assert not isinstance(found, Choice)
    assert (found[0].code, found[0].helps) == ("F4G503", ("write `4` or `8`",))


def test_pins_that_leave_no_tensor_memory_are_refused() -> None:
    wide = replace(shaped(keys_tile_k=128, keys_warps=8), head_dim=256, value_dim=256)
    pinned = replace(wide, pins=(*wide.pins, Pin("keys_tile_q", 64), Pin("family", "portable")))
    found = choose(pinned, library.target("b200"))
    assert not isinstance(found, Choice)
    assert found[0].code == "F4G504"
    assert "640 columns of tensor memory at least, an SM has 512" in found[0].notes[0]
    assert isinstance(choose(pinned, library.target("h100")), Choice)


ALONE = attention(**WIDE, kv_heads=4)


def fused(variant: Attention, target: str = "h100", load: Load = Load.TMA) -> LoopShape | None:
    return as_loops(choose_backward(variant, library.target(target), (), load).schedule).fused


def test_the_kernel_of_keys_adds_up_gradients_of_queries_where_it_has_room() -> None:
    choice = choose_backward(ALONE, library.target("h100"), (), Load.TMA)
    schedule = as_loops(choice.schedule)
    assert schedule.queries is None
    assert schedule.fused == schedule.keys
    assert "five products" in choice.reason("keys")
    assert not choice.reason("queries")
    assert "added up by that of keys" in schedule.text


@pytest.mark.parametrize(
    "variant",
    [
        replace(ALONE, deterministic=True),
        replace(ALONE, pins=(Pin("keys_tile_q", 64),)),
        # spill, and smaller tiles are not worth it
        attention(**WIDE, kv_heads=2),
        replace(ALONE, lengths=Lengths.PACKED),
        # the kernel of the queries goes through all keys for these anyway
        attention(**WIDE, kv_heads=4, score="s * temperature[0, q]"),
        attention(**WIDE, kv_heads=4, score="s + slopes[h]"),
        # an element for each score, and its address, take registers
        attention(**WIDE, kv_heads=4, score="s + bias[h, q, k]"),
    ],
)
def test_gradients_of_queries_have_a_kernel_of_their_own_elsewhere(variant: Attention) -> None:
    assert fused(ALONE) is not None
    assert fused(variant) is None


def test_only_products_of_four_warps_leave_room_for_gradients_of_queries() -> None:
    """Tensor memory has none for another tile, and rows that are loaded none for addresses."""
    assert fused(ALONE, "b200") is None
    assert fused(ALONE, "h100", Load.POINTER) is None


def test_a_fused_shape_that_spills_leads_to_two_kernels_or_one_as_large() -> None:
    hardware = library.target("h100")
    first = fused(ALONE)
    assert first is not None
    spilt = ((KernelShape("fused", first), "spills"),)
    second = as_loops(choose_backward(ALONE, hardware, spilt, Load.TMA).schedule)
    assert second.fused is None
    assert second.keys == first
