"""Philox 4x32-10, and which weights dropout keeps by it: the definition, in Python's own integers.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3. The
words are those of the authors' Random123 (``kat_vectors``); tests compare.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.ir.nodes import Attention

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
"""Of words 0 and 2 of the counter."""

WEYL = 0x9E3779B9, 0xBB67AE85
"""What the key's words rise by from round to round: the golden ratio, and the root of 3, less 1."""

WORD = 2**32
APART = 8
"""Positions that differ in this bit alone share a draw."""

Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(key: tuple[int, int], counter: Words) -> Words:
    """Return four words for each counter.

    Args:
        key: two words.
        counter: four words, int64 tensors that broadcast against each other.
    """
    words = counter
    for turn in range(ROUNDS):
        high_0, low_0 = _product(MULTIPLIERS[0], words[0])
        high_1, low_1 = _product(MULTIPLIERS[1], words[2])
        first, second = ((key[n] + turn * WEYL[n]) % WORD for n in range(2))
        words = high_1 ^ words[1] ^ first, low_1, high_0 ^ words[3] ^ second, low_0
    return words


def _product(a: int, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the upper and the lower word of a product of words, from products of half words."""
    b_high, b_low = b // 2**16, b % 2**16
    low = a * b_low
    middle = (a * b_high) + low // 2**16
    return middle // 2**16, (middle % 2**16) * 2**16 + low % 2**16


def call_key(seed: int, offset: int) -> tuple[int, int]:
    """Return the key of a call's draws: the first two words for its seed and offset.

    Args:
        seed: of 64 bits, signed or not.
        offset: likewise.
    """
    low, high = (torch.tensor(offset >> shift & WORD - 1) for shift in (0, 32))
    nothing = torch.tensor(0)
    drawn = philox((seed & WORD - 1, seed >> 32 & WORD - 1), (low, high, nothing, nothing))
    return int(drawn[0]), int(drawn[1])


def kept_weights(
    attention: Attention,
    seq_q: int,
    seq_k: int,
    tensors: Mapping[str, Tensor],
    *,
    b: int,
    h: int,
) -> Tensor:
    """Return which weights of one head stay: bool [seq_q, seq_k].

    The counter of a weight is (key position, query position, b · heads + h, 0), positions without
    their bit for 8; that bit of the query, and of the key, says which of the four words it has.
    """
    if not attention.dropout:
        return torch.ones(seq_q, seq_k, dtype=torch.bool)
    key = call_key(int(tensors["dropout_seed"][0]), int(tensors["dropout_offset"][0]))
    queries, keys = torch.arange(seq_q)[:, None], torch.arange(seq_k)[None, :]
    head, nothing = torch.tensor(b * attention.heads + h), torch.tensor(0)
    counter = keys - (keys & APART), queries - (queries & APART), head, nothing
    drawn = torch.stack([word.expand(seq_q, seq_k) for word in philox(key, counter)])
    which = (queries & APART) // APART * 2 + (keys & APART) // APART
    return drawn.gather(0, which[None])[0] >= attention.dropped_below
