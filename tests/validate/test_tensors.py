"""Input tensors of a case: what they hold, how they lie, and what the oracle reads of them."""

from __future__ import annotations

import math

import pytest
import torch

from flash4gen.ir.expr import Var
from flash4gen.validate.cases import Case, Layout
from flash4gen.validate.evaluate import evaluate
from flash4gen.validate.inputs import make_inputs
from flash4gen.validate.oracle import attention_reference, visible, working_precision
from flash4gen.validate.tensors import make_tensors, placed_tensor
from tests.ir.notation import attention, expr

READS = attention(
    score="s * slopes[h] + bias[h, q, k]", mask="q_docs[b, q] == docs[b, k] and k < lengths[b]"
)
CASE = Case(name="here", batch=3, seq_q=40, seq_k=90)


def test_tensors_have_their_shapes_and_types() -> None:
    made = make_tensors(READS, CASE)
    assert {name: tuple(x.shape) for name, x in made.items()} == {
        "slopes": (4,),
        "bias": (4, 40, 90),
        "q_docs": (3, 40),
        "docs": (3, 90),
        "lengths": (3,),
    }
    assert made["bias"].dtype is torch.bfloat16
    assert made["docs"].dtype is torch.int32


def test_documents_hide_some_keys_and_show_some() -> None:
    made = make_tensors(READS, CASE)
    seen = [visible(READS, 40, 90, b=b, tensors=made) for b in range(3)]
    assert 0.02 < torch.stack(seen).float().mean() < 0.9
    assert made["docs"].diff(dim=-1).min() == 0
    assert 0 <= made["lengths"].min() <= made["lengths"].max() <= 90


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 3, 5)])
def test_a_layout_changes_where_numbers_lie_and_not_which(
    layout: Layout, shape: tuple[int, ...]
) -> None:
    x = torch.arange(math.prod(shape), dtype=torch.float32).view(shape)
    view, storage = placed_tensor(x, layout)
    expected = x[:1].expand_as(x) if layout is Layout.EXPANDED else x
    assert torch.equal(view, expected)
    (view[:1] if layout is Layout.EXPANDED else view).fill_(math.nan)
    assert storage.isnan().all()


def test_q_k_and_v_do_not_depend_on_the_tensors() -> None:
    plain = make_inputs(attention(), CASE)
    reading = make_inputs(READS, CASE)
    assert torch.equal(plain.q, reading.q)
    assert torch.equal(plain.v, reading.v)


def test_a_tensor_that_is_written_to_is_noticed() -> None:
    inputs = make_inputs(READS, CASE)
    assert inputs.untouched
    inputs.tensors["slopes"][0] += 1
    assert not inputs.untouched


def test_a_look_up_outside_is_zero() -> None:
    env = {Var.K: torch.arange(6)[None, :], Var.H: torch.tensor(1)}
    table = torch.arange(36.0).view(4, 9)
    found = evaluate(expr("table[h, k * 3 - 3]"), env, tensors={"table": table})
    assert found.tolist() == [[0, 9, 12, 15, 0, 0]]
    assert found.dtype is torch.float64


def test_the_reference_adds_a_bias_after_the_scale() -> None:
    variant = attention(score="s + bias[h, q, k]")
    inputs = make_inputs(variant, CASE)
    out, _ = attention_reference(variant, inputs.q, inputs.k, inputs.v, inputs.tensors)
    q, k, v = (x.double().transpose(1, 2) for x in (inputs.q, inputs.k, inputs.v))
    expected = torch.nn.functional.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=inputs.tensors["bias"].double()[None],
        scale=variant.scale,
        enable_gqa=True,
    )
    torch.testing.assert_close(out.transpose(1, 2), expected)


@pytest.mark.parametrize("compute", [attention_reference, working_precision])
def test_a_tensor_of_another_shape_is_refused(compute: object) -> None:
    inputs = make_inputs(READS, CASE)
    tensors = {**inputs.tensors, "docs": inputs.tensors["docs"][:, 1:]}
    with pytest.raises(ValueError, match="docs must have shape"):
        compute(READS, inputs.q, inputs.k, inputs.v, tensors=tensors)  # type: ignore[operator]
