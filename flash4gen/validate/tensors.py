"""Makes the input tensors of a case: what they hold, and how they lie in memory.

In: attention and case. Out: tensors by name, from a seeded generator of their own, so that q, k and
v are the same with and without them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from flash4gen.build.compile import INPUT_DTYPES
from flash4gen.ir.expr import BITWISE, Apply, Extent, Input, Lookup, Type, walk
from flash4gen.ir.nodes import DROPOUT_STATE, descales
from flash4gen.validate.cases import Case, Layout

if TYPE_CHECKING:
    from torch import Tensor

    from flash4gen.ir.nodes import Attention

_DOCUMENT = 24
"""Mean length of a run of equal whole numbers along a sequence: documents of a few dozen tokens."""

_GARBAGE = -(2**30)
"""What surrounds whole numbers in memory: no position, length or document."""


def make_tensors(attention: Attention, case: Case) -> dict[str, Tensor]:
    """Return the input tensors of a case, contiguous, on the CPU.

    Floats are normal; factors of 8-bit elements, which must be above 0, lie around 1. Whole numbers
    that belong to positions rise along the sequence in runs, as the numbers of packed documents do,
    and tensors of equally long axes hold the same; words that are read bit by bit are any; all
    others are lengths, from 0 to the longer one.
    """
    return {tensor.name: _values(attention, tensor, case) for tensor in attention.inputs}


def _values(attention: Attention, tensor: Input, case: Case) -> Tensor:
    shape = attention.shape_of(tensor, case.batch, case.seq_q, case.seq_k)
    dtype = INPUT_DTYPES[tensor.dtype]
    if tensor.dtype.type is Type.FLOAT:
        random = torch.Generator().manual_seed(case.seed + sum(tensor.name.encode()))
        drawn = torch.randn(shape, generator=random)
        return (_descale(drawn) if tensor in _factors(attention) else drawn).to(dtype)
    random = torch.Generator().manual_seed(case.seed + 1)
    if tensor in DROPOUT_STATE:
        # Seed and offset are of 64 bits, and differ.
        ends, place = (-(2**63), 2**63 - 1), DROPOUT_STATE.index(tensor)
        return torch.randint(*ends, (2,), generator=random)[place : place + 1]
    if tensor.axes[-1] in (Extent.SEQ_Q, Extent.SEQ_K):
        starts = torch.rand(shape, generator=random) < 1 / _DOCUMENT
        return starts.cumsum(-1).to(dtype)
    if _holds_bits(attention, tensor):
        return torch.randint(-(2**31), 2**31, shape, generator=random).to(dtype)
    longest = max(case.seq_q, case.seq_k)
    return torch.randint(0, longest + 1, shape, generator=random).to(dtype)


def _holds_bits(attention: Attention, tensor: Input) -> bool:
    """Whether what a tensor holds is read bit by bit."""
    return any(
        isinstance(arg, Lookup) and arg.tensor == tensor
        for expr in attention.expressions
        for node in walk(expr)
        if isinstance(node, Apply) and node.op in BITWISE
        for arg in node.args
    )


def _factors(attention: Attention) -> tuple[Input, ...]:
    return () if attention.scales is None else descales(attention.scales)


def _descale(x: Tensor) -> Tensor:
    """Return factors that differ, and change no scores out of what a case is made for."""
    return torch.exp(x.clamp(-2, 2) / 8)


def placed_tensor(x: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Return a view that holds x, and the storage behind it, which shows where it is not looked at.

    Args:
        x: of one axis or more.
        layout: of q, k and v; here its likeness for a tensor of any number of axes.
    """
    filling = math.nan if x.is_floating_point() else _GARBAGE
    match layout:
        case Layout.HEADS_FIRST:
            storage = x.new_full(x.shape[::-1], filling)
            view = storage.permute(*range(x.dim() - 1, -1, -1))
        case Layout.SLICED:
            storage = x.new_full((2 * x.shape[0] + 3, *x.shape[1:]), filling)
            view = storage[3::2]
        case Layout.DIM_STRIDED | Layout.PACKED:
            storage = x.new_full((*x.shape, 2), filling)
            view = storage[..., 0]
        case Layout.MISALIGNED:
            storage = x.new_full((x.numel() + 1,), filling)
            view = storage[1:].view(x.shape)
        case Layout.EXPANDED:
            storage = x[:1].clone()
            return storage.expand_as(x), storage
        case _:
            storage = view = x.new_full(x.shape, filling)
    view.copy_(x)
    return view, storage
