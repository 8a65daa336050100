"""Gradients in the working precision where PyTorch normalises and finishes around the kernels.

Each step rounds what it hands on: normalised rows, the output before it is finished, and the
gradients of both.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from flash4gen.ir.core import core, is_surrounded, moved_around
from flash4gen.validate.gradients import (
    Call,
    Upstream,
    float_inputs,
    places,
    working_gradients,
)
from flash4gen.validate.head import Head

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from flash4gen.ir.nodes import Attention


FINISHED = "_finished"
"""The function of a module that changes the output of its kernels."""


def trained_gradients(
    attention: Attention,
    call: Call,
    results: tuple[Tensor, Tensor],
    given: Upstream,
    *,
    nudge: int = 0,
) -> dict[str, Tensor]:
    """Return what ``working_gradients`` does, also of an attention with norms or an epilogue.

    ``results`` are those of the kernels: out is not finished yet.
    """
    if not is_surrounded(attention):
        return working_gradients(attention, call, results, given, nudge=nudge)
    inner = core(attention)
    floats = {it.name: call.tensors[it.name].float() for it in moved_around(attention)}
    leaves = _leaves(call, floats)
    normed = _normed(attention, leaves, call)
    kernels = replace(call, q=normed.q, k=normed.k, tensors=_of(inner, call.tensors))
    out_grad, finished = _unfinished(attention, call, leaves, results[0], given.out)
    upstream = Upstream(out_grad, given.second)
    found = working_gradients(inner, kernels, results, upstream, nudge=nudge)
    around = _through_norms(attention, call, leaves, normed, found)
    # All numbers but those of the kernels are summed in float32, and rounded last.
    for name in float_inputs(attention):
        parts = [part[name] for part in (found, around, finished) if name in part]
        total = sum((part.float() for part in parts), torch.zeros_like(call.tensors[name].float()))
        found[name] = total.to(call.tensors[name].dtype)
    return {**found, "q": around["q"], "k": around["k"]}


@contextmanager
def noted_outputs(module: ModuleType) -> Iterator[list[Tensor]]:
    """Note what kernels of a module store while it is called, where PyTorch finishes it."""
    noted: list[Tensor] = []
    finish = getattr(module, FINISHED, None)

    def noting(out: Tensor, *others: Tensor) -> Tensor:
        noted.append(out.detach())
        finished: Tensor = finish(out, *others)  # type: ignore[misc]
        return finished

    try:
        if finish is not None:
            setattr(module, FINISHED, noting)
        yield noted
    finally:
        if finish is not None:
            setattr(module, FINISHED, finish)


@dataclass(frozen=True, slots=True)
class _Normed:
    """Rows as kernels read them, and as autograd knows them: by place, of q, and of k."""

    q: Tensor
    k: Tensor
    rows: tuple[Tensor, ...]
    keys: tuple[Tensor, ...]


def _leaves(call: Call, floats: Mapping[str, Tensor]) -> dict[str, Tensor]:
    wide = {"q": call.q.float(), "k": call.k.float(), **floats}
    return {name: x.detach().requires_grad_() for name, x in wide.items()}


def _of(inner: Attention, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = {*inner.length_tensors, *(it.name for it in inner.inputs)}
    return {name: x for name, x in tensors.items() if name in names}


def _normed(attention: Attention, leaves: Mapping[str, Tensor], call: Call) -> _Normed:
    tensors = {**call.tensors, **leaves}
    q, k = torch.empty_like(call.q), torch.empty_like(call.k)
    rows, keys = [], []
    for at in places(attention, call):
        own = Head(attention, at.entry, at.head, *at.sizes, tensors)
        rows.append(own.weighted(leaves["q"][at.queries]))
        q[at.queries] = rows[-1].detach().to(q.dtype)
        if at.head % attention.group == 0:
            keys.append(own.divided(leaves["k"][at.keys]))
            k[at.keys] = keys[-1].detach().to(k.dtype)
    return _Normed(q, k, tuple(rows), tuple(keys))


def _unfinished(
    attention: Attention,
    call: Call,
    leaves: Mapping[str, Tensor],
    stored: Tensor,
    given: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the gradient of the output as it is stored, and those of tensors that finish it."""
    floats = {name: x for name, x in leaves.items() if name not in ("q", "k")}
    if attention.epilogue is None:
        return given, {}
    tensors = {**call.tensors, **leaves}
    out_grad, found = torch.empty_like(stored), {n: torch.zeros_like(x) for n, x in floats.items()}
    for at in places(attention, call):
        own = Head(attention, at.entry, at.head, *at.sizes, tensors)
        rows = stored[at.queries].float().requires_grad_()
        grads = torch.autograd.grad(
            own.finished(rows),
            [rows, *floats.values()],
            given[at.queries].float(),
            allow_unused=True,
            materialize_grads=True,
        )
        out_grad[at.queries] = grads[0].to(stored.dtype)
        for name, grad in zip(floats, grads[1:], strict=True):
            found[name] = found[name] + grad
    return out_grad, found


def _through_norms(
    attention: Attention,
    call: Call,
    leaves: Mapping[str, Tensor],
    normed: _Normed,
    found: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the gradients of q, k and the weights of norms from those of normalised rows."""
    every = list(places(attention, call))
    firsts = [at for at in every if at.head % attention.group == 0]
    grads = [found["q"][at.queries].float() for at in every]
    grads += [found["k"][at.keys].float() for at in firsts]
    through = torch.autograd.grad(
        [*normed.rows, *normed.keys],
        list(leaves.values()),
        grads,
        allow_unused=True,
        materialize_grads=True,
    )
    around = dict(zip(leaves, through, strict=True))
    return {**around, "q": around["q"].to(call.q.dtype), "k": around["k"].to(call.k.dtype)}
