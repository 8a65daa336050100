"""The meaning of a spec in float64 PyTorch, and the same maths in the kernel's working precision.

``attention_reference`` is the definition of right: everything else is compared with it. It follows
the formula in ``ir.nodes.Attention`` line by line, one head at a time, without tiles.
``working_precision`` tells how large an error the number formats alone bring about.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flash4gen.ir.expr import Expr, Var
from flash4gen.ir.nodes import Attention, DType, EmptyRow
from flash4gen.validate.evaluate import NO_TENSORS, evaluate
from flash4gen.validate.head import Head, positions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

TORCH_DTYPES = {
    DType.FP16: torch.float16,
    DType.BF16: torch.bfloat16,
    DType.FP8_E4M3: torch.float8_e4m3fn,
}

WEIGHT_SCALES = {
    DType.FP16: (1.0,),
    DType.BF16: (1.0,),
    DType.FP8_E4M3: tuple(2.0 ** (8 - n / 8) for n in range(8)),
}
"""What the largest weight is on its way to the values: 8 bits are used up to about their end.

In steps of an eighth of a power of two, where rounding is as coarse as that of 8 bits. A kernel
rounds the weights of a tile on the scale of the maximum so far, and is as right with one scale as
with another. A few weights often decide a row, and the luck of one scale is no measure then. The
largest weight of a row is exact in all of them, as it is in a kernel: it is 1 when it is rounded.
"""


def attention_reference(
    attention: Attention,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    tensors: Mapping[str, Tensor] = NO_TENSORS,
    *,
    entry: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return what an attention means, in float64.

    Args:
        attention: the variant.
        q: [batch, seq_q, heads, head_dim], any float dtype; converted to float64 first.
        k: [batch, seq_k, kv_heads, head_dim].
        v: [batch, seq_k, kv_heads, value_dim].
        tensors: its inputs, by name.
        entry: number of the first batch entry; of packed sequences each one is a batch.

    Returns:
        out [batch, seq_q, heads, value_dim] and lse [batch, heads, seq_q], both float64. A row
        without visible keys has lse −inf and an output as ``empty_row`` says. With sigmoid weights
        their sum stands in the place of lse.

    Raises:
        ValueError: a shape does not fit; the text names the argument.
    """
    sizes = _sizes(attention, q, k, v, tensors)
    out = torch.empty(*sizes, attention.heads, attention.value_dim, dtype=torch.float64)
    lse = torch.empty(sizes[0], attention.heads, sizes[1], dtype=torch.float64)
    for b, h in _heads(attention, sizes[0]):
        hkv = h // attention.group
        own = Head(attention, b + entry, h, q.shape[1], k.shape[1], tensors)
        products = own.normed(attention.q_norm, q[b, :, h].double()) @ (
            own.normed(attention.k_norm, k[b, :, hkv].double()).T
        )
        scores = _scores(attention, products, b + entry, h, tensors)
        values = v[b, :, hkv].double() * _value_factor(attention, b + entry, h, tensors)
        if not attention.normalised:
            weights = torch.sigmoid(scores)
            lse[b, h] = weights.sum(dim=-1)
            out[b, :, h] = own.finished(own.kept(weights) @ values)
            continue
        row_lse = torch.logsumexp(scores, dim=-1)  # −inf over no keys
        sink = _sink(attention, sizes[1], products, b + entry, h, tensors)
        row_lse = torch.logaddexp(row_lse, sink)
        weights = torch.exp(scores - row_lse[:, None])
        rows = _with_empty_rows(attention, own.kept(weights) @ values, row_lse)
        out[b, :, h] = own.finished(rows)
        lse[b, h] = row_lse
    return out, lse


def exact_products(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b in float32, where every addition rounds to nearest.

    Args:
        a: [m, n], 16-bit or 8-bit.
        b: [n, p], the same dtype.
    """
    return a.float() @ b.float()


def working_precision(  # noqa: PLR0913 - three have defaults
    attention: Attention,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    product: Callable[[Tensor, Tensor], Tensor] = exact_products,
    tensors: Mapping[str, Tensor] = NO_TENSORS,
    *,
    entry: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return the same maths as a kernel's number formats allow it, written without tiles.

    Products accumulate in float32; scores, maximum, exponentials and row sums are float32; the
    exponentials are rounded to the element type before they meet ``v``, the row sum is not; the
    output is divided by the row sum, changed by the epilogue, and rounded last. Exponentials are
    rounded at the first of ``WEIGHT_SCALES`` times their size. Where there are norms, the weights
    of both are multiplied into the rows of q, which are rounded once; products get the factor of
    each key in float32. Around kernels that are trained with, PyTorch does it: normalised keys are
    rounded as well, and the output before the epilogue changes it.

    Args:
        attention: the variant.
        q: [batch, seq_q, heads, head_dim] in the attention's dtype.
        k: [batch, seq_k, kv_heads, head_dim], the same dtype.
        v: [batch, seq_k, kv_heads, value_dim], the same dtype.
        product: of two matrices in the dtype, as float32; where a GPU's own kernels are judged, of
            its tensor cores, which align and truncate what they add.
        tensors: its inputs, by name.
        entry: number of the first batch entry.

    Returns:
        out [batch, seq_q, heads, value_dim] in the output's dtype; lse [batch, heads, seq_q]
        float32.

    Raises:
        ValueError: a shape or a dtype does not fit; the text names the argument.
    """
    scales = WEIGHT_SCALES[attention.dtype][:1]
    (out,), lse = rounded_at(attention, q, k, v, scales, product, tensors, entry=entry)
    return out, lse


def rounded_at(  # noqa: PLR0913 - three have defaults
    attention: Attention,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scales: Sequence[float],
    product: Callable[[Tensor, Tensor], Tensor] = exact_products,
    tensors: Mapping[str, Tensor] = NO_TENSORS,
    *,
    entry: int = 0,
) -> tuple[tuple[Tensor, ...], Tensor]:
    """Return what ``working_precision`` does, with an output for each of some scales.

    Weights are multiplied by a scale before they are rounded, but for those of 1.
    """
    dtype = TORCH_DTYPES[attention.dtype]
    for name, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dtype is not dtype:
            raise ValueError(f"{name} must be {dtype}, not {tensor.dtype}")
    sizes = _sizes(attention, q, k, v, tensors)
    shape = *sizes, attention.heads, attention.value_dim
    outs = tuple(torch.empty(shape, dtype=TORCH_DTYPES[attention.output]) for _ in scales)
    lse = torch.empty(sizes[0], attention.heads, sizes[1], dtype=torch.float32)
    for b, h in _heads(attention, sizes[0]):
        hkv = h // attention.group
        own = Head(attention, b + entry, h, q.shape[1], k.shape[1], tensors)
        products = own.products(q[b, :, h], k[b, :, hkv], product)
        scores = _scores(attention, products, b + entry, h, tensors)
        factor = _value_factor(attention, b + entry, h, tensors).float()
        if not attention.normalised:
            weights = torch.sigmoid(scores)
            lse[b, h] = weights.sum(dim=-1)
            sums = _weighted(own.kept(weights), v[b, :, hkv], scales, product)
            for out, summed in zip(outs, sums, strict=True):
                out[b, :, h] = own.finished(own.stored(summed * factor, out.dtype)).to(out.dtype)
            continue
        # A row that sees no key has no maximum to subtract.
        sink = _sink(attention, sizes[1], products, b + entry, h, tensors)
        peak = torch.maximum(scores.amax(dim=-1), sink) if scores.shape[1] else sink
        safe_peak = torch.where(peak == -math.inf, 0.0, peak)
        weights = torch.exp(scores - safe_peak[:, None])
        total = weights.sum(dim=-1) + torch.exp(sink - safe_peak)
        row_lse = safe_peak + torch.log(total)
        sums = _weighted(own.kept(weights), v[b, :, hkv], scales, product)
        for out, summed in zip(outs, sums, strict=True):
            rows = _with_empty_rows(attention, summed * factor / total[:, None], row_lse)
            out[b, :, h] = own.finished(own.stored(rows, out.dtype)).to(out.dtype)
        lse[b, h] = row_lse
    return outs, lse


def _weighted(
    weights: Tensor, v: Tensor, scales: Sequence[float], product: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[Tensor]:
    """Yield weights @ v, [seq_q, value_dim] float32, once for each scale that weights round at.

    A weight of 1 is one of the first scale everywhere, where it is exact.
    """
    first, *others = scales
    yield product((weights * first).to(v.dtype), v) / first
    if not others:
        return
    largest = weights == 1
    exact = product((largest * first).to(v.dtype), v) / first
    rest = weights.masked_fill(largest, 0.0)
    for unit in others:
        yield exact + product((rest * unit).to(v.dtype), v) / unit


def visible(
    attention: Attention,
    seq_q: int,
    seq_k: int,
    *,
    b: int = 0,
    h: int = 0,
    tensors: Mapping[str, Tensor] = NO_TENSORS,
) -> Tensor:
    """Return the mask of one head: bool [seq_q, seq_k]."""
    env = positions(attention, seq_q, seq_k, b, h)
    return evaluate(attention.mask, env, tensors=tensors).expand(seq_q, seq_k)


def _scores(
    attention: Attention, products: Tensor, b: int, h: int, tensors: Mapping[str, Tensor]
) -> Tensor:
    """Return the masked scores of one head, [seq_q, seq_k], in the dtype of ``products``."""
    seq_q, seq_k = products.shape
    env = positions(attention, seq_q, seq_k, b, h)
    env[Var.S] = products * score_scale(attention, b, h, tensors).to(products.dtype)
    score = evaluate(attention.score, env, float_dtype=products.dtype, tensors=tensors)
    seen = visible(attention, seq_q, seq_k, b=b, h=h, tensors=tensors)
    return torch.where(seen, score, -math.inf)


def score_scale(attention: Attention, b: int, h: int, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return what q·k of one head counts by, with ``descale_q`` and ``descale_k``: float64."""
    return attention.scale * _factor(attention, attention.score_factor, b, h, tensors)


def _value_factor(attention: Attention, b: int, h: int, tensors: Mapping[str, Tensor]) -> Tensor:
    """Return what values of one head count by, with what dropped weights leave to others."""
    factor = _factor(attention, attention.value_factor, b, h, tensors)
    return factor * attention.dropout_scale


def _factor(
    attention: Attention, factor: Expr | None, b: int, h: int, tensors: Mapping[str, Tensor]
) -> Tensor:
    """Return the value of a factor for one head, float64; 1 where there is none."""
    if factor is None:
        return torch.ones((), dtype=torch.float64)
    return evaluate(factor, positions(attention, 0, 0, b, h), tensors=tensors)


def _sink(
    attention: Attention,
    seq_q: int,
    products: Tensor,
    b: int,
    h: int,
    tensors: Mapping[str, Tensor],
) -> Tensor:
    """Return the logit that joins the denominator of each row, [seq_q]; −inf for none."""
    if attention.sink is None:
        return products.new_full((seq_q,), -math.inf)
    env = positions(attention, seq_q, products.shape[1], b, h)
    logit = evaluate(attention.sink, env, float_dtype=products.dtype, tensors=tensors)
    return logit.expand(seq_q)


def _with_empty_rows(attention: Attention, rows: Tensor, row_lse: Tensor) -> Tensor:
    """Replace the rows that saw no key: there the formula is 0 / 0."""
    filling = {EmptyRow.ZERO: 0.0, EmptyRow.NAN: math.nan}[attention.empty_row]
    return torch.where((row_lse == -math.inf)[:, None], filling, rows)


def _heads(attention: Attention, batch: int) -> Iterator[tuple[int, int]]:
    return ((b, h) for b in range(batch) for h in range(attention.heads))


def _check_tensors(
    attention: Attention, seq_k: int, sizes: tuple[int, int], tensors: Mapping[str, Tensor]
) -> None:
    batch = sizes[0]
    if attention.packed:
        batch = tensors["cu_seqlens_q"].numel() - 1
    elif attention.paged:
        batch = tensors["seqused_k"].numel()
    for tensor in attention.inputs:
        shape = attention.shape_of(tensor, batch, sizes[1], seq_k)
        if tuple(tensors[tensor.name].shape) != shape:
            raise ValueError(
                f"{tensor.name} must have shape {shape}, not {tuple(tensors[tensor.name].shape)}"
            )


def _sizes(
    attention: Attention, q: Tensor, k: Tensor, v: Tensor, tensors: Mapping[str, Tensor]
) -> tuple[int, int]:
    """Return (batch, seq_q), having checked every shape."""
    if q.ndim != 4 or k.ndim != 4:
        raise ValueError(f"q and k must have 4 dimensions, not {q.ndim} and {k.ndim}")
    batch, seq_q, seq_k = q.shape[0], q.shape[1], k.shape[1]
    expected = (
        ("q", q, (batch, seq_q, attention.heads, attention.head_dim)),
        ("k", k, (batch, seq_k, attention.kv_heads, attention.head_dim)),
        ("v", v, (batch, seq_k, attention.kv_heads, attention.value_dim)),
    )
    for name, tensor, shape in expected:
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, not {tuple(tensor.shape)}")
    _check_tensors(attention, seq_k, (batch, seq_q), tensors)
    return batch, seq_q
