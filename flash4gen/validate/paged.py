"""Keys and values in the blocks of a pool: the lengths of a case, its pool, and gathered again.

In: attentions with a ``block_size``. Blocks of all entries lie in the pool in no order, between
blocks that nobody owns. Whatever no key owns holds NaN, table entries behind the last block point
out of the pool: what is read and must not be shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from flash4gen.validate import packed
from flash4gen.validate.cases import Layout
from flash4gen.validate.packed import Lengths, Sequence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Sequence as Several

    from torch import Tensor

    from flash4gen.validate.cases import Case

UNREADABLE = frozenset({Layout.DIM_STRIDED, Layout.MISALIGNED, Layout.EXPANDED})
"""Layouts that a pool cannot have: it is never copied, and its blocks are not all one."""

_SPARE = 3
"""Blocks of the pool, and entries of the table, that no key is in."""

_OUTSIDE = 2**30


def lengths_of(case: Case, *, packed_queries: bool) -> tuple[Lengths, ...]:
    """Return the lengths of a case's entries: its own for each, and others, one of them no keys."""
    if packed_queries:
        return packed.lengths_of(case)
    if case.batch == 0:
        return ()
    seq_q, seq_k = case.seq_q, case.seq_k
    if case.alone:
        return ((seq_q, seq_k),) * case.batch
    others = ((seq_q, 0), (seq_q, seq_k // 3), (seq_q, (seq_k + 1) // 2))
    return (*((seq_q, seq_k),) * case.batch, *others)


@dataclass(frozen=True, slots=True)
class Pool:
    """Where the keys of all entries lie.

    Attributes:
        table: int32 [batch, max_blocks], the block of each block of keys.
        lengths: int32 [batch], keys of each entry.
        block_size: rows of a block.
        blocks: of the pool.
    """

    table: Tensor
    lengths: Tensor
    block_size: int
    blocks: int

    def filled(self, rows: Several[Tensor]) -> Tensor:
        """Return the pool [blocks, block_size, kv_heads, dim].

        Args:
            rows: an empty tensor [0, …, kv_heads, dim], then [1, seq_k, kv_heads, dim] per entry.
        """
        first, *entries = rows
        pool = first.new_full((self.blocks, self.block_size, *first.shape[2:]), math.nan)
        for entry, row in enumerate(entries):
            for start in range(0, row.shape[1], self.block_size):
                part = row[0, start : start + self.block_size]
                pool[self.table[entry, start // self.block_size], : len(part)] = part
        return pool


def pool_of(lengths: Several[int], block_size: int, seed: int) -> Pool:
    """Deal the blocks of a pool out to entries of these lengths, at random."""
    counts = [-(-length // block_size) for length in lengths]
    blocks = sum(counts) + _SPARE
    random = torch.Generator().manual_seed(seed + 2)
    free = torch.randperm(blocks, generator=random).tolist()
    most = max(counts, default=0) + _SPARE
    table = torch.full((len(counts), most), _OUTSIDE, dtype=torch.int32)
    table[:, ::2] = -_OUTSIDE
    for entry, count in enumerate(counts):
        table[entry, :count] = torch.tensor([free.pop() for _ in range(count)], dtype=torch.int32)
    return Pool(table, torch.tensor(lengths, dtype=torch.int32), block_size, blocks)


def gathered(q: Tensor, k: Tensor, v: Tensor, tensors: Mapping[str, Tensor]) -> Iterator[Sequence]:
    """Yield the entries of a call, each with its keys one behind the other.

    Args:
        q: [batch, seq_q, heads, head_dim]; packed, [total_q, heads, head_dim].
        k: [blocks, block_size, kv_heads, head_dim].
        v: [blocks, block_size, kv_heads, value_dim].
        tensors: block_table and seqused_k among them; packed, cu_seqlens_q too.
    """
    block_size = k.shape[1]
    starts = tensors["cu_seqlens_q"].tolist() if q.dim() == 3 else None
    for entry, length in enumerate(tensors["seqused_k"].tolist()):
        own = tensors["block_table"][entry, : -(-length // block_size)].long()
        keys, values = (x[own].flatten(0, 1)[:length][None] for x in (k, v))
        queries = q[entry] if starts is None else q[starts[entry] : starts[entry + 1]]
        yield Sequence(entry, queries[None], keys, values)
