"""Input tensors of the backward pipeline as text: who reads them, and how gradients are summed.

What depends on the query is read by the load warp, beside lse; everything else by the compute
warps, once per walk over queries. Which is which, and where gradients are summed, was decided by
``schedule/backward/pipeline/inputs.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.derivative import derivative
from flash4gen.ir.expr import (
    SCORE,
    Apply,
    InputDType,
    Literal,
    Op,
    Type,
    Var,
    lookups,
    variables,
    walk,
)
from flash4gen.ir.printer import format_expr
from flash4gen.render import expressions
from flash4gen.render.context_backward import Derivatives, Value
from flash4gen.render.context_inputs import Inputs
from flash4gen.render.context_pipeline import (
    LaterGradients,
    PipelineInputs,
    RowFactors,
    RowValue,
)
from flash4gen.render.environment import call
from flash4gen.render.gradients import Where, factor
from flash4gen.render.inputs import (
    attention_names,
    eager_reads,
    ordered,
    outside,
    read,
)
from flash4gen.render.pipeline_scores import (
    OWNER,
    element_texts,
    read_by_element,
    row_line,
    score_tensors,
    step_lines,
)
from flash4gen.render.shared_expr import shared_statements
from flash4gen.render.source_expr import TORCH, TRITON, variable_names
from flash4gen.schedule.backward.pipeline.inputs import (
    beside,
    per_score,
    read_in_steps,
    reads_score,
    row_lookups,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flash4gen.ir.expr import Expr, Input, Lookup
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context_blackwell import BlackwellContext
    from flash4gen.render.context_inputs import InputText
    from flash4gen.render.gradients import Gradients, Summed

_WIDTH = 88
_PLAIN = {
    **{var: var.value for var in Var},
    Var.SEQ_Q: "problem.seq_q",
    Var.SEQ_K: "problem.seq_k",
}
_WHOLE = {Op.ADD, Op.SUB, Op.MUL, Op.NEG, Op.TO_FLOAT, Op.ABS}
_ROWS = ("lse_ptr", "delta_ptr")
_COPIED = ("lse_desc", "delta_desc")
_TOTALS = ("dtotal_ptr",)
_GIVEN = "of each query, as `_rows_kernel` gives it"
_LSE = RowValue("lse", "gl.float32", _GIVEN)
_DELTA = RowValue("delta", "gl.float32", "likewise")
_DTOTAL = RowValue("delta", "gl.float32", "gradient of each query's sum of weights")
_LINE = "(b * HEADS + h).to(gl.int64)"
_PADDED = "padded = gl.cdiv(problem.seq_q, GRADIENT_Q) * GRADIENT_Q"
_STEP = ("memory", "bars", "step")
_IN_TORCH = {**{var: var.value for var in Var}, Var.Q: "i", Var.HKV: "(h // GROUP.value)"}
_AXES = {
    frozenset({Var.SEQ_Q}): "seq_q = torch.tensor(q.shape[1], device=q.device)",
    frozenset({Var.SEQ_K}): "seq_k = torch.tensor(k.shape[1], device=q.device)",
    frozenset({Var.Q}): "i = torch.arange(q.shape[1], device=q.device)",
    frozenset({Var.H, Var.HKV}): "h = torch.arange(HEADS.value, device=q.device)[:, None]",
    frozenset({Var.B}): "b = torch.arange(q.shape[0], device=q.device)[:, None, None]",
}
_PER_KEY = {**_PLAIN, Var.K: "k[:, None]"}


def pipeline_inputs(
    attention: Attention, forward: BlackwellContext, *, copied: bool
) -> PipelineInputs:
    """Return how kernel and warps read the tensors of score and mask.

    Args:
        attention: the variant, simplified.
        forward: the context of its forward pass, which may read single elements too.
        copied: whether lse and delta come by TMA.
    """
    found = ordered(attention.score, attention.mask)
    texts, single = element_texts(attention, forward), read_by_element(attention)
    known = attention_names(attention)
    rows = [it for it in found if Var.Q in variables(it) and not per_score(it)]
    once = [lookup for lookup in found if Var.Q not in variables(lookup)]
    own, used = row_lookups(attention), read_in_steps(attention)
    values = tuple(_row_value(it, known[it]) for it in own)
    numbers = row_numbers(normalised=attention.normalised, copied=copied)
    more = (*(("inputs", *_heads(rows)) if own else ()), "problem")
    # Rows past the end are in no tensor, or are those of the next sequence.
    bounded = attention.packed or not attention.normalised
    placed = bool(own) or bounded
    first, own_first = (("line", "q"),) * 2 if copied else (("first",), ("line + q",))
    fields = tuple(name for text in texts.values() for name in text.handed)
    return PipelineInputs(
        tensors=tuple(texts.values()),
        fields=fields,
        program=_lines(once, texts, {**variable_names(_PER_KEY), **known}, 8),
        handed=tuple(known[lookup] for lookup in once if lookup in used),
        rows=values,
        stored=(*((_LSE, _DELTA) if attention.normalised else (_DTOTAL,)), *values),
        numbers=numbers,
        normalised=attention.normalised,
        copied=copied,
        bounded=bounded,
        loads=_loads(normalised=attention.normalised, bounded=bounded),
        line="b * HEADS + h" if copied else _line(attention),
        line_rows="" if bounded or copied else _PADDED,
        row_step=_lines(rows, texts, {**variable_names(_PLAIN), **known}, 4),
        row_parameters=(*numbers, *first, *_STEP, *(("q_first", *more) if placed else ())),
        row_arguments=(*numbers, *own_first, *_STEP, *(("q", *more) if placed else ())),
        functions=Inputs(
            tensors=tuple(
                text
                for tensor, text in texts.items()
                if tensor in single and text not in forward.inputs.tensors
            ),
            program="",
            step="",
            handed=(),
            needs_seq_q=False,
            by_element=bool(texts) and not forward.inputs.by_element,
        ),
        scores=score_tensors(attention, texts),
    )


def row_numbers(*, normalised: bool, copied: bool) -> tuple[str, ...]:
    """Return what says where each query's numbers are: lse and delta, or gradients of totals."""
    return _COPIED if copied else _ROWS if normalised else _TOTALS


def _line(attention: Attention) -> str:
    """Return where a head's queries begin among what each query has."""
    if attention.packed:
        return "h.to(gl.int64) * problem.rows + problem.q_end - problem.seq_q"
    return f"{_LINE} * {'padded' if attention.normalised else 'problem.seq_q'}"


def _loads(*, normalised: bool, bounded: bool) -> tuple[str, ...]:
    """Return the lines that read what each query has."""
    if not normalised:
        return ("delta = gl.load(dtotal_ptr + at, mask=there, other=0.0)",)
    if not bounded:
        return ("lse, delta = gl.load(lse_ptr + at), gl.load(delta_ptr + at)",)
    return (
        'lse = gl.load(lse_ptr + at, mask=there, other=float("-inf"))',
        "delta = gl.load(delta_ptr + at, mask=there, other=0.0)",
    )


def later_gradients(
    attention: Attention,
    forward: BlackwellContext,
    found: Gradients,
    by: Expr,
    names: Mapping[Var, str],
    *,
    sloped: bool,
) -> LaterGradients:
    """Return what a step adds up beside dS, once the gradients of weights are there.

    Args:
        attention: the variant, simplified.
        forward: the context of its forward pass.
        found: its gradients.
        by: derivative of the score by the product, factors aside.
        names: what variables are called in a step.
        sloped: whether gradients of scores hold constant factors of the derivative.
    """
    others = beside(attention)
    inside = tuple(item for item in found.summed if item.lookup not in others)
    sums = tuple(item for item in inside if _is_summed(item))
    factors = tuple(item for item in inside if _is_factor(item))
    there = bool(sums or factors)
    moving = () if isinstance(by, Literal) or not there else (("by_s", by),)
    targets = [*moving, *((f"by_{it.name}", it.by) for it in sums if not _fixed(it))]
    known = {**variable_names({var: var.value for var in Var}), **attention_names(attention)}
    read = frozenset[Var]().union(*(outside(expr) for _, expr in targets))
    values = [one for _, expr in targets for one in expressions.values(expr, attention)]
    order = [name for name in attention_names(attention).values() if name in values]
    given = [var for var in expressions.ORDER if var in read]
    results = tuple(name for name, _ in targets)
    lines = shared_statements(targets, TRITON, known, _WIDTH) if targets else []
    text = [f"{name} = {format_expr(expr)}" for name, expr in targets]
    arguments = (*(names[var] for var in given), *order)
    every = ordered(*(expr for _, expr in targets))
    own = attention_names(attention)
    scored = any(map(per_score, every))
    rows = [own[it] for it in every if it in row_lookups(attention)]
    return LaterGradients(
        there=there,
        function=Derivatives(
            parameters=(*(var.value for var in given), *order),
            text=tuple(line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…" for line in text),
            body=(*lines, f"return {', '.join(results)}") if targets else (),
            origin="",
        ),
        call=_called(arguments, f"{', '.join(results)} = _later_gradients(") if targets else "",
        guards=tuple(name for name, expr in targets if not _finite(expr)),
        sums=tuple(Value(f"sum_{item.name}", f"dx{factor(item.by, item.name)}") for item in sums),
        moving=bool(moving),
        sloped=there and sloped,
        apart=bool(factors),
        rows=tuple(row_line(name) for name in own.values() if name in rows),
        reads=step_lines(attention, forward, every, names, 8),
        columns=Var.Q in read or scored,
    )


def _row_value(lookup: Lookup, name: str) -> RowValue:
    return RowValue(name, _element(lookup), f"{format_expr(lookup)} of each query")


def _called(arguments: tuple[str, ...], prefix: str) -> str:
    """Return a call in a step; a template indents all of its lines but the first."""
    return call(arguments, prefix, indent=8).replace("\n" + " " * 8, "\n")


def _heads(rows: Iterable[Lookup]) -> tuple[str, ...]:
    """Return the head and batch entry, as far as rows are read at them."""
    read = frozenset[Var]().union(*(outside(at) for lookup in rows for at in lookup.indices))
    return tuple(var.value for var in (Var.H, Var.HKV, Var.B) if var in read)


def row_factors(attention: Attention, found: Gradients, by: Expr) -> RowFactors:
    """Return what scores are multiplied by, as lines in PyTorch.

    A score is then s · f, of which Σ dx · s is the product of q and what dQ is before it is
    multiplied by f.

    Args:
        attention: the variant, simplified.
        found: its gradients.
        by: derivative of the score by the product, factors aside: f.
    """
    others = beside(attention)
    items = tuple(it for it in found.summed if _is_factor(it) and it.lookup not in others)
    slopes = tuple((f"by_{item.name}", derivative(item.by, SCORE)) for item in items)
    targets = [("by_s", by), *slopes] if items else []
    exprs = tuple(expr for _, expr in targets)
    names = {**variable_names(_IN_TORCH), **attention_names(attention)}
    read = frozenset[Var]().union(*(variables(expr) for expr in exprs))
    tensors = {lookup.tensor for lookup in ordered(*exprs)}
    given = ("q", "k", *(tensor.name for tensor in attention.inputs if tensor in tensors))
    lines = [*eager_reads(attention, variable_names(_IN_TORCH), *exprs)] if tensors else []
    return RowFactors(
        signature=tuple(f"{name}: Tensor" for name in given),
        names=given,
        results=tuple(name for name, _ in targets),
        given=tuple(f"ones * {name}" for name, _ in targets),
        axes=tuple(text for held, text in _AXES.items() if held & read),
        body=(*lines, *shared_statements(targets, TORCH, names, _WIDTH)),
        products=tuple(
            Value(f"sum_{item.name}", f"products * by_{item.name} * {attention.scale!r}")
            for item in items
        ),
    )


def _is_summed(item: Summed) -> bool:
    """Whether the thread of a key sums a gradient."""
    return item.where is not Where.SINK and not reads_score(item.by)


def _is_factor(item: Summed) -> bool:
    """Whether a gradient comes from dQ."""
    return item.where is not Where.SINK and reads_score(item.by)


def _finite(expr: Expr) -> bool:
    """Whether an expression is a sum or product of positions, which is never infinite."""
    return all(not isinstance(it, Apply) or it.op in _WHOLE for it in walk(expr)) and not lookups(
        expr
    )


def _fixed(item: Summed) -> bool:
    return isinstance(item.by, Literal)


def _lines(
    some: Iterable[Lookup],
    texts: Mapping[Input, InputText],
    known: Mapping[Expr, str],
    indent: int,
) -> str:
    return "\n".join(read(it, texts[it.tensor], known, indent, OWNER) for it in some)


def _element(lookup: Lookup) -> str:
    if lookup.type is Type.FLOAT:
        return "gl.float32"
    return "gl.int64" if lookup.tensor.dtype is InputDType.I64 else "gl.int32"
