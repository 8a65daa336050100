"""The float64 meaning of an attention, held to PyTorch's own attention and to sums by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from flash4gen.ir.expr import Op, Type, Var
from flash4gen.ir.nodes import DType, EmptyRow, Weights
from flash4gen.ir.semantics import evaluate as evaluate_point
from flash4gen.validate import evaluate as meaning
from flash4gen.validate import oracle
from flash4gen.validate.evaluate import evaluate
from flash4gen.validate.oracle import attention_reference, visible, working_precision
from tests.ir.notation import TENSORS, attention, expr
from tests.ir.strategies import bools, floats, ints

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention

torch.set_num_threads(1)

SLOPES = TENSORS["slopes"]


def _inputs(
    variant: Attention, seq_q: int, seq_k: int, *, batch: int = 2, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    dtype = oracle.TORCH_DTYPES[variant.dtype]
    shapes = (
        (batch, seq_q, variant.heads, variant.head_dim),
        (batch, seq_k, variant.kv_heads, variant.head_dim),
        (batch, seq_k, variant.kv_heads, variant.value_dim),
    )
    q, k, v = (torch.randn(shape, generator=random).to(dtype) for shape in shapes)
    return q, k, v


def _sdpa(variant: Attention, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    q, k, v = (x.double().transpose(1, 2) for x in (q, k, v))
    out = scaled_dot_product_attention(
        q, k, v, attn_mask=mask, scale=variant.scale, enable_gqa=True
    )
    return out.transpose(1, 2)


# --- expressions -----------------------------------------------------------------------------


def test_every_operator_has_a_meaning() -> None:
    assert set(meaning._MEANING) | {Op.TO_FLOAT} == set(Op)


def test_integers_round_down_and_floats_are_float64() -> None:
    env = {Var.Q: torch.tensor([[-7], [7]]), Var.K: torch.tensor([[0, 1]])}
    quotient = evaluate(expr("q // 2 + k"), env)
    assert quotient.tolist() == [[-4, -3], [3, 4]]
    assert quotient.dtype is torch.int64
    assert evaluate(expr("q % 4"), env).tolist() == [[1], [3]]
    assert evaluate(expr("float(q) / 3.0"), env).tolist() == [[-7 / 3], [7 / 3]]
    assert evaluate(expr("q < k"), env).tolist() == [[True, True], [False, False]]


def test_a_division_of_integers_by_zero_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        evaluate(expr("q // h"), {Var.Q: torch.tensor(1), Var.H: torch.tensor(0)})


def test_a_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError):
        evaluate(expr("q + k"), {Var.Q: torch.tensor(1)})


@settings(max_examples=250, deadline=None)
@given(
    e=ints(4) | bools(3) | floats(3),
    values=st.fixed_dictionaries({var: st.integers(0, 20) for var in Var if var is not Var.S}),
    s=st.floats(-100, 100),
)
def test_tensors_and_plain_numbers_agree(e: Expr, values: dict[Var, int], s: float) -> None:
    try:
        plain = evaluate_point(e, {**values, Var.S: s})
    except (ArithmeticError, ValueError):
        return  # infinities and NaN are for tensors only
    env = {var: torch.tensor(value) for var, value in values.items()}
    value = evaluate(e, env | {Var.S: torch.tensor(s, dtype=torch.float64)}).item()
    if e.type is not Type.FLOAT:
        assert value == plain
    elif math.isfinite(plain) and not _branches_on_floats(e):
        assert value == pytest.approx(plain, rel=1e-9, abs=1e-9)


def _branches_on_floats(e: Expr) -> bool:
    """Whether the last bit of a function could decide between two values, or blow up later."""
    return any(op in repr(e) for op in ("Op.WHERE", "Op.POW", "Op.DIV", "Op.LOG", "Op.RSQRT"))


# --- the reference ---------------------------------------------------------------------------


def test_one_query_and_two_keys_by_hand() -> None:
    variant = attention(heads=1, kv_heads=1, scale=0.5)
    q, k, v = torch.zeros(1, 1, 1, 16), torch.zeros(1, 2, 1, 16), torch.zeros(1, 2, 1, 16)
    q[..., 0], k[0, :, 0, 0], v[0, :, 0, 3] = (
        2.0,
        torch.tensor([1.0, 3.0]),
        torch.tensor([4.0, 8.0]),
    )
    out, lse = attention_reference(variant, q, k, v)
    weights = [math.exp(1.0), math.exp(3.0)]
    assert lse.item() == pytest.approx(math.log(sum(weights)))
    assert out[0, 0, 0, 3].item() == pytest.approx((4 * weights[0] + 8 * weights[1]) / sum(weights))
    assert out[0, 0, 0, :3].tolist() == [0, 0, 0]
    assert (out.dtype, lse.dtype) == (torch.float64, torch.float64)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (4, 1), (6, 3)])
@pytest.mark.parametrize(("seq_q", "seq_k"), [(5, 5), (3, 9), (9, 3), (1, 7)])
def test_grouped_heads_and_causal_masks_as_in_pytorch(
    heads: int, kv_heads: int, seq_q: int, seq_k: int
) -> None:
    variant = attention(heads=heads, kv_heads=kv_heads, value_dim=24, mask="k <= q")
    q, k, v = _inputs(variant, seq_q, seq_k)
    out, _ = attention_reference(variant, q, k, v)
    causal = torch.ones(seq_q, seq_k, dtype=torch.bool).tril()
    torch.testing.assert_close(out, _sdpa(variant, q, k, v, causal), rtol=1e-12, atol=1e-12)


def test_causal_aligned_to_the_end_with_a_window() -> None:
    variant = attention(mask="k <= q_end and q_end - k < 3")
    seen = [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1]]
    assert visible(variant, 3, 6).int().tolist() == seen
    q, k, v = _inputs(variant, 3, 6)
    out, lse = attention_reference(variant, q, k, v)
    expected = _sdpa(variant, q, k, v, torch.tensor(seen, dtype=torch.bool))
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    scores = (q[1, 0, 3].double() @ k[1, 1:4, 1].double().T) * variant.scale
    assert lse[1, 3, 0].item() == pytest.approx(scores.exp().sum().log().item())


def test_the_score_comes_after_the_scale_and_before_the_mask() -> None:
    variant = attention(score="2.0 * tanh(s / 2.0) - float(q - k) * float(h + 1)", mask="k != q")
    q, k, v = _inputs(variant, 4, 4)
    out, _ = attention_reference(variant, q, k, v)
    distance = torch.arange(4)[:, None] - torch.arange(4)[None, :]
    for h in range(4):
        s = (q[0, :, h].double() @ k[0, :, h // 2].double().T) * 0.25
        x = 2 * torch.tanh(s / 2) - distance * (h + 1.0)
        x[distance == 0] = -math.inf
        expected = torch.softmax(x, dim=-1) @ v[0, :, h // 2].double()
        torch.testing.assert_close(out[0, :, h], expected, rtol=1e-12, atol=1e-12)


def test_masks_and_scores_may_read_head_key_head_and_batch() -> None:
    variant = attention(mask="k == h or k == 4 + hkv or k == 6 + b")
    assert visible(variant, 1, 8, b=1, h=3).int().tolist() == [[0, 0, 0, 1, 0, 1, 0, 1]]


@pytest.mark.parametrize("compute", [attention_reference, working_precision])
@pytest.mark.parametrize(("policy", "filling"), [(EmptyRow.ZERO, 0.0), (EmptyRow.NAN, math.nan)])
def test_rows_that_see_nothing(compute: object, policy: EmptyRow, filling: float) -> None:
    assert callable(compute)
    variant = attention(mask="k < q", empty_row=policy)
    out, lse = compute(variant, *_inputs(variant, 3, 5))
    assert (lse[:, :, 0] == -math.inf).all()
    torch.testing.assert_close(
        out[:, 0], torch.full_like(out[:, 0], filling), rtol=0, atol=0, equal_nan=True
    )
    assert out[:, 1:].isfinite().all()
    assert lse[:, :, 1:].isfinite().all()


@pytest.mark.parametrize("compute", [attention_reference, working_precision])
@pytest.mark.parametrize(("seq_q", "seq_k"), [(3, 0), (0, 3), (0, 0)])
def test_no_keys_or_no_queries(compute: object, seq_q: int, seq_k: int) -> None:
    assert callable(compute)
    variant = attention(mask="k <= q_end")
    out, lse = compute(variant, *_inputs(variant, seq_q, seq_k))
    assert out.shape == (2, seq_q, 4, 16)
    assert lse.shape == (2, 4, seq_q)
    assert (out == 0).all()
    assert (lse == -math.inf).all()


@pytest.mark.parametrize(
    ("argument", "shape"),
    [("q", (2, 3, 5, 16)), ("k", (2, 5, 4, 16)), ("v", (2, 5, 2, 24)), ("v", (2, 6, 2, 16))],
)
def test_a_wrong_shape_names_the_argument(argument: str, shape: tuple[int, ...]) -> None:
    given = dict(zip("qkv", _inputs(attention(), 3, 5), strict=True))
    given[argument] = torch.zeros(shape)
    with pytest.raises(ValueError, match=f"^{argument} must have shape"):
        attention_reference(attention(), given["q"], given["k"], given["v"])


# --- the working precision -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(DType))
def test_the_working_precision_is_close_but_not_exact(dtype: DType) -> None:
    variant = attention(dtype=dtype, mask="k <= q_end", score="30.0 * tanh(s / 30.0)")
    inputs = _inputs(variant, 64, 96)
    out, lse = working_precision(variant, *inputs)
    exact_out, exact_lse = attention_reference(variant, *inputs)
    step = torch.finfo(oracle.TORCH_DTYPES[dtype]).eps
    assert out.dtype is oracle.TORCH_DTYPES[dtype]
    assert lse.dtype is torch.float32
    error = (out.double() - exact_out).abs().max().item()
    assert step / 100 < error < 4 * step
    assert (lse.double() - exact_lse).abs().max() < 1e-5


def test_large_scores_stay_finite_in_the_working_precision() -> None:
    variant = attention(scale=100.0)
    inputs = _inputs(variant, 8, 8)
    out, lse = working_precision(variant, *inputs)
    exact_out, exact_lse = attention_reference(variant, *inputs)
    assert exact_lse.max() > 500
    torch.testing.assert_close(lse.double(), exact_lse, rtol=1e-6, atol=0)
    torch.testing.assert_close(out.double(), exact_out, rtol=0, atol=4e-3)


def test_the_weights_are_rounded_but_their_sum_is_not() -> None:
    """All weights but one round up to 1 in bfloat16, while their sum stays what it is.

    So the output comes out 0.2 % too large, which is just enough to round it to the next number.
    """
    variant = attention(
        dtype=DType.BF16, heads=1, kv_heads=1, score="0.0 * s - 0.0019 * float(min(k, 1))"
    )
    q, k, v = _inputs(variant, 1, 100, batch=1)
    below, above = 1.984375, 1.9921875  # neighbours in bfloat16
    v[:] = torch.where(torch.arange(100)[None, :, None, None] % 5 < 2, above, below)
    exact, exact_lse = attention_reference(variant, q, k, v)
    out, lse = working_precision(variant, q, k, v)
    assert (exact.bfloat16() == below).all()
    assert (out == above).all()
    torch.testing.assert_close(lse.double(), exact_lse, rtol=1e-6, atol=0)


def test_the_working_precision_wants_the_dtype_of_the_kernel() -> None:
    q, k, v = _inputs(attention(), 3, 5)
    with pytest.raises(ValueError, match=r"^k must be torch.float16, not torch.float32"):
        working_precision(attention(), q, k.float(), v)


# --- sinks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("compute", [attention_reference, working_precision])
def test_a_sink_is_a_key_without_a_value(compute: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """The definition of gpt-oss: the logit is appended to the scaled scores and dropped again."""
    variant = replace(attention(mask="k <= q_end"), sink=expr("slopes[h]"), inputs=(SLOPES,))
    q, k, v = _inputs(variant, 5, 9)
    slopes = torch.tensor([0.5, -3.0, 4.0, -math.inf])
    out, lse = compute(variant, q, k, v, tensors={"slopes": slopes})
    plain = replace(variant, sink=None)
    for h in range(4):
        keys = k[:, :, h // 2].double()
        scores = torch.einsum("bid,bjd->bij", q[:, :, h].double(), keys) * variant.scale
        scores = scores.masked_fill(~visible(plain, 5, 9), -math.inf)
        logits = torch.cat([scores, slopes[h].double().expand(2, 5, 1)], dim=-1)
        weights = torch.softmax(logits, -1)[..., :-1]
        expected = torch.einsum("bij,bjd->bid", weights, v[:, :, h // 2].double())
        torch.testing.assert_close(out[:, :, h].double(), expected, atol=2e-3, rtol=0)
        torch.testing.assert_close(
            lse[:, h].double(), torch.logsumexp(logits, -1), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("compute", [attention_reference, working_precision])
def test_a_row_with_a_sink_and_no_key_is_zero(
    compute: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    variant = replace(attention(mask="k < q"), sink=expr("-1.5"), empty_row=EmptyRow.NAN)
    out, lse = compute(variant, *_inputs(variant, 3, 4))
    assert (out[:, 0] == 0).all()
    assert (lse[:, :, 0] == -1.5).all()


# --- sigmoid weights -------------------------------------------------------------------------


@pytest.mark.parametrize("compute", [attention_reference, working_precision])
def test_sigmoid_weights_are_not_normalised(
    compute: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    variant = replace(attention(mask="k < q", score="s - 1.0"), weights=Weights.SIGMOID)
    q, k, v = _inputs(variant, 5, 9)
    out, total = compute(variant, q, k, v)
    for h in range(4):
        keys, values = k[:, :, h // 2].double(), v[:, :, h // 2].double()
        scores = torch.einsum("bid,bjd->bij", q[:, :, h].double(), keys) * variant.scale - 1
        weights = torch.sigmoid(scores) * visible(variant, 5, 9)
        torch.testing.assert_close(out[:, :, h].double(), weights @ values, atol=4e-3, rtol=0)
        torch.testing.assert_close(total[:, h].double(), weights.sum(-1), atol=1e-6, rtol=0)
    assert (out[:, 0] == 0).all()
    assert (total[:, :, 0] == 0).all()
