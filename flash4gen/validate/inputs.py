"""Makes the tensors of a case: values that provoke, in a layout that provokes.

In: attention and case. Out: ``Inputs``. All values come from a seeded generator. What a layout's
storage holds besides the view is NaN, so that one element read too many shows in the output.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from flash4gen.ir.expr import Var, variables
from flash4gen.ir.nodes import DType
from flash4gen.validate import packed, paged
from flash4gen.validate.cases import Case, Layout, Values
from flash4gen.validate.oracle import TORCH_DTYPES, visible
from flash4gen.validate.tensors import make_tensors, placed_tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

VALUE_SCALE = 4.0
"""Standard deviation of v. The budget has an absolute part made for outputs of about 1: among
larger ones it hides less."""

_LARGEST = {DType.FP16: 3.0e4, DType.BF16: 3.0e4, DType.FP8_E4M3: 448.0}
"""Largest element of q and k: float16 ends at 65504, e4m3 at 448."""

_TINY = {DType.FP16: 1e-4, DType.BF16: 1e-4, DType.FP8_E4M3: 2.0**-6}
"""Standard deviation of small elements; below its smallest normal number e4m3 has few others."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The arguments of one call.

    Attributes:
        q: [batch, seq_q, heads, head_dim].
        k: [batch, seq_k, kv_heads, head_dim].
        v: [batch, seq_k, kv_heads, value_dim].
        storages: the tensors whose parts they are.
        copies: of the storages, as they were before the call.
        tensors: the attention's inputs, by name.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    storages: tuple[Tensor, ...]
    copies: tuple[Tensor, ...]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def untouched(self) -> bool:
        """Whether every bit of the storages is as it was."""
        pairs = zip(self.storages, self.copies, strict=True)
        return all(torch.equal(a.view(torch.uint8), b.view(torch.uint8)) for a, b in pairs)


def make_inputs(attention: Attention, case: Case) -> Inputs:
    """Return the inputs of a case, in the attention's dtype, on the CPU."""
    if attention.block_size is not None:
        return _paged_inputs(attention, case, attention.block_size)
    if attention.packed:
        return _packed_inputs(attention, case)
    tensors = make_tensors(attention, case)
    values = _values(attention, case, tensors)
    q, k, v = (_rounded(x, attention.dtype) for x in values)
    views, storages = _arranged(q, k, v, case.layout)
    placed = {name: placed_tensor(x, case.layout) for name, x in tensors.items()}
    storages = (*storages, *(storage for _, storage in placed.values()))
    copies = tuple(storage.clone() for storage in storages)
    return Inputs(*views, storages, copies, {name: view for name, (view, _) in placed.items()})


def _packed_inputs(attention: Attention, case: Case) -> Inputs:
    """Return the inputs of a case with its sequences one behind the other."""
    sequences = packed.parts(case)
    tensors = make_tensors(attention, replace(case, batch=len(sequences)))
    made = [_values(attention, replace(case, batch=0), tensors)]
    made += [_values(attention, part, tensors, n) for n, part in enumerate(sequences)]
    rows = ([x.flatten(0, 1) for x in group] for group in zip(*made, strict=True))
    q, k, v = (_rounded(torch.cat(x)[None], attention.dtype) for x in rows)
    views, storages = _arranged(q, k, v, case.layout)
    placed = {name: placed_tensor(x, case.layout) for name, x in tensors.items()}
    # Where sequences start cannot be one number, repeated.
    layout = Layout.CONTIGUOUS if case.layout is Layout.EXPANDED else case.layout
    placed |= {name: placed_tensor(x, layout) for name, x in packed.starts(case).items()}
    storages = (*storages, *(storage for _, storage in placed.values()))
    copies = tuple(storage.clone() for storage in storages)
    q, k, v = (view[0] for view in views)
    return Inputs(q, k, v, storages, copies, {name: view for name, (view, _) in placed.items()})


def _paged_inputs(attention: Attention, case: Case, block_size: int) -> Inputs:
    """Return the inputs of a case with its keys and values in the blocks of a pool, in no order."""
    lengths = paged.lengths_of(case, packed_queries=attention.packed)
    tensors = make_tensors(attention, replace(case, batch=len(lengths)))
    made = [_values(attention, replace(case, batch=0), tensors)]
    sequences = packed.parts(case, lengths)
    made += [_values(attention, part, tensors, n) for n, part in enumerate(sequences)]
    queries, keys, values = zip(*made, strict=True)
    pool = paged.pool_of([seq_k for _, seq_k in lengths], block_size, case.seed)
    q = torch.cat([x.flatten(0, 1) for x in queries])[None] if attention.packed else None
    given = torch.cat(queries) if q is None else q, pool.filled(keys), pool.filled(values)
    q, k, v = (_rounded(x, attention.dtype) for x in given)
    storages: tuple[Tensor, ...]
    if case.layout in paged.UNREADABLE:
        view, storage = _placed(q, case.layout)
        views, storages = (view, k, v), (storage, k, v)
    else:
        views, storages = _arranged(q, k, v, case.layout)
    placed = {name: placed_tensor(x, case.layout) for name, x in tensors.items()}
    layout = Layout.CONTIGUOUS if case.layout is Layout.EXPANDED else case.layout
    known = {"block_table": pool.table, "seqused_k": pool.lengths, **packed.starts(case)}
    placed |= {name: placed_tensor(known[name], layout) for name in attention.length_tensors}
    storages = (*storages, *(storage for _, storage in placed.values()))
    copies = tuple(storage.clone() for storage in storages)
    q = views[0][0] if attention.packed else views[0]
    named = {name: view for name, (view, _) in placed.items()}
    return Inputs(q, views[1], views[2], storages, copies, named)


def _rounded(x: Tensor, dtype: DType) -> Tensor:
    return x.clamp(-_LARGEST[dtype], _LARGEST[dtype]).to(TORCH_DTYPES[dtype])


def _values(
    attention: Attention, case: Case, tensors: Mapping[str, Tensor], entry: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k and v in float32; ``entry`` is the number of the first batch entry."""
    random = torch.Generator().manual_seed(case.seed)
    batch, seq_q, seq_k = case.batch, case.seq_q, case.seq_k
    heads, kv_heads, dim = attention.heads, attention.kv_heads, attention.head_dim
    q = torch.randn(batch, seq_q, heads, dim, generator=random)
    k = torch.randn(batch, seq_k, kv_heads, dim, generator=random)
    v = torch.randn(batch, seq_k, kv_heads, attention.value_dim, generator=random) * VALUE_SCALE
    # A direction per key/value head; a query head that reads another one's keys misses it.
    direction = torch.nn.functional.normalize(torch.randn(kv_heads, dim, generator=random), dim=-1)
    aligned = direction.repeat_interleave(attention.group, 0)
    scale = attention.scale
    match case.values:
        case Values.NORMAL:
            pass
        case Values.LARGE:
            factor = math.sqrt(300 / (scale * math.sqrt(dim)))
            q, k = q * factor, k * factor
        case Values.NEGATIVE:
            factor = math.sqrt(200 / scale)
            q, k = q * 0.3 + factor * aligned, k * 0.3 - factor * direction
        case Values.DOMINANT:
            factor = math.sqrt(40 / scale)
            q, k[:, seq_k // 2 : seq_k // 2 + 1] = q + factor * aligned, factor * direction
        case Values.EQUAL:
            q, k = q[:, :1].expand_as(q), k[:, :1].expand_as(k)
        case Values.TINY:
            q, k = q * _TINY[attention.dtype], k * _TINY[attention.dtype]
        case Values.RISING:
            factor = math.sqrt(60 / scale)
            ramp = torch.linspace(0, 1, seq_k)[:, None, None]
            q, k = q * 0.3 + factor * aligned, k * 0.3 + factor * ramp * direction
        case Values.NEEDLES:
            q, k = _needles(attention, case, q, k, tensors, entry)
    return q, k, v


def _needles(
    attention: Attention,
    case: Case,
    q: Tensor,
    k: Tensor,
    tensors: Mapping[str, Tensor],
    entry: int,
) -> tuple[Tensor, Tensor]:
    """Let the scores at the edges of the mask, inside and outside, stand out by 12.

    Query i lies on axis i mod head_dim. A key has a component on the axis of each query for which
    it is the last visible, the first hidden, or an end of the keys. One key too many or too few
    then weighs as much as all others together.
    """
    factor = math.sqrt(12 / attention.scale)
    axes = torch.eye(attention.head_dim)[torch.arange(case.seq_q) % attention.head_dim]
    q = q * 0.05 + factor * axes[:, None]
    k = k * 0.05
    read = variables(attention.mask)
    groups = attention.kv_heads if read & {Var.H, Var.HKV} else 1
    for b in range(case.batch):
        for hkv in range(groups):
            heads = range(hkv * attention.group, (hkv + 1) * attention.group)
            sizes = attention, case.seq_q, case.seq_k
            masks = [visible(*sizes, b=b + entry, h=h, tensors=tensors) for h in heads]
            marked = torch.stack([_edges(mask) for mask in masks]).any(0)
            needles = factor * (marked.T.float() @ axes).clamp(max=1)
            target = k[b, :, hkv] if groups > 1 else k[b].transpose(0, 1)
            target += needles
    return q, k


def _edges(mask: Tensor) -> Tensor:
    """Return the elements of [seq_q, seq_k] that differ from a neighbouring key, and both ends."""
    change = mask[:, 1:] ^ mask[:, :-1]
    edges = torch.zeros_like(mask)
    edges[:, 1:] |= change
    edges[:, :-1] |= change
    edges[:, :1] = edges[:, -1:] = True
    return edges


def _arranged(
    q: Tensor, k: Tensor, v: Tensor, layout: Layout
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """Return views that hold q, k and v, and the storages behind them."""
    if layout is Layout.PACKED:
        return _packed(q, k, v)
    if layout is Layout.EXPANDED:
        small = (q.clone(), k[:1].clone(), v[:1].clone())
        return (small[0], small[1].expand_as(k), small[2].expand_as(v)), small
    placed = [_placed(x, layout) for x in (q, k, v)]
    views = (placed[0][0], placed[1][0], placed[2][0])
    return views, tuple(storage for _, storage in placed)


def _packed(
    q: Tensor, k: Tensor, v: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """Put k and v side by side in one tensor, and q before a head of NaN."""
    kv = torch.cat([k, v], dim=-1)
    padded = torch.cat([q, torch.full_like(q[:, :, :1], math.nan)], dim=2)
    dim = k.shape[-1]
    return (padded[:, :, : q.shape[2]], kv[..., :dim], kv[..., dim:]), (padded, kv)


def _placed(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return a view that holds x [batch, seq, heads, dim], and the storage behind it."""
    batch, seq, heads, dim = x.shape
    match layout:
        case Layout.HEADS_FIRST:
            storage = x.new_full((batch, heads, seq, dim), math.nan)
            view = storage.transpose(1, 2)
        case Layout.SLICED:
            storage = x.new_full((batch, 2 * seq + 3, heads, dim), math.nan)
            view = storage[:, 3::2]
        case Layout.DIM_STRIDED:
            storage = x.new_full((batch, seq, heads, dim, 2), math.nan)
            view = storage[..., 0]
        case Layout.MISALIGNED:
            storage = x.new_full((x.numel() + 1,), math.nan)
            view = storage[1:].view(x.shape)
        case _:
            storage = view = x.new_full(x.shape, math.nan)
    view.copy_(x)
    return view, storage
