"""Packed sequences: the lengths of a case, its tensors one behind the other, and apart again.

In: attentions with ``lengths = packed``. A case of one batch entry becomes several sequences of
different lengths, two of them without queries or keys; the reference knows each one by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from flash4gen.validate.cases import Case

Lengths = tuple[int, int]
"""Queries and keys of one sequence."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence of a packed call.

    Attributes:
        entry: its number.
        q: [1, seq_q, heads, head_dim].
        k: [1, seq_k, kv_heads, head_dim].
        v: [1, seq_k, kv_heads, value_dim].
    """

    entry: int
    q: Tensor
    k: Tensor
    v: Tensor


def lengths_of(case: Case) -> tuple[Lengths, ...]:
    """Return the lengths of a case's sequences: its own for each batch entry, others, its own.

    A launch begins with the first sequence or with the last one. No keys and no queries stay no
    keys and no queries, in all of them.
    """
    if case.batch == 0:
        return ()
    seq_q, seq_k = case.seq_q, case.seq_k
    if case.alone:
        return ((seq_q, seq_k),) * case.batch
    others: tuple[Lengths, ...] = ((0, seq_k // 3), (seq_q // 2, seq_k), (min(1, seq_q), 0))
    others += ((seq_q - seq_q // 3, (seq_k + 1) // 2),)
    own = (seq_q, seq_k)
    return (*(own,) * case.batch, *others, own)


def mean_queries(q: Tensor, tensors: Mapping[str, Tensor]) -> int:
    """Return how many queries the sequences of a call have on average, rounded up."""
    sequences = tensors["cu_seqlens_q"].numel() - 1
    return -(-q.shape[0] // max(1, sequences))


def longest_keys(tensors: Mapping[str, Tensor]) -> int:
    """Return the keys of the longest sequence of a call."""
    known = tensors.get("seqused_k")
    lengths = tensors["cu_seqlens_k"].diff() if known is None else known
    return int(lengths.max()) if lengths.numel() else 0


def parts(case: Case, lengths: tuple[Lengths, ...] | None = None) -> tuple[Case, ...]:
    """Return a case for each sequence, each with random numbers of its own."""
    return tuple(
        replace(case, name=f"{case.name}, sequence {n}", batch=1, seq_q=seq_q, seq_k=seq_k)
        for n, (seq_q, seq_k) in enumerate(lengths_of(case) if lengths is None else lengths)
    )


def starts(case: Case) -> dict[str, Tensor]:
    """Return cu_seqlens_q and cu_seqlens_k of a case, int32 [sequences + 1]."""
    known = lengths_of(case)
    return {
        name: torch.tensor([0, *accumulate(pair[axis] for pair in known)], dtype=torch.int32)
        for axis, name in enumerate(("cu_seqlens_q", "cu_seqlens_k"))
    }


def apart(q: Tensor, k: Tensor, v: Tensor, tensors: Mapping[str, Tensor]) -> Iterator[Sequence]:
    """Yield the sequences of a call.

    Args:
        q: [total_q, heads, head_dim].
        k: [total_k, kv_heads, head_dim].
        v: [total_k, kv_heads, value_dim].
        tensors: cu_seqlens_q and cu_seqlens_k among them.
    """
    rows = [list(pairwise(tensors[name].tolist())) for name in ("cu_seqlens_q", "cu_seqlens_k")]
    for entry, ((q_start, q_end), (k_start, k_end)) in enumerate(zip(*rows, strict=True)):
        keys = slice(k_start, k_end)
        yield Sequence(entry, q[None, q_start:q_end], k[None, keys], v[None, keys])
