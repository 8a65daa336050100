"""What kernels compute of an attention that is trained with, and what PyTorch does around them.

The backward kernels start from rows of q and k as products take them, and from the output as it
was before any expression changed it. So where there are gradients, norms come before the kernels
of both passes and the output's expression after them, as operations of PyTorch that it
differentiates itself, the weights of norms and the tensors of the expression included.

In: an ``Attention``. Out: another one, without what lies around it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Type, Var, lookups, variables

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr, Input
    from flash4gen.ir.nodes import Attention

_FIELDS = frozenset({"q_norm", "k_norm", "output"})


def core(attention: Attention) -> Attention:
    """Return what the kernels of a module compute: all of it where nothing lies around them.

    Tensors that norms and the output's expression alone read are no inputs of it.
    """
    if not is_surrounded(attention):
        return attention
    inner = replace(
        attention,
        q_norm=None,
        k_norm=None,
        epilogue=None,
        fields=tuple(it for it in attention.fields if it.name not in _FIELDS),
    )
    gone = _read(*surroundings(attention)) - _read(*inner.expressions)
    return replace(inner, inputs=tuple(it for it in attention.inputs if it not in gone))


def is_surrounded(attention: Attention) -> bool:
    """Whether PyTorch normalises queries or keys, or changes the output, around the kernels."""
    normed = attention.q_norm is not None or attention.k_norm is not None
    return attention.differentiable and (normed or attention.epilogue is not None)


def surroundings(attention: Attention) -> tuple[Expr, ...]:
    """Return the expressions that are computed around the kernels; none where nothing is."""
    if not is_surrounded(attention):
        return ()
    made = () if attention.epilogue is None else (attention.epilogue,)
    return (*attention.norm_weights, *made)


def moved_around(attention: Attention) -> tuple[Input, ...]:
    """Return the tensors that have a gradient from what lies around the kernels."""
    read = _read(*surroundings(attention))
    return tuple(it for it in attention.inputs if it in read and it.dtype.type is Type.FLOAT)


def places_read(attention: Attention) -> frozenset[Var]:
    """Return what surroundings read of a row's place: position, batch entry, lengths."""
    read = frozenset[Var]().union(*(variables(expr) for expr in surroundings(attention)))
    return read & {Var.Q, Var.B, Var.SEQ_Q, Var.SEQ_K}


def _read(*exprs: Expr) -> frozenset[Input]:
    return frozenset(lookup.tensor for lookup in lookups(*exprs))
