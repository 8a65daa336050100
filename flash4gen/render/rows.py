"""Norms of queries and keys, and what becomes of the output, as text for the templates.

A product is a sum over columns. So the weights of both norms go into the rows of q, once per query
tile, and of the keys' norm only a factor per key is left, on finished products: a key is read as it
lies in memory, and never written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Expr, Literal, Op, Var, variables
from flash4gen.ir.printer import format_expr, format_norm
from flash4gen.ir.simplify import simplify
from flash4gen.render.context_rows import NormText, OutputText
from flash4gen.render.expressions import (
    IN_EAGER,
    IN_LOOP,
    origin_of,
    reads_of,
    returned,
    short,
    values,
)
from flash4gen.render.inputs import attention_names, eager_reads, row_reads
from flash4gen.render.source_expr import TORCH, TRITON, statements, variable_names

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention, Norm

_WIDTH = 88
_ONE = Literal(1.0)


def norm(attention: Attention) -> NormText:
    """Return what the kernel does for the norms."""
    q_norm, k_norm = attention.q_norm, attention.k_norm
    weight = row_weight(attention)
    names = {**variable_names(IN_LOOP), **attention_names(attention)}
    lines: list[str] = []
    if weight != _ONE:
        if Var.D in variables(weight):
            lines.append("columns = tl.arange(0, HEAD_PAD)")
        lines += row_reads(attention, variable_names(IN_LOOP), weight)
        lines += statements([("weight = ", weight)], TRITON, names, _WIDTH)
    return NormText(
        queries=q_norm is not None or weight != _ONE,
        keys=k_norm is not None,
        title=_title(attention),
        origin=origin_of(attention, "q_norm") or origin_of(attention, "k_norm"),
        query_eps=_eps(q_norm),
        key_eps=_eps(k_norm),
        arguments=("q", *(["weight"] if lines else [])),
        weight="\n".join(lines),
    )


def product_factor(attention: Attention, scale: str) -> str:
    """Return the factor on products, in the key loop: the scale, if any, and the norm's."""
    if attention.k_norm is None:
        return scale
    return f"(_key_factor(k) * {scale})" if scale else "_key_factor(k)"


def output(attention: Attention, sums: str) -> OutputText:
    """Return what the kernel does to its output last; ``sums``: it, where not normalised."""
    made = attention.epilogue
    if made is None:
        return OutputText()
    rows = "out" if attention.normalised else "acc"
    names = {**IN_LOOP, Var.OUT: "out" if attention.normalised else sums}
    read, looked_up = reads_of(made), values(made, attention)
    written = attention.field_source("output")
    return OutputText(
        title=written.text if written else format_expr(made),
        text=short(made),
        parameters=(*(var.value for var in read), *looked_up),
        arguments=(*(names[var] for var in read), *looked_up),
        body=returned(made, attention),
        origin=origin_of(attention, "output"),
        reads="\n".join(row_reads(attention, variable_names(IN_LOOP), made)),
        rows=rows,
    )


def eager_norms(attention: Attention) -> tuple[str, ...]:
    """Return the lines that normalise ``queries`` and ``keys`` in PyTorch, by their last axis."""
    norms = (("queries", attention.q_norm), ("keys", attention.k_norm))
    lines = _places("HEAD_DIM", *attention.norm_weights)
    for name, own in norms:
        if own is not None:
            lines += _eager_norm(attention, name, own)
    return tuple(lines)


def eager_output(attention: Attention) -> tuple[str, ...]:
    """Return the lines that change ``out`` in PyTorch: [batch, heads, seq_q, dim]."""
    made = attention.epilogue
    if made is None:
        return ()
    names = {**variable_names(IN_EAGER), **attention_names(attention)}
    return (
        *_places("VALUE_DIM", made),
        *eager_reads(attention, variable_names(IN_EAGER), made),
        *statements([("out = ", made)], TORCH, names, _WIDTH),
    )


def _eager_norm(attention: Attention, name: str, own: Norm) -> list[str]:
    names = {**variable_names(IN_EAGER), **attention_names(attention)}
    lines = [
        f"{name} = {name} * torch.rsqrt({name}.square().mean(-1, keepdim=True) + {own.eps!r})",
    ]
    if own.weight != _ONE:
        lines += eager_reads(attention, variable_names(IN_EAGER), own.weight)
        lines += statements([("weight = ", own.weight)], TORCH, names, _WIDTH)
        lines.append(f"{name} = {name} * weight")
    return lines


def _places(width: str, *exprs: Expr) -> list[str]:
    """Return the line that counts the elements of a row, where they are counted."""
    read = any(Var.D in variables(expr) for expr in exprs)
    return [f"d = torch.arange({width}.value, device=q.device)"] if read else []


def row_weight(attention: Attention) -> Expr:
    """Return what rows of q are multiplied with: the product of the weights of both norms."""
    weights = [weight for weight in attention.norm_weights if weight != _ONE]
    if not weights:
        return _ONE
    first, *more = weights
    return simplify(Apply(Op.MUL, (first, *more))) if more else first


def _title(attention: Attention) -> str:
    own = attention.q_norm
    return "the weights of keys" if own is None else format_norm(own)


def _eps(own: Norm | None) -> str:
    return "" if own is None else repr(own.eps)
