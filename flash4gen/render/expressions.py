"""The score and the mask of a variant as text for the templates: parameters, arguments, bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import (
    SCORE,
    Apply,
    Expr,
    Literal,
    Lookup,
    Op,
    Var,
    Variable,
    lookups,
    variables,
    walk,
)
from flash4gen.ir.masks import (
    Compute,
    KeyBounds,
    Row,
    RowPosition,
    Scalar,
    Segment,
    always_true,
    bounds,
)
from flash4gen.ir.masks.transpose import query_bounds
from flash4gen.ir.printer import format_expr
from flash4gen.render.context import (
    Arithmetic,
    Eager,
    LoopKind,
    Mask,
    Score,
    SegmentText,
)
from flash4gen.render.context_backward import QuerySpans
from flash4gen.render.dropout import eager_kept
from flash4gen.render.inputs import (
    arguments,
    attention_names,
    eager_reads,
    in_loop,
    inputs,
    needs_look_up,
    outside,
)
from flash4gen.render.source_expr import (
    TORCH,
    TRITON,
    Helper,
    helpers,
    statements,
    uses_libdevice,
    variable_names,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context_inputs import Inputs

DROPOUT_SIGNATURE = {
    "dropout_seed": "dropout_seed: Tensor | int | None = None",
    "dropout_offset": "dropout_offset: Tensor | int = 0",
}
"""The parameters of a public function that say which weights it drops."""

_WIDTH = 88
_DOCUMENTED = 60
"""Characters of an expression that its function's docstring quotes."""

ORDER = (Var.S, Var.OUT, Var.Q, Var.K, Var.D, Var.B, Var.H, Var.HKV, Var.SEQ_Q, Var.SEQ_K)
PLAIN = {var: var.value for var in ORDER}
IN_LOOP = {
    **PLAIN,
    Var.Q: "rows[:, None]",
    Var.K: "keys[None, :]",
    Var.D: "columns[None, :]",
}
IN_EAGER = {**PLAIN, Var.S: "x", Var.Q: "i", Var.K: "j", Var.HKV: "(h // GROUP.value)"}
# A bound reads the tile's first and last row and never the key, so the two positions are free.
_IN_BOUNDS = {**PLAIN, Var.Q: Row.FIRST.value, Var.K: Row.LAST.value}
# The bounds of a transposed mask: its rows are keys, its number of keys is that of queries.
_IN_QUERY_BOUNDS = {
    **PLAIN,
    Var.Q: "k_first",
    Var.K: "k_last",
    Var.SEQ_Q: "seq_k",
    Var.SEQ_K: "seq_q",
}
_NOWHERE = Segment(Literal(0), Literal(0), Literal(0), Literal(0))


def arithmetic(attention: Attention, score: Expr | None = None, tanh: str = "tanh") -> Arithmetic:
    """Return which helper functions the module must define.

    Args:
        attention: the variant.
        score: printed instead of its score.
        tanh: the field for the form that a hyperbolic tangent is printed in.
    """
    bound = _bound_exprs(bounds(attention.mask))
    return _helpers_of([score or attention.score, *attention.expressions[1:], *bound], tanh)


def arithmetic_of(
    attention: Attention, derivatives: Sequence[Expr], tanh: str = "tanh"
) -> Arithmetic:
    """Return the same for a module with derivatives and query ranges of key tiles."""
    bound = _bound_exprs(bounds(attention.mask)) + _bound_exprs(query_bounds(attention.mask))
    return _helpers_of([*attention.expressions, *derivatives, *bound], tanh)


def tanh_form(*, waves: bool) -> str:
    """Return the form of a hyperbolic tangent in Triton; ``waves``: AMD's have no fast quotient."""
    return "tanh_reciprocal" if waves else "tanh"


def sigmoid_form(*, waves: bool) -> str:
    """Return the file of sigmoid weights, by the same."""
    return "sigmoid_reciprocal" if waves else "sigmoid"


def _helpers_of(printed: Sequence[Expr], tanh: str) -> Arithmetic:
    used = frozenset(helper for expr in printed for helper in helpers(expr, TRITON))
    return Arithmetic(
        tanh=Helper.TANH in used and tanh == "tanh",
        tanh_approx=Helper.TANH in used and tanh == "tanh_approx",
        tanh_packed=Helper.TANH in used and tanh == "tanh_packed",
        floor_div=Helper.FLOOR_DIV in used,
        floor_mod=Helper.FLOOR_MOD in used,
        tanh_reciprocal=Helper.TANH in used and tanh == "tanh_reciprocal",
        libdevice=any(uses_libdevice(expr) for expr in printed),
    )


def has_sigmoid(printed: Sequence[Expr]) -> bool:
    """Whether some of the expressions call for a sigmoid."""
    return any(
        isinstance(node, Apply) and node.op is Op.SIGMOID for expr in printed for node in walk(expr)
    )


def loop_reads(attention: Attention) -> frozenset[Var]:
    """Return what the key loop must be handed for the score and the mask."""
    exprs = (attention.score, attention.mask)
    read = outside(attention.score) | outside(attention.mask)
    for lookup in lookups(*exprs):
        if in_loop(lookup):
            read = read.union(*(outside(index) for index in lookup.indices))
    return read


def input_tensors(attention: Attention) -> Inputs:
    """Return how the kernel reads the tensors that score and mask look up."""
    return inputs(attention, variable_names(IN_LOOP))


def signature(attention: Attention, *, named: bool = False) -> tuple[str, ...]:
    """Return the parameters of the module's functions with their types."""
    seeds = DROPOUT_SIGNATURE if named and attention.dropout else {}
    more = [
        seeds.get(argument.name, f"{argument.name}: Tensor") for argument in arguments(attention)
    ]
    star = ["*"] if named and more else []
    flag = ["check_lengths: bool = False"] if named and attention.length_tensors else []
    return ("q: Tensor", "k: Tensor", "v: Tensor", *star, *more, *flag)


def box_place(attention: Attention) -> frozenset[Var]:
    """Return what says where a box of keys lies beside its rows."""
    return frozenset({Var.HKV} if attention.packed else {Var.B, Var.HKV})


def loop_arguments(read: frozenset[Var]) -> tuple[str, ...]:
    """Return the names under which the key loop gets what it reads, in a fixed order."""
    given = {Var.Q: "rows", Var.B: "b", Var.H: "h", Var.HKV: "hkv", Var.SEQ_Q: "seq_q"}
    return tuple(name for var, name in given.items() if var in read)


def score(attention: Attention, body: Expr | None = None) -> Score:
    """Return the score concern; the identity costs nothing. ``body`` is printed in its stead."""
    printed = body or attention.score
    if printed == SCORE:
        return Score(impl="identity")
    read, looked_up = reads_of(printed), values(printed, attention)
    return Score(
        impl="expr",
        title=_written(attention, "score"),
        text=short(printed),
        parameters=(*(var.value for var in read), *looked_up),
        arguments=(*(IN_LOOP[var] for var in read), *looked_up),
        body=returned(printed, attention),
        origin=origin_of(attention, "score"),
    )


def mask(attention: Attention, rows: str = "TILE_Q") -> Mask:
    """Return the mask concern with its loop bounds; ``rows`` names the queries of a work tile."""
    known = bounds(attention.mask)
    # A mask that is never true has no range; its kernel runs no loop and stores empty rows.
    segments = known.segments or (_NOWHERE,)
    read, looked_up = reads_of(attention.mask), values(attention.mask, attention)
    in_bounds = {var for expr in _bound_exprs(known) for var in variables(expr)}
    names = tuple(
        _IN_BOUNDS[var]
        for var in (Var.Q, Var.K, Var.B, Var.H, Var.HKV, Var.SEQ_Q, Var.SEQ_K)
        if var in in_bounds or var in (Var.Q, Var.K)
    )
    return Mask(
        impl="full" if known.always_full else "expr",
        title=_written(attention, "mask"),
        text=short(attention.mask),
        parameters=(*(var.value for var in read), *looked_up),
        arguments=(*(IN_LOOP[var] for var in read), *looked_up),
        body=returned(attention.mask, attention),
        origin=origin_of(attention, "mask"),
        segments=tuple(_segment(s, i, len(segments)) for i, s in enumerate(segments)),
        two=len(segments) > 1,
        ordered=known.ordered,
        rows=rows,
        range_parameters=names,
        range_arguments=names,
    )


def call_arguments(expr: Expr, attention: Attention, names: Mapping[Var, str]) -> tuple[str, ...]:
    """Return the arguments of the function of a score or mask where variables have these names."""
    return (*(names[var] for var in reads_of(expr)), *values(expr, attention))


def query_spans(known: KeyBounds) -> QuerySpans:
    """Return the query ranges of a key tile: the bounds of a transposed mask, printed."""
    segments = known.segments or (_NOWHERE,)
    read = {var for expr in _bound_exprs(known) for var in variables(expr)}
    order = (Var.Q, Var.K, Var.B, Var.H, Var.HKV, Var.SEQ_K, Var.SEQ_Q)
    names = tuple(_IN_QUERY_BOUNDS[var] for var in order if var in read or var in (Var.Q, Var.K))
    return QuerySpans(
        parameters=names,
        arguments=names,
        segments=tuple(
            _segment(s, i, len(segments), _IN_QUERY_BOUNDS) for i, s in enumerate(segments)
        ),
        two=len(segments) > 1,
        ordered=known.ordered,
    )


def eager(attention: Attention, empty_value: str) -> Eager:
    """Return the formula in PyTorch."""
    read = frozenset[Var]().union(*(variables(expr) for expr in attention.expressions))
    names = {**variable_names(IN_EAGER), **attention_names(attention)}
    sink, own = attention.sink, attention.output is not attention.dtype
    masks = bool(variables(attention.mask) or lookups(attention.mask))
    targets = [("x = ", attention.score)] if attention.score != SCORE else []
    targets += [("visible = ", attention.mask)] if masks else []
    return Eager(
        body=(
            *eager_reads(attention, variable_names(IN_EAGER), *_on_scores(attention)),
            *_factored(attention),
            *statements(targets, TORCH, names, _WIDTH),
        ),
        masks=masks,
        nothing=not masks and not always_true(attention.mask),
        needs_seq_q=Var.SEQ_Q in read,
        needs_seq_k=Var.SEQ_K in read,
        needs_q=Var.Q in read,
        needs_k=Var.K in read,
        needs_h=bool({Var.H, Var.HKV} & read),
        needs_b=Var.B in read,
        look_up=needs_look_up(attention),
        normalises=attention.normalised,
        sink="" if sink is None else "".join(statements([("", sink)], TORCH, names, 10**6)),
        signature=signature(attention),
        packed=attention.packed,
        out_dtype="OUT_DTYPE" if own else "q.dtype",
        out_option=", dtype=OUT_DTYPE" if own else "",
        second="lse" if attention.normalised else "total",
        sequence_signature=(
            *("q: Tensor", "k: Tensor", "v: Tensor", "entry: int"),
            *(f"{tensor.name}: Tensor" for tensor in attention.inputs),
        ),
        sequence_names=(
            *_sequence_names(attention),
            *(tensor.name for tensor in attention.inputs),
        ),
        paged=attention.paged,
        apart=attention.packed or attention.paged,
        lengths=("q", "k", *attention.length_tensors),
        empty_value=empty_value,
        kept=eager_kept(attention),
    )


def _on_scores(attention: Attention) -> tuple[Expr, ...]:
    """Return the expressions of scores: they come after those of rows of q and k."""
    more = (attention.sink, attention.score_factor, attention.value_factor)
    return (attention.score, attention.mask, *(expr for expr in more if expr is not None))


def _sequence_names(attention: Attention) -> tuple[str, ...]:
    """Return the tensors of one sequence among those of all."""
    queries = "q[None, at]" if attention.packed else "q[entry, None]"
    if attention.paged:
        return queries, "keys[None]", "values[None]", "entry"
    return queries, "k[None, seen]", "v[None, seen]", "entry"


def sink(attention: Attention) -> str:
    """Return the sink's logit as text in the kernel, empty where there is none."""
    return "" if attention.sink is None else in_kernel(attention, attention.sink)


def in_kernel(attention: Attention, expr: Expr) -> str:
    """Return an expression of heads, batch entry and lengths as text in the kernel."""
    names = {**variable_names(IN_LOOP), **attention_names(attention)}
    return "".join(statements([("", expr)], TRITON, names, 10**6))


def _factored(attention: Attention) -> tuple[str, ...]:
    """Return the lines that let scores and values count by their factors, in PyTorch."""
    names = {**variable_names(IN_EAGER), **attention_names(attention)}
    factors = (("x", attention.score_factor), ("values", attention.value_factor))
    return tuple(
        f"{name} = {name} * {''.join(statements([('', factor)], TORCH, names, 10**6))}"
        for name, factor in factors
        if factor is not None
    )


def short(expr: Expr) -> str:
    """Return an expression for a docstring of one line, which has room for so much."""
    text = format_expr(expr)
    return text if len(text) <= _DOCUMENTED else "see the formula at the top"


def reads_of(expr: Expr) -> tuple[Var, ...]:
    """Return the variables that an expression reads beside its look-ups, in a fixed order."""
    read = outside(expr)
    return tuple(var for var in ORDER if var in read)


def values(expr: Expr, attention: Attention) -> tuple[str, ...]:
    """Return the names of the values that an expression's own look-ups have."""
    own: list[Lookup] = []
    nodes = [expr]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Lookup):
            own.append(node)
        elif isinstance(node, Apply):
            nodes.extend(node.args)
    return tuple(name for lookup, name in attention_names(attention).items() if lookup in own)


def returned(expr: Expr, attention: Attention) -> str:
    """Return the statements of a function that returns an expression's value."""
    names = {**variable_names(PLAIN), **attention_names(attention)}
    return "\n".join(statements([("return ", expr)], TRITON, names, _WIDTH))


def _segment(
    segment: Segment, index: int, count: int, names: Mapping[Var, str] = _IN_BOUNDS
) -> SegmentText:
    suffix = "" if count == 1 else f"_{'ab'[index]}"
    ends = ("live_start", "live_end", "full_start", "full_end")
    targets = [
        (f"{end}{suffix} = ", _as_expr(scalar))
        for end, scalar in zip(ends, _scalars(segment), strict=True)
    ]
    masked = LoopKind(("begin", "full_begin - begin", "full_end", "end - full_end"), masked=True)
    full = LoopKind(("full_begin", "full_end - full_begin", "full_end", "0"), masked=False)
    return SegmentText(
        suffix=suffix,
        names=tuple(end + suffix for end in ends),
        body="\n".join(statements(targets, TRITON, variable_names(names), _WIDTH)),
        after="end" if index else "0",
        loops=(masked, full) if segment.has_full else (masked,),
    )


def _scalars(segment: Segment) -> tuple[Scalar, ...]:
    return segment.live_start, segment.live_end, segment.full_start, segment.full_end


def _bound_exprs(known: KeyBounds) -> list[Expr]:
    return [_as_expr(scalar) for segment in known.segments for scalar in _scalars(segment)]


def _as_expr(scalar: Scalar) -> Expr:
    match scalar:
        case RowPosition(row=Row.FIRST):
            return Variable(Var.Q)
        case RowPosition():
            return Variable(Var.K)
        case Compute(op=op, args=args):
            return Apply(op, tuple(_as_expr(arg) for arg in args))
        case Literal() | Variable():
            return scalar


def _written(attention: Attention, field: str) -> str:
    written = attention.field_source(field)
    return " ".join(written.text.split()) if written else "every query sees every key"


def origin_of(attention: Attention, field: str) -> str:
    """Return file and line where the spec writes a field; empty where it does not."""
    written = attention.field_source(field)
    if written is None:
        return ""
    name = written.span.source.name.rpartition("/")[2]
    return f"{name}:{written.span.line}"
