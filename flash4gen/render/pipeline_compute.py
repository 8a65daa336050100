"""The compute roles of the backward pipeline as text: score, derivative, mask, and their arguments.

The score is the forward pass's, factors folded out of it: x = factor · body(u) with u = prescale ·
q·k. So dx/d(q·k) = factor · prescale · body'(u), of which the constants wait for dQ and dK.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.derivative import derivative
from flash4gen.ir.expr import SCORE, Literal, Var, variables
from flash4gen.ir.masks.scalar import ZERO
from flash4gen.ir.masks.transpose import query_bounds
from flash4gen.ir.printer import format_expr
from flash4gen.ir.simplify import simplify
from flash4gen.render import expressions
from flash4gen.render.blackwell_formats import ELEMENT
from flash4gen.render.context_backward import Derivatives
from flash4gen.render.context_pipeline import ComputeRole, QueryMask
from flash4gen.render.environment import call
from flash4gen.render.inputs import outside
from flash4gen.render.key_masks import is_exact
from flash4gen.render.shared_expr import shared_statements
from flash4gen.render.source_expr import TRITON, variable_names
from flash4gen.schedule.folding import fold

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context_backward import QuerySpans
    from flash4gen.render.context_blackwell import BlackwellContext

_WIDTH = 88
_NAMES = {
    **{var: var.value for var in Var},
    Var.S: "x",
    Var.Q: "q[None, :]",
    Var.K: "k[:, None]",
    Var.SEQ_Q: "problem.seq_q",
    Var.SEQ_K: "problem.seq_k",
}
_BITS_RANGES = {1: ("seen",), 2: ("first", "second")}


def gradient_factor(attention: Attention) -> float:
    """Return the constant that gradients of q and k are multiplied by last."""
    folded = fold(attention.score, attention.scale)
    by = _by(folded.body)
    constant = float(by.value) if isinstance(by, Literal) else 1.0
    return folded.factor * folded.prescale * constant


def compute_role(
    attention: Attention, forward: BlackwellContext, spans: QuerySpans, *, rest: bool
) -> ComputeRole:
    """Return the compute roles of a variant, simplified."""
    body = fold(attention.score, attention.scale).body
    by = _by(body)
    moving = not isinstance(by, Literal)
    mask = _mask(attention, forward, spans)
    read = outside(body) if mask.bits else outside(body) | outside(attention.mask)
    columns = Var.Q in read or not mask.bits
    handed = [var.value for var in (Var.H, Var.HKV, Var.B) if var in read]
    state = ("k", *handed, *(("seen",) if mask.bits else ()))
    fixed = ("memory", "bars", "problem", "step", "q_first", *state)
    return ComputeRole(
        dtype=ELEMENT[attention.dtype],
        prescaled=body != SCORE,
        derivatives=_derivatives(attention, body, by, moving=moving),
        score=_score(attention, body, moving=moving),
        moving=moving,
        weights="moved = bw.mul2(p, by_s)" if Var.S in variables(by) else "moved = p * by_s",
        columns=columns,
        mask=mask,
        full=query_bounds(attention.mask).has_full,
        rest=rest,
        width="HEAD_WIDE" if rest else "HEAD_PAD",
        parameters=(*fixed, "MASKED: gl.constexpr", "PART: gl.constexpr"),
        masked_call=(*fixed, "True", "PART"),
        full_call=(*fixed, "False", "PART"),
    )


def _by(body: Expr) -> Expr:
    return simplify(derivative(body, SCORE))


def _score(attention: Attention, body: Expr, *, moving: bool) -> str:
    if body == SCORE:
        return ""
    arguments = expressions.call_arguments(body, attention, _NAMES)
    if not moving:
        return call(arguments, "x = _score(", indent=8)
    return call(arguments, "x, by_s = _score_gradient(", indent=8)


def _derivatives(attention: Attention, body: Expr, by: Expr, *, moving: bool) -> Derivatives:
    plain = expressions.score(attention, body)
    names = variable_names({var: var.value for var in Var})
    lines = shared_statements([("x", body), ("by_s", by)], TRITON, names, _WIDTH) if moving else []
    text = f"by_s = {format_expr(by)}"
    return Derivatives(
        parameters=plain.parameters,
        text=(text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…",),
        body=(*lines, "return x, by_s") if moving else (),
        origin=plain.origin,
    )


def _mask(attention: Attention, forward: BlackwellContext, spans: QuerySpans) -> QueryMask:
    segments = query_bounds(attention.mask).segments
    bits = all(is_exact(segment) for segment in segments)
    own = {"k_first": "k", "k_last": "k", "seq_q": "problem.seq_q", "seq_k": "problem.seq_k"}
    per_key = tuple(own.get(name, name) for name in spans.arguments)
    ranges = _BITS_RANGES[len(segments)]
    there = forward.key_mask
    arguments = expressions.call_arguments(attention.mask, attention, _NAMES)
    inside = "(q < problem.seq_q)[None, :] & (k < problem.seq_k)[:, None]"
    return QueryMask(
        title=there.title,
        origin=there.origin,
        helpers=not there.bits,
        compares=not bits and bool(there.bits),
        text=there.text,
        parameters=there.parameters,
        body=there.body,
        seen=f"{', '.join(ranges)} = _seeing_queries({', '.join(per_key)})",
        bounds=tuple(
            text
            for name in ranges
            for text in (
                f"{name}[0] + 0 * k",
                f"gl.where(k < problem.seq_k, gl.minimum({name}[1], problem.seq_q), 0)",
            )
        ),
        bits=tuple(
            _bits(index, starts=segment.live_start != ZERO)
            for index, segment in enumerate(segments)
            if bits
        ),
        visible=f"{inside} & _visible({', '.join(arguments)})",
    )


def _bits(index: int, *, starts: bool) -> str:
    below = f"_bits_below(seen[{2 * index + 1}] - q)"
    if starts:
        below += f" & ~_bits_below(seen[{2 * index}] - q)"
    return f"bits = {below}" if index == 0 else f"bits = bits | ({below})"
