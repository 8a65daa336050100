"""What becomes of the rows of one head before and after all else: norms, dropout, the epilogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flash4gen.ir.core import is_surrounded
from flash4gen.ir.expr import Var
from flash4gen.validate.evaluate import evaluate
from flash4gen.validate.philox import kept_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flash4gen.ir.nodes import Attention, Norm


def positions(attention: Attention, seq_q: int, seq_k: int, b: int, h: int) -> dict[Var, Tensor]:
    """Return the variables of one head but the score: positions as [seq_q, 1] and [1, seq_k]."""
    scalars = {
        Var.H: h,
        Var.HKV: h // attention.group,
        Var.B: b,
        Var.SEQ_Q: seq_q,
        Var.SEQ_K: seq_k,
    }
    env = {var: torch.tensor(value) for var, value in scalars.items()}
    return env | {Var.Q: torch.arange(seq_q)[:, None], Var.K: torch.arange(seq_k)[None, :]}


@dataclass(frozen=True, slots=True)
class Head:
    """One head of one batch entry: what becomes of its rows before and after all else."""

    attention: Attention
    entry: int
    h: int
    seq_q: int
    seq_k: int
    tensors: Mapping[str, Tensor]

    def normed(self, norm: Norm | None, rows: Tensor) -> Tensor:
        """Return rows [seq, dim] of q or k normalised, in their own dtype."""
        return rows if norm is None else rows * _inverse_rms(norm, rows) * self._weight(norm, rows)

    def products(self, q: Tensor, k: Tensor, product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Return the products of rows, [seq_q, seq_k] float32, as a kernel's formats allow them."""
        k_norm = self.attention.k_norm
        rows = self.weighted(q)
        if is_surrounded(self.attention):
            return product(rows.to(q.dtype), self.divided(k).to(k.dtype).T)
        found = product(rows.to(q.dtype), k.T)
        return found if k_norm is None else found * _inverse_rms(k_norm, k.float()).T

    def weighted(self, q: Tensor) -> Tensor:
        """Return rows of q as products need them, float32: with the weights of both norms."""
        rows = q.float()
        q_norm, k_norm = self.attention.q_norm, self.attention.k_norm
        if q_norm is not None:
            rows = rows * _inverse_rms(q_norm, rows) * self._weight(q_norm, rows)
        return rows if k_norm is None else rows * self._weight(k_norm, rows)

    def divided(self, k: Tensor) -> Tensor:
        """Return rows of k by their root mean squares, float32."""
        norm, rows = self.attention.k_norm, k.float()
        return rows if norm is None else rows * _inverse_rms(norm, rows)

    def kept(self, weights: Tensor) -> Tensor:
        """Return weights [seq_q, seq_k] with 0 for those that are dropped."""
        if not self.attention.dropout:
            return weights
        place = {"b": self.entry, "h": self.h}
        kept = kept_weights(self.attention, self.seq_q, self.seq_k, self.tensors, **place)
        return torch.where(kept, weights, 0.0)

    def stored(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Return rows of the output as kernels store them, float32, where PyTorch finishes them."""
        finished = self.attention.epilogue is not None and is_surrounded(self.attention)
        return rows.to(dtype).float() if finished else rows

    def finished(self, rows: Tensor) -> Tensor:
        """Return rows [seq_q, value_dim] of the output as the epilogue leaves them."""
        made = self.attention.epilogue
        if made is None:
            return rows
        env = self._env(rows) | {Var.OUT: rows}
        found = evaluate(made, env, float_dtype=rows.dtype, tensors=self.tensors)
        return found.expand_as(rows)

    def _weight(self, norm: Norm, rows: Tensor) -> Tensor:
        found = evaluate(norm.weight, self._env(rows), float_dtype=rows.dtype, tensors=self.tensors)
        return found.expand(1, rows.shape[-1])

    def _env(self, rows: Tensor) -> dict[Var, Tensor]:
        env = positions(self.attention, self.seq_q, self.seq_k, self.entry, self.h)
        return env | {Var.D: torch.arange(rows.shape[-1])[None, :]}


def _inverse_rms(norm: Norm, rows: Tensor) -> Tensor:
    """Return one over the root mean square of each row, [seq, 1]."""
    return torch.rsqrt(rows.square().mean(-1, keepdim=True) + norm.eps)
