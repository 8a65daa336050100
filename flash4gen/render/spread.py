"""Gradients of inputs whose indices are computed, as text: which element each sum belongs to.

A kernel sums along rows, keys or diagonals, where scores read one element. Several rows may read
the same one, ``rel[h, q // 64]``, and some none: the host computes the indices of each sum, sorts
the sums by element, and adds up those of one element in their order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Literal, Var, Variable, lookups, variables
from flash4gen.ir.printer import format_expr
from flash4gen.render.context_backward import Spread
from flash4gen.render.environment import call
from flash4gen.render.gradients import Where
from flash4gen.render.inputs import attention_names, eager_reads
from flash4gen.render.source_expr import TORCH, statements, variable_names

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.gradients import Gradients, Summed

_WIDTH = 88
_INDENT = 8
_PART = "part_"
_NAMES = {
    **{var: var.value for var in Var},
    Var.Q: "i",
    Var.K: "j",
    Var.HKV: "(h // GROUP.value)",
}
_LENGTHS = {Var.SEQ_Q, Var.SEQ_K}
_POSITIONS = {Var.Q, Var.K}
_HEADS = {Var.H, Var.HKV}

_BATCHED = {
    Where.ROWS: ("i = torch.arange(q.shape[1], device=q.device)",),
    Where.KEYS: ("j = torch.arange(k.shape[1], device=q.device)",),
    Where.DISTANCES: (
        "d = torch.arange(-q.shape[1], k.shape[1], device=q.device)",
        "i, j = (-d).clamp(min=0), d.clamp(min=0)",
    ),
}
"""The positions of each sum; of a distance, those of one of its scores."""

_STARTS = {
    Where.KEYS: "cu_seqlens_k",
    Where.DISTANCES: "(cu_seqlens_q + cu_seqlens_k)",
}
"""Where the sums of packed sequences start, if not where their rows do."""

_PACKED = {
    Where.ROWS: ("i = at - cu_seqlens_q[b]",),
    Where.KEYS: ("j = at - cu_seqlens_k[b]",),
    Where.DISTANCES: (
        "d = at - cu_seqlens_q[1:][b] - cu_seqlens_k[b]",
        "i, j = (-d).clamp(min=0), d.clamp(min=0)",
    ),
}


def spreads(attention: Attention, found: Gradients) -> tuple[Spread, ...]:
    """Return the functions that say which element each sum of a computed look-up belongs to."""
    return tuple(_spread(attention, item) for item in found.summed if item.computed)


def spread_sum(attention: Attention, item: Summed, assigned: str) -> str:
    """Return the line, eight columns in, that gives sums to their elements in the tensor's shape.

    ``assigned``: what stands before the value, such as ``d_rel = ``.
    """
    axes = _summed_axes(item, packed=attention.packed)
    spread = _spread(attention, item)
    values = f"sum_{item.name}"
    if axes:
        values += f".sum({axes[0] if len(axes) == 1 else axes}, keepdim=True)"
    places = f"*{spread.name}({', '.join(spread.names)})"
    given = (values, item.lookup.tensor.name, places)
    return call(given, f"{assigned}_spread(", indent=_INDENT)


def _summed_axes(item: Summed, *, packed: bool) -> tuple[int, ...]:
    """Return the axes of a sum, [batch,] heads and positions, in which no index differs."""
    read = variables(item.lookup)
    along = {*_POSITIONS, Var.B, *_LENGTHS} if packed else _POSITIONS
    axes = (*(() if packed else ({Var.B},)), _HEADS, along)
    return tuple(number for number, axis in enumerate(axes) if not axis & read)


def _spread(attention: Attention, item: Summed) -> Spread:
    lookup, packed = item.lookup, attention.packed
    names = {**variable_names(_NAMES), **attention_names(attention)}
    inner = lookups(*lookup.indices)
    tensors = {nested.tensor for nested in inner}
    read = tuple(tensor.name for tensor in attention.inputs if tensor in tensors)
    starts = (f"sum_{item.name}", "cu_seqlens_q", "cu_seqlens_k")
    given = (*(starts if packed else ("q", "k")), *read)
    own = ("x", *starts[1:]) if packed else ("q", "k")
    places = [_place(index, axis) for axis, index in enumerate(lookup.indices)]
    computed = [
        (place, index)
        for place, index in zip(places, lookup.indices, strict=True)
        if place.startswith(_PART)
    ]
    body = [
        *(_packed_axes(item) if packed else _batched_axes(item)),
        *(eager_reads(attention, variable_names(_NAMES), *lookup.indices) if inner else ()),
        *statements([(f"{place} = ", index) for place, index in computed], TORCH, names, _WIDTH),
    ]
    return Spread(
        name=f"_{item.name}_places",
        element=format_expr(lookup),
        signature=tuple(f"{name}: Tensor" for name in (*own, *read)),
        names=given,
        body=tuple(body),
        places=", ".join(places) if len(places) > 1 else f"({places[0]},)",
    )


def _place(index: Expr, axis: int) -> str:
    """Return an index as the function returns it."""
    if isinstance(index, Literal):
        return repr(index.value)
    if isinstance(index, Variable):
        return _NAMES[index.var].strip("()")
    return f"{_PART}{axis}"


def _batched_axes(item: Summed) -> list[str]:
    read = variables(item.lookup)
    where = Where.ROWS if item.where is Where.SINK else item.where
    lines = []
    if Var.B in read:
        lines.append("b = torch.arange(q.shape[0], device=q.device)[:, None, None]")
    if _HEADS & read:
        lines.append("h = torch.arange(HEADS.value, device=q.device)[:, None]")
    for var, tensor in ((Var.SEQ_Q, "q"), (Var.SEQ_K, "k")):
        if var in read:
            lines.append(f"{var.value} = torch.tensor({tensor}.shape[1], device=q.device)")
    return lines + (list(_BATCHED[where]) if _POSITIONS & read else [])


def _packed_axes(item: Summed) -> list[str]:
    read = variables(item.lookup)
    where = Where.ROWS if item.where is Where.SINK else item.where
    lines = []
    if _HEADS & read:
        lines.append("h = torch.arange(HEADS.value, device=x.device)[:, None]")
    if not {*_POSITIONS, *_LENGTHS, Var.B} & read:
        return lines
    starts = _STARTS.get(where, "cu_seqlens_q")
    lines += [
        "at = torch.arange(x.shape[1], dtype=torch.int32, device=x.device)",
        f"b = torch.bucketize(at, {starts}[1:].contiguous(), right=True)",
    ]
    for var in (Var.SEQ_Q, Var.SEQ_K):
        if var in read:
            lines.append(f"{var.value} = cu_seqlens_{var.value[-1]}.diff()[b]")
    return lines + (list(_PACKED[where]) if _POSITIONS & read else [])
