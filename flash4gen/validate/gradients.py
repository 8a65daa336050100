"""The gradients of a spec in float64, by PyTorch's autograd, and in the kernels' working precision.

``reference_gradients`` differentiates the oracle's formula and knows nothing of the compiler's own
derivatives. ``working_gradients`` is the same maths with numbers rounded where kernels round them:
weights and the gradients of scores before they meet another matrix, results last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flash4gen.ir.expr import Type, Var
from flash4gen.validate.evaluate import evaluate
from flash4gen.validate.head import Head
from flash4gen.validate.oracle import TORCH_DTYPES, exact_products, visible
from flash4gen.validate.philox import kept_weights
from flash4gen.validate.tolerance import ulp_in_base_2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flash4gen.ir.nodes import Attention


@dataclass(frozen=True, slots=True)
class Upstream:
    """Gradients of a loss by the two results of a call.

    Attributes:
        out: [batch, seq_q, heads, value_dim]; packed, [total_q, heads, value_dim].
        second: of lse, or of the total of sigmoid weights, [batch, heads, seq_q]; packed,
            [heads, total_q].
    """

    out: Tensor
    second: Tensor


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a call: q, k and v, and the inputs by name."""

    q: Tensor
    k: Tensor
    v: Tensor
    tensors: Mapping[str, Tensor]

    @property
    def by_name(self) -> dict[str, Tensor]:
        """All of them."""
        return {"q": self.q, "k": self.k, "v": self.v, **self.tensors}


def float_inputs(attention: Attention) -> tuple[str, ...]:
    """Return the names of the inputs that could have a gradient."""
    return tuple(x.name for x in attention.inputs if x.dtype.type is Type.FLOAT)


def reference_gradients(attention: Attention, call: Call, given: Upstream) -> dict[str, Tensor]:
    """Return the gradients of q, k, v and of all float inputs, in float64.

    Args:
        attention: the variant.
        call: its arguments, any float dtype; converted to float64 first.
        given: gradients of the results.
    """
    names = ("q", "k", "v", *float_inputs(attention))
    leaves = {name: call.by_name[name].detach().double().requires_grad_() for name in names}
    tensors = {**call.tensors, **{name: leaves[name] for name in float_inputs(attention)}}
    loss = leaves["q"].sum() * 0
    for at in places(attention, call):
        b, h = at.entry, at.head
        values = leaves["v"][at.keys]
        own = Head(attention, b, h, *at.sizes, tensors)
        rows = own.normed(attention.q_norm, leaves["q"][at.queries])
        products = rows @ own.normed(attention.k_norm, leaves["k"][at.keys]).T
        x = _scores(attention, products * attention.scale, b, h, tensors)
        weights, second = _weights(attention, x, b, h, tensors)
        weights = _kept(attention, weights, b, h, tensors)
        out = own.finished(weights @ values)
        loss = loss + (out * given.out[at.queries].double()).sum()
        loss = loss + (second * given.second[at.rows].double()).sum()
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaves[name]) if grad is None else grad
        for name, grad in zip(names, found, strict=True)
    }


def working_gradients(
    attention: Attention,
    call: Call,
    results: tuple[Tensor, Tensor],
    given: Upstream,
    *,
    nudge: int = 0,
) -> dict[str, Tensor]:
    """Return the same as number formats allow it, from the stored results of the forward pass.

    Args:
        attention: the variant.
        call: its arguments in its dtype.
        results: out and lse, or total, of the working precision.
        given: gradients of the results: of out in its dtype, of the other in float32.
        nudge: 1 or -1: weights are larger, or smaller, by what float32 leaves open of scores: as
            right, and numbers halfway between two of 16 bits round the other way.
    """
    dtype = TORCH_DTYPES[attention.dtype]
    floats = {name: call.tensors[name].float().requires_grad_() for name in float_inputs(attention)}
    tensors = {**call.tensors, **floats}
    q, k, v = call.q, call.k, call.v
    found = {"q": torch.zeros_like(q, dtype=torch.float32)}
    found |= {name: torch.zeros_like(x, dtype=torch.float32) for name, x in (("k", k), ("v", v))}
    for name, x in floats.items():
        found[name] = torch.zeros_like(x)
    for at in places(attention, call):
        b, h = at.entry, at.head
        rows, keys, values = q[at.queries], k[at.keys], v[at.keys]
        grad = given.out[at.queries].to(dtype)
        s = exact_products(rows, keys.T).mul(attention.scale).requires_grad_()
        x = _scores(attention, s, b, h, tensors)
        stored = results[1][at.rows].float()
        p, dx, delta = _score_gradient(
            attention,
            x.detach(),
            (results[0][at.queries], stored),
            (
                _kept(attention, exact_products(grad, values.T), b, h, tensors),
                grad,
                given.second[at.rows].float(),
            ),
            nudge=nudge,
        )
        by = torch.autograd.grad(x, [s, *floats.values()], dx, allow_unused=True)
        ds = _or_zeros(by[0], s).to(dtype)
        found["q"][at.queries] = exact_products(ds, keys) * attention.scale
        found["k"][at.keys] += exact_products(ds.T, rows) * attention.scale
        seen = _kept(attention, p, b, h, tensors, scale=1.0).to(dtype)
        found["v"][at.keys] += exact_products(seen.T, grad) * attention.dropout_scale
        sunk = _sink_gradients(attention, stored, delta, at, tensors, floats)
        for (name, leaf), one, other in zip(floats.items(), by[1:], sunk, strict=True):
            found[name] = found[name] + _or_zeros(one, leaf) + _or_zeros(other, leaf)
    return {name: x.detach().to(call.by_name[name].dtype) for name, x in found.items()}


@dataclass(frozen=True, slots=True)
class Place:
    """One head of a batch entry, or of a packed sequence.

    Attributes:
        entry, head: their numbers.
        sizes: its queries and keys.
        queries, keys: of q, and of k and v, as indices.
        rows: of the second result.
    """

    entry: int
    head: int
    sizes: tuple[int, int]
    queries: tuple[slice | int, ...]
    keys: tuple[slice | int, ...]
    rows: tuple[slice | int, ...]


def places(attention: Attention, call: Call) -> Iterator[Place]:
    """Yield where the heads of a call lie."""
    if not attention.packed:
        every, (batch, seq_q, seq_k) = slice(None), (*call.q.shape[:2], call.k.shape[1])
        for b in range(batch):
            for h in range(attention.heads):
                hkv = h // attention.group
                yield Place(b, h, (seq_q, seq_k), (b, every, h), (b, every, hkv), (b, h))
        return
    starts = (call.tensors[name].tolist() for name in attention.length_tensors)
    for b, (q_ends, k_ends) in enumerate(zip(*map(pairwise, starts), strict=True)):
        queries, keys = slice(*q_ends), slice(*k_ends)
        sizes = q_ends[1] - q_ends[0], k_ends[1] - k_ends[0]
        for h in range(attention.heads):
            yield Place(b, h, sizes, (queries, h), (keys, h // attention.group), (h, queries))


def _score_gradient(
    attention: Attention,
    x: Tensor,
    stored: tuple[Tensor, Tensor],
    given: tuple[Tensor, Tensor, Tensor],
    *,
    nudge: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the weights, the gradient of the scores, and the mean that it lacks, of one head."""
    out, lse = stored
    dp, grad, second = given
    if not attention.normalised:
        p = torch.sigmoid(x)
        return p, p * (1 - p) * (dp + second[:, None]), -second
    empty = lse == -math.inf
    shift = torch.where(empty, 0.0, lse)[:, None]
    p = torch.exp(x - shift)
    if nudge and lse.numel():
        p = p * (1 + nudge * 2 * math.log(2) * ulp_in_base_2(shift.abs().max().item()))
    delta = torch.where(empty, 0.0, (grad.float() * out.float()).sum(-1) - second)
    return p, p * (dp - delta[:, None]), delta


def _sink_gradients(
    attention: Attention,
    lse: Tensor,
    delta: Tensor,
    at: Place,
    tensors: Mapping[str, Tensor],
    floats: Mapping[str, Tensor],
) -> tuple[Tensor | None, ...]:
    """Return what the sink of one head adds to the gradients of inputs."""
    if attention.sink is None or not floats:
        return (None,) * len(floats)
    sink = _sink(attention, at.entry, at.head, at.sizes, tensors, torch.float32)
    if not sink.requires_grad:
        return (None,) * len(floats)
    weight = torch.where(lse == -math.inf, 0.0, torch.exp(sink.detach() - lse))
    total = -(weight * delta).sum()
    return torch.autograd.grad(sink, list(floats.values()), total, allow_unused=True)


def _or_zeros(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad


def _environment(attention: Attention, b: int, h: int) -> dict[Var, Tensor]:
    scalars = {Var.H: h, Var.HKV: h // attention.group, Var.B: b}
    return {var: torch.tensor(value) for var, value in scalars.items()}


def _scores(
    attention: Attention, s: Tensor, b: int, h: int, tensors: Mapping[str, Tensor]
) -> Tensor:
    """Return the masked scores of one head, of scaled products [seq_q, seq_k]."""
    seq_q, seq_k = s.shape
    env = _environment(attention, b, h) | {
        Var.S: s,
        Var.Q: torch.arange(seq_q)[:, None],
        Var.K: torch.arange(seq_k)[None, :],
        Var.SEQ_Q: torch.tensor(seq_q),
        Var.SEQ_K: torch.tensor(seq_k),
    }
    seen = visible(attention, seq_q, seq_k, b=b, h=h, tensors=tensors)
    if s.requires_grad:
        # Where a key is hidden, 0 times an infinite derivative would be NaN.
        env[Var.S] = s.clone()
        env[Var.S].register_hook(  # type: ignore[no-untyped-call]
            lambda grad: torch.where(seen, grad, 0.0)
        )
    score = evaluate(attention.score, env, float_dtype=s.dtype, tensors=tensors)
    return torch.where(seen, score, -math.inf)


def _sink(
    attention: Attention,
    b: int,
    h: int,
    sizes: tuple[int, int],
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> Tensor:
    assert attention.sink is not None
    lengths = dict(zip((Var.SEQ_Q, Var.SEQ_K), map(torch.tensor, sizes), strict=True))
    env = _environment(attention, b, h) | lengths
    return evaluate(attention.sink, env, float_dtype=dtype, tensors=tensors)


def _kept(
    attention: Attention,
    x: Tensor,
    b: int,
    h: int,
    tensors: Mapping[str, Tensor],
    scale: float | None = None,
) -> Tensor:
    """Return what [seq_q, seq_k] has for the weights that stay, times what these count."""
    if not attention.dropout:
        return x
    kept = kept_weights(attention, x.shape[0], x.shape[1], tensors, b=b, h=h)
    return torch.where(kept, x * (attention.dropout_scale if scale is None else scale), 0.0)


def _weights(
    attention: Attention, x: Tensor, b: int, h: int, tensors: Mapping[str, Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the weights of one head and lse, 0 for rows without keys; or sigmoids and totals."""
    if not attention.normalised:
        weights = torch.sigmoid(x)
        return weights, weights.sum(-1)
    lse = torch.logsumexp(x, -1)
    if attention.sink is not None:
        sink = _sink(attention, b, h, (x.shape[0], x.shape[1]), tensors, torch.float64)
        lse = torch.logaddexp(lse, sink.expand_as(lse))
    lse = torch.where(lse == -math.inf, 0.0, lse)
    return torch.exp(x - lse[:, None]), lse
