"""Norms and the output's expression of a module that trains, in PyTorch, around its kernels.

PyTorch differentiates them, the weights of norms and the tensors of the expression included. The
weights of both norms go into rows of q, as in a kernel that does without gradients; keys are
divided by their root mean squares, and rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.core import is_surrounded
from flash4gen.ir.expr import Extent, Literal, Lookup, Var, Variable, lookups, variables
from flash4gen.render.context_surround import AroundText, Surround
from flash4gen.render.expressions import IN_EAGER, short
from flash4gen.render.inputs import HALF, attention_names, eager_reads, ordered, outside
from flash4gen.render.rows import row_weight
from flash4gen.render.source_expr import TORCH, statements, variable_names

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention, Norm

_WIDTH = 88
_OUTSIDE = "_look_up("
_ELEMENTS = "_elements("
"""Look-ups of the formula leave elements out; these are differentiable, and traced as one graph."""


def surround(attention: Attention) -> Surround | None:
    """Return what PyTorch computes around the kernels of an attention, None where it does not."""
    if not is_surrounded(attention):
        return None
    norms, output = _norms(attention), _output(attention)
    lines = [line for each in (norms, output) if each for line in each.body]
    return Surround(norms=norms, output=output, elements=any(_ELEMENTS in it for it in lines))


def _norms(attention: Attention) -> AroundText | None:
    weight = row_weight(attention)
    weighted = weight != Literal(1.0)
    own, of_keys = attention.q_norm, attention.k_norm
    body: list[str] = []
    changed: list[str] = []
    if own is not None or weighted:
        changed.append("q")
        body.append("queries = q.to(wide)")
        body += [] if own is None else [_divided("queries", own)]
    if weighted:
        body += _computed(attention, weight, "weight", "q", "HEAD_DIM")
        body.append("queries = queries * weight")
    if of_keys is not None:
        changed.append("k")
        body += ["keys = k.to(wide)", _divided("keys", of_keys)]
    if not changed:
        return None
    made = {"q": "queries.to(q.dtype)", "k": "keys.to(k.dtype)"}
    return AroundText(
        signature=(
            "q: Tensor",
            "k: Tensor",
            *(f"{it}: Tensor" for it in _tensors(attention, weight)),
        ),
        names=("q", "k", *_tensors(attention, weight)),
        returned="tuple[Tensor, Tensor]" if len(changed) > 1 else "Tensor",
        results=", ".join(changed),
        text=" and ".join(changed),
        body=(*body, f"return {', '.join(made[name] for name in changed)}"),
    )


def _output(attention: Attention) -> AroundText | None:
    made = attention.epilogue
    if made is None:
        return None
    read = variables(made)
    result = "out" if Var.OUT in read else "out.expand(shape)"
    lengths = ["k"] if Var.SEQ_K in read else []
    names = ("out", *lengths, *_tensors(attention, made))
    return AroundText(
        signature=tuple(f"{name}: Tensor" for name in names),
        names=names,
        returned="Tensor",
        results="out",
        text=short(made),
        body=(
            "dtype = out.dtype" if Var.OUT in read else "dtype, shape = out.dtype, out.shape",
            "out = out.to(wide)",
            *_computed(attention, made, "out", "out", "VALUE_DIM"),
            f"return {result}.to(dtype)",
        ),
    )


def _divided(name: str, own: Norm) -> str:
    square = f"{name}.square().mean(-1, keepdim=True)"
    return f"{name} = {name} * torch.rsqrt({square} + {own.eps!r})"


def _computed(attention: Attention, expr: Expr, name: str, rows: str, width: str) -> list[str]:
    """Return the lines that compute an expression beside rows [batch, seq, heads, dim]."""
    names = {**variable_names(IN_EAGER), **attention_names(attention)}
    views = {it: _view(it, attention, width) for it in ordered(expr)}
    others = tuple(it for it, view in views.items() if not view)
    # One look-up may be the index of another one.
    read = eager_reads(attention, variable_names(IN_EAGER), *others) if others else []
    used = outside(expr).union(*(variables(it) for it in others))
    return [
        *_places(used, rows, width),
        *(f"{names[it]} = {view}" for it, view in views.items() if view),
        *(line.replace(_OUTSIDE, _ELEMENTS) for line in read),
        *statements([(f"{name} = ", expr)], TORCH, names, _WIDTH),
    ]


def _view(lookup: Lookup, attention: Attention, width: str) -> str:
    """Return what a look-up reads as a view whose axes are those of rows; empty if it is none.

    Reading through indices would copy a gate, and scatter its gradient.
    """
    axes = (Var.H, Var.D) if attention.packed else (Var.B, Var.Q, Var.H, Var.D)
    text, parts = lookup.tensor.name, []
    wanted = list(axes)
    for at, (index, extent) in enumerate(zip(lookup.indices, lookup.tensor.axes, strict=True)):
        if isinstance(index, Literal) and isinstance(extent, int) and 0 <= index.value < extent:
            parts.append(repr(index.value))
            continue
        var = index.var if isinstance(index, Variable) else None
        own = Var.H if var is Var.HKV else var
        if own not in wanted or not _spans(var, extent, attention, width):
            return ""
        before = wanted.index(own)
        parts += ["None"] * (before if len(wanted) < len(axes) else 0)
        del wanted[: before + 1]
        if var is Var.HKV:
            text += f".repeat_interleave(GROUP.value, {at})"
        parts.append(":")
    parts += ["None"] * (len(wanted) if len(wanted) < len(axes) else 0)
    half = ".float()" if lookup.tensor.dtype in HALF else ""
    return f"{text}{half}" if set(parts) == {":"} else f"{text}[{', '.join(parts)}]{half}"


def _spans(var: Var | None, extent: Extent | int, attention: Attention, width: str) -> bool:
    """Whether a variable takes each index of an axis once, from the first to the last."""
    if var is Var.D:
        return extent == (attention.head_dim if width == "HEAD_DIM" else attention.value_dim)
    known = {
        Var.B: Extent.BATCH,
        Var.Q: Extent.SEQ_Q,
        Var.H: Extent.HEADS,
        Var.HKV: Extent.KV_HEADS,
    }
    return var in known and extent == known[var]


def _places(read: frozenset[Var], rows: str, width: str) -> list[str]:
    """Return the lines that count batch entries, rows, heads and elements, where they are read."""
    device = f"device={rows}.device"
    axes = {
        Var.SEQ_Q: f"seq_q = torch.tensor({rows}.shape[1], {device})",
        Var.SEQ_K: f"seq_k = torch.tensor(k.shape[1], {device})",
        Var.B: f"b = torch.arange({rows}.shape[0], {device})[:, None, None, None]",
        Var.Q: f"i = torch.arange({rows}.shape[1], {device})[:, None, None]",
        Var.H: f"h = torch.arange(HEADS.value, {device})[:, None]",
        Var.D: f"d = torch.arange({width}.value, {device})",
    }
    wanted = read | ({Var.H} if Var.HKV in read else frozenset())
    return [line for var, line in axes.items() if var in wanted]


def _tensors(attention: Attention, *exprs: Expr) -> tuple[str, ...]:
    read = {lookup.tensor for lookup in lookups(*exprs)}
    return tuple(tensor.name for tensor in attention.inputs if tensor in read)
