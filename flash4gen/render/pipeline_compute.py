"""The compute roles of the backward pipeline as text: score, derivative, mask, and their arguments.

The score is the forward pass's, factors folded out of it: x = factor · body(u) with u = prescale ·
q·k. So dx/d(q·k) = factor · prescale · body'(u), of which the constants wait for dQ and dK.
"""

from __future__ import annotations

from dataclasses import replace
from math import frexp
from typing import TYPE_CHECKING

from flash4gen.ir.bounded import is_bounded
from flash4gen.ir.derivative import derivative
from flash4gen.ir.expr import ALWAYS, SCORE, Apply, Literal, Op, Var, lookups, variables
from flash4gen.ir.masks.scalar import ZERO
from flash4gen.ir.masks.transpose import query_bounds
from flash4gen.ir.printer import format_expr
from flash4gen.ir.simplify import simplify
from flash4gen.render import expressions
from flash4gen.render.blackwell_formats import ELEMENT
from flash4gen.render.context_backward import Derivatives
from flash4gen.render.context_pipeline import ComputeRole, Fragments, Places, QueryMask
from flash4gen.render.environment import call
from flash4gen.render.gradients import gradients
from flash4gen.render.inputs import attention_names, ordered, outside
from flash4gen.render.key_masks import is_exact, live, split
from flash4gen.render.pipeline_inputs import (
    later_gradients,
    pipeline_inputs,
    row_factors,
)
from flash4gen.render.pipeline_scores import row_line, score_reads
from flash4gen.render.shared_expr import shared_statements
from flash4gen.render.source_expr import TRITON, variable_names
from flash4gen.schedule.backward.pipeline.inputs import beside, per_score
from flash4gen.schedule.folding import fold

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context_backward import QuerySpans
    from flash4gen.render.context_blackwell import BlackwellContext
    from flash4gen.render.context_pipeline import PipelineInputs
    from flash4gen.schedule.backward.pipeline.model import PipelineSchedule

_WIDTH = 88
_NAMES = {
    **{var: var.value for var in Var},
    Var.S: "x",
    Var.Q: "q[None, :]",
    Var.K: "k[:, None]",
    Var.SEQ_Q: "problem.seq_q",
    Var.SEQ_K: "problem.seq_k",
}
_ANEW = {**_NAMES, Var.SEQ_Q: "seq_q", Var.SEQ_K: "seq_k"}
"""Where distances are computed anew in each step, and for gradients of inputs again."""

_BITS_RANGES = {1: ("seen",), 2: ("first", "second")}

_OF_SHARE = Fragments(
    offset=" + PART * SHARE",
    column="PART * SHARE + first",
    kept="first // FRAGMENT",
    weights="weights.slice(first, FRAGMENT)",
)
_OF_TILE = Fragments(
    offset="", column="first", kept="first // HALF_Q", weights="_piece(memory.s, first)"
)
"""Of a pair of CTAs: a role's queries are some of those whose dQ each CTA has."""

_OF_PART = replace(_OF_TILE, kept="0")
"""The same with heads in two parts: a role has one fragment, half of which is each CTA's."""


_WRITES = (
    *("grad", "desc", "staging", "WIDTH: gl.constexpr", "factor: gl.constexpr"),
    *("k_tile", "hkv"),
)


def places(attention: Attention) -> Places:
    """Return where copies of rows begin and end.

    Those of packed sequences end where the sequence does (``templates/concern/lengths``).
    """
    return _PACKED if attention.packed else _BATCHED


_PARTS = "COMPUTE_ROLES.value * QUERY_SPANS.value"
_BATCHED = Places(
    queries="b, q",
    keys="b, k_tile * GRADIENT_K",
    entry="b",
    box="1",
    turn=(
        "line = (b * HEADS + h) * gl.cdiv(problem.seq_q, GRADIENT_Q)",
        "turn = turn_ptr + line + _query_tile(i, span)",
    ),
    turns="[batch, HEADS, query tiles]",
    summed=(
        "at = (run % QUERY_SPANS * COMPUTE_ROLES + PART) * (problem.packs // KV_HEADS) + b",
        "at = (at * HEADS + h).to(gl.int64) * problem.seq_k + k",
    ),
    shape=(_PARTS, "batch", "HEADS.value", "seq_k"),
    added="sum(0)",
    programs="k_tiles * packs",
)
_PACKED = Places(
    queries="FAR, problem.q_end, FAR - problem.seq_q + q",
    keys="FAR, problem.k_end, FAR - problem.seq_k + k_tile * GRADIENT_K",
    entry="problem",
    box="1, 1",
    turn=(
        "slot = (problem.q_end - problem.seq_q) // GRADIENT_Q + b + _query_tile(i, span)",
        "turn = turn_ptr + slot * HEADS + h",
    ),
    turns="[slots of query tiles, HEADS]",
    summed=(
        "at = (problem.k_end - problem.seq_k + k).to(gl.int64) * HEADS + h",
        "at = at * (QUERY_SPANS * COMPUTE_ROLES) + run % QUERY_SPANS * COMPUTE_ROLES + PART",
    ),
    shape=("k.shape[0]", "HEADS.value", _PARTS),
    added="sum(-1).T",
    programs="slots * KV_HEADS.value",
)


def _fragments(*, rest: bool, pair: bool) -> Fragments:
    """Return how a step says which queries a fragment has."""
    if not pair:
        return _OF_SHARE
    return _OF_PART if rest else _OF_TILE


def gradient_factor(attention: Attention) -> float:
    """Return the constant that gradients of q and k are multiplied by last."""
    return _constants(attention) / score_slope(attention)


def score_slope(attention: Attention) -> float:
    """Return the constant that gradients of scores are multiplied by before they are rounded.

    A sigmoid's have no other error than that of 16 bits: rounded as they are, by the scaled
    product, they have the same one as the formula with numbers of 16 bits has.
    """
    if attention.normalised:
        return 1.0
    slope = _constants(attention) / attention.scale
    return 1.0 if abs(frexp(slope)[0]) == 1 / 2 else slope


def _constants(attention: Attention) -> float:
    """Return the constant factors of the derivative of the score by the product."""
    folded = fold(attention.score, attention.scale)
    constant, by = _by(attention, folded.body)
    constant *= float(by.value) if isinstance(by, Literal) else 1.0
    return folded.factor * folded.prescale * constant


def compute_role(
    attention: Attention, forward: BlackwellContext, spans: QuerySpans, schedule: PipelineSchedule
) -> ComputeRole:
    """Return the compute roles of a variant, simplified."""
    rest, pair = schedule.rest > 0, schedule.ctas > 1
    body = fold(attention.score, attention.scale).body
    _, by = _by(attention, body)
    found = gradients(attention)
    inputs = pipeline_inputs(attention, forward, copied=schedule.rows_copied)
    sloped = score_slope(attention) != 1.0
    later = later_gradients(attention, forward, found, by, _ANEW, sloped=sloped)
    moves = not isinstance(by, Literal) and not later.there
    mask = _mask(attention, forward, spans)
    compared = split(attention.mask)[1] if mask.bits else attention.mask
    scored = [it for it in ordered(attention.score) if per_score(it)]
    masked = [it for it in ordered(attention.mask) if per_score(it) and it not in scored]
    read = outside(body) | outside(compared)
    columns = Var.Q in read or not mask.bits
    read = read.union(*(outside(at) for it in (*scored, *masked) for at in it.indices))
    slope = "p" if attention.normalised else "slope"
    sums = tuple(value.name for value in later.sums)
    fixed, taken = _handed(inputs, mask, read, sums, ahead=bool(scored or masked))
    return ComputeRole(
        dtype=ELEMENT[attention.dtype],
        prescaled=body != SCORE,
        derivatives=_derivatives(attention, body, by, moving=moves),
        score=_score(attention, body, _ANEW if later.columns else _NAMES, moving=moves),
        normalised=attention.normalised,
        slope=slope,
        sloped=sloped and not later.there,
        moving=moves,
        guarded=not is_bounded(by),
        weights=_moved(by, slope),
        columns=columns,
        mask=mask,
        full=query_bounds(attention.mask).has_full,
        rest=rest,
        pair=pair,
        first_rests=schedule.first_rests,
        places=places(attention),
        fragments=_fragments(rest=rest, pair=pair),
        row_slots="ROW_STAGES" if pair else "Q_STAGES",
        width="HEAD_WIDE" if rest else "HEAD_PAD",
        parameters=(*fixed, "MASKED: gl.constexpr", "PART: gl.constexpr"),
        masked_call=(*fixed, "True", "PART"),
        full_call=(*fixed, "False", "PART"),
        inputs=inputs,
        later=later,
        rows=tuple(row_line(value.name) for value in inputs.rows),
        scored=score_reads(attention, forward, scored, _NAMES, 8),
        masked=score_reads(attention, forward, masked, _NAMES, 12),
        ahead=bool(scored or masked),
        factors=row_factors(attention, found, by),
        handed=taken,
        takes=("out_desc", *(("rest_desc",) if rest else ()), *taken, "PART: gl.constexpr"),
        results=", ".join(sums),
        assigned=f"{', '.join(sums)} = " if sums else "",
        column="column" if rest else "0",
        writes=(*_WRITES, places(attention).entry, *(("column=0",) if rest else ())),
    )


def _handed(
    inputs: PipelineInputs,
    mask: QueryMask,
    read: frozenset[Var],
    sums: tuple[str, ...],
    *,
    ahead: bool,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what a step is handed, and what a role is.

    Args:
        inputs: the tensors that are read.
        mask: how elements are masked.
        read: the variables that a step reads.
        sums: gradients of inputs that it adds up.
        ahead: whether steps read tensors.
    """
    heads = [var.value for var in (Var.H, Var.HKV, Var.B) if var in read]
    state = ("k", *heads, *(("seen",) if mask.bits else ()), *inputs.handed)
    tensors = ("inputs",) if ahead else ()
    fixed = ("memory", "bars", *tensors, "problem", "step", "q_first", *state, *sums)
    given = ("inputs",) if ahead or inputs.program else ()
    return fixed, (*(f"{name}_ptr" for name in sums), *given, "memory", "bars", "problem")


def _moved(by: Expr, slope: str) -> str:
    """Return the assignment of a weight times the derivative of its score."""
    varies = Var.S in variables(by)
    return f"moved = bw.mul2({slope}, by_s)" if varies else f"moved = {slope} * by_s"


def _by(attention: Attention, body: Expr) -> tuple[float, Expr]:
    """Return a constant and the derivative of the score by the product, but for that constant.

    Gradients of scores are then rounded to 16 bits as they are in portable kernels. Where there are
    neither portable sums nor tensors that are read for each score, modules have had the constant in
    the derivative from the first, and keep it.
    """
    by = simplify(derivative(body, SCORE))
    more = beside(attention) or any(map(per_score, lookups(attention.score)))
    if more and isinstance(by, Apply) and by.op is Op.MUL:
        for constant, rest in (by.args, by.args[::-1]):
            if isinstance(constant, Literal):
                return float(constant.value), rest
    return 1.0, by


def _score(attention: Attention, body: Expr, names: dict[Var, str], *, moving: bool) -> str:
    if body == SCORE:
        return ""
    arguments = expressions.call_arguments(body, attention, names)
    if not moving:
        return _inner(call(arguments, "x = _score(", indent=8), 8)
    return _inner(call(arguments, "x, by_s = _score_gradient(", indent=8), 8)


def _inner(text: str, indent: int) -> str:
    """Return lines as a template indents them: all but the first by as much."""
    return text.replace("\n" + " " * indent, "\n")


def _derivatives(attention: Attention, body: Expr, by: Expr, *, moving: bool) -> Derivatives:
    plain = expressions.score(attention, body)
    names = {**variable_names({var: var.value for var in Var}), **attention_names(attention)}
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
    there = forward.key_mask
    plain, opaque = split(attention.mask)
    known = query_bounds(plain).segments
    same = [live(one) for one in known] == [live(one) for one in segments]
    bits = same and all(is_exact(segment) for segment in known)
    # Beside bits, what tensors say is compared by the forward pass's function, where it has one.
    bits = bits and (opaque == ALWAYS or there.impl == "bits_read")
    own = {"k_first": "k", "k_last": "k", "seq_q": "problem.seq_q", "seq_k": "problem.seq_k"}
    per_key = tuple(own.get(name, name) for name in spans.arguments)
    ranges = _BITS_RANGES[len(segments)]
    arguments = expressions.call_arguments(attention.mask, attention, _NAMES)
    function = "_seen" if there.impl == "bits_read" else "_visible"
    inside = "(q < problem.seq_q)[None, :] & (k < problem.seq_k)[:, None]"
    return QueryMask(
        title=there.title,
        origin=there.origin,
        helpers=not there.bits,
        function="" if bits or not there.bits else function,
        text=expressions.short(attention.mask),
        parameters=(
            *(var.value for var in expressions.reads_of(attention.mask)),
            *expressions.values(attention.mask, attention),
        ),
        body=expressions.returned(attention.mask, attention),
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
        visible=_inner(call(arguments, f"visible = {inside} & {function}(", indent=12), 12),
        compared=_compared(attention, opaque) if bits and opaque != ALWAYS else "",
    )


def _compared(attention: Attention, opaque: Expr) -> str:
    arguments = expressions.call_arguments(opaque, attention, _NAMES)
    return _inner(call(arguments, "visible = _visible(", indent=12), 12)


def _bits(index: int, *, starts: bool) -> str:
    below = f"_bits_below(seen[{2 * index + 1}] - q)"
    if starts:
        below += f" & ~_bits_below(seen[{2 * index}] - q)"
    return f"bits = {below}" if index == 0 else f"bits = bits | ({below})"
