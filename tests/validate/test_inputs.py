"""Inputs: what they provoke they do provoke, and around them lies NaN."""

from __future__ import annotations

import math

import pytest
import torch

from flash4gen.ir.nodes import Attention, DType
from flash4gen.validate.cases import Case, Layout, Values
from flash4gen.validate.execute import same_view
from flash4gen.validate.inputs import Inputs, make_inputs
from flash4gen.validate.oracle import attention_reference, visible
from tests.ir.notation import attention

VARIANT = attention(heads=4, kv_heads=2, head_dim=32, value_dim=24, scale=32**-0.5)
CAUSAL = attention(heads=2, kv_heads=2, head_dim=32, value_dim=32, mask="k <= q_end")


def inputs(
    values: Values = Values.NORMAL,
    layout: Layout = Layout.CONTIGUOUS,
    variant: Attention = VARIANT,
    seq_k: int = 40,
) -> Inputs:
    case = Case(name="here", batch=2, seq_q=12, seq_k=seq_k, values=values, layout=layout)
    return make_inputs(variant, case)


def scores(x: Inputs, variant: Attention = VARIANT) -> torch.Tensor:
    keys = x.k.double().repeat_interleave(variant.group, 2)
    return torch.einsum("bihd,bjhd->bhij", x.q.double(), keys) * variant.scale


@pytest.mark.parametrize("layout", Layout)
def test_a_layout_changes_where_numbers_lie_and_not_which(layout: Layout) -> None:
    plain, moved = inputs(), inputs(layout=layout)
    for name in ("q", "k", "v"):
        expected, actual = getattr(plain, name), getattr(moved, name)
        if layout is Layout.EXPANDED and name != "q":
            expected = expected[:1].expand_as(expected)
        assert torch.equal(expected, actual), name
        assert actual.isfinite().all()


@pytest.mark.parametrize("layout", Layout)
def test_all_else_in_the_storage_is_nan(layout: Layout) -> None:
    x = inputs(layout=layout)
    for view in (x.q, x.k, x.v):
        memory = view[:1] if view.stride(0) == 0 else view
        memory.fill_(math.nan)
    assert all(storage.isnan().all() for storage in x.storages)


def test_the_layouts_are_what_their_names_say() -> None:
    assert inputs(layout=Layout.HEADS_FIRST).q.transpose(1, 2).is_contiguous()
    assert inputs(layout=Layout.DIM_STRIDED).k.stride(3) == 2
    assert inputs(layout=Layout.MISALIGNED).v.data_ptr() % 16 == 2
    assert inputs(layout=Layout.SLICED).q.stride(1) == 2 * 4 * 32
    assert inputs(layout=Layout.EXPANDED).k.stride(0) == 0
    packed = inputs(layout=Layout.PACKED)
    assert packed.k.untyped_storage().data_ptr() == packed.v.untyped_storage().data_ptr()
    assert packed.v.storage_offset() == 32


@pytest.mark.parametrize("layout", Layout)
def test_the_same_views_can_be_taken_of_copies_of_the_storages(layout: Layout) -> None:
    x = inputs(layout=layout)
    moved = [storage.clone() for storage in x.storages]
    for view in (x.q, x.k, x.v):
        copy = same_view(view, x.storages, moved)
        assert torch.equal(copy, view)
        assert copy.stride() == view.stride()
        assert copy.data_ptr() != view.data_ptr()


def test_a_write_to_an_input_or_beside_it_is_noticed() -> None:
    beside, inside = inputs(layout=Layout.SLICED), inputs()
    assert beside.untouched
    beside.storages[1][0, 0] = 1.0
    inside.q[0, 0, 0, 0] += 1
    assert not beside.untouched
    assert not inside.untouched


@pytest.mark.parametrize("dtype", DType)
def test_large_scores_overflow_and_negative_ones_underflow(dtype: DType) -> None:
    variant = attention(heads=4, kv_heads=2, head_dim=32, value_dim=24, scale=32**-0.5, dtype=dtype)
    assert torch.exp(scores(inputs(Values.LARGE, variant=variant)).float()).isinf().any()
    below = scores(inputs(Values.NEGATIVE, variant=variant)).float()
    assert torch.exp(below).max() == 0


def test_one_key_dominates() -> None:
    weights = torch.softmax(scores(inputs(Values.DOMINANT)), -1)
    assert (weights[..., 20] > 0.99).all()


def test_equal_rows_are_equal_and_rising_scores_rise() -> None:
    equal = scores(inputs(Values.EQUAL))
    assert torch.equal(equal.amin(-1), equal.amax(-1))
    rising = scores(inputs(Values.RISING))
    assert (rising[..., 30:].amax(-1) > rising[..., :20].amax(-1) + 10).all()


def test_needles_make_one_key_too_many_visible_in_every_row() -> None:
    x = inputs(Values.NEEDLES, variant=CAUSAL)
    lse = attention_reference(CAUSAL, x.q, x.k, x.v)[1]
    leaky = attention(heads=2, kv_heads=2, head_dim=32, value_dim=32, mask="k <= q_end + 1")
    off = attention_reference(leaky, x.q, x.k, x.v)[1]
    moved = (off - lse)[..., :-1]  # the last row sees all keys as it is
    assert (moved > 0.2).all()
    assert visible(CAUSAL, 12, 40)[0].sum() == 29


def test_the_same_case_gives_the_same_bits() -> None:
    assert torch.equal(inputs().q, inputs().q)
