"""The loops of the backward kernels as text: what they read, what they recompute, what they add."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.ir.derivative import ONE
from flash4gen.ir.distance import by_distance, of_distance
from flash4gen.ir.expr import SCORE, Literal, Var, lookups, variables
from flash4gen.ir.masks import always_true
from flash4gen.ir.masks.transpose import query_bounds
from flash4gen.ir.printer import format_expr
from flash4gen.render import expressions
from flash4gen.render.context_backward import (
    Derivatives,
    DistanceGradient,
    GradientLoop,
    PairGradient,
    QuerySpans,
    Value,
)
from flash4gen.render.dropout import handed, kept
from flash4gen.render.environment import call
from flash4gen.render.gradients import Where, factor
from flash4gen.render.inputs import attention_names, inputs, outside
from flash4gen.render.shared_expr import shared_statements
from flash4gen.render.source_expr import TRITON, variable_names
from flash4gen.schedule.backward.heads import HeadLoop

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from flash4gen.ir.expr import Lookup
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.gradients import Gradients, Summed

_PLAIN = {var: var.value for var in Var}
UPRIGHT = {**_PLAIN, Var.Q: "rows[:, None]", Var.K: "keys[None, :]"}
"""What variables are called where a score tile has a query per row."""

TRANSPOSED = {**_PLAIN, Var.Q: "rows[None, :]", Var.K: "keys[:, None]"}
"""And where it has a key per row."""

_GIVEN = (Var.B, Var.H, Var.HKV)
"""What loops are handed if they read it; positions and lengths they always are."""

_WIDTH = 88


def derivatives(attention: Attention, found: Gradients) -> Derivatives:
    """Return the function that computes the score and its derivatives."""
    plain = expressions.score(attention)
    names = {**variable_names(_PLAIN), **attention_names(attention)}
    targets = [("x", attention.score), *found.moving]
    lines = shared_statements(targets, TRITON, names, _WIDTH)
    text = [f"{name} = {format_expr(by)}" for name, by in found.moving]
    return Derivatives(
        parameters=plain.parameters,
        text=tuple(line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…" for line in text),
        body=(*lines, f"return {', '.join(name for name, _ in targets)}") if found.moving else (),
        origin=plain.origin,
    )


def query_spans(attention: Attention) -> QuerySpans:
    """Return which queries see a key tile: the key ranges of the transposed mask, renamed."""
    return expressions.query_spans(query_bounds(attention.mask))


def query_loop(attention: Attention, found: Gradients, *, boxes: bool = False) -> GradientLoop:
    """Return the loop over keys that gives the gradient of a tile of queries.

    ``boxes``: tiles are copied by batch entry and head.
    """
    return _loop(
        attention,
        found,
        found.at(Where.ROWS),
        names=UPRIGHT,
        varies=lambda lookup: Var.K in variables(lookup),
        indents=(4, 8),
        edge="keys[None, :] < seq_k",
        results=("dq",),
        kernel="QUERIES",
        placed=expressions.box_place(attention) if boxes else frozenset(),
    )


def key_loop(
    attention: Attention, found: Gradients, heads: HeadLoop, *, boxes: bool = False
) -> GradientLoop:
    """Return the loop over queries that gives the gradients of a tile of keys and values.

    ``boxes``: tiles are copied by batch entry and head.
    """
    each_step = {Var.Q} if heads is HeadLoop.APART else {Var.Q, Var.H}
    loop = _loop(
        attention,
        found,
        found.at(Where.KEYS),
        names=TRANSPOSED,
        varies=lambda lookup: bool(each_step & variables(lookup)),
        indents=(8 if heads is HeadLoop.APART else 4, 8),
        edge="rows[None, :] < seq_q",
        results=("dk", "dv"),
        kernel="KEYS",
        placed=_query_place(attention) if boxes else frozenset(),
    )
    if heads is HeadLoop.APART:
        return loop
    head = Var.H.value in loop.handed
    handed = dict.fromkeys(Var.HKV.value if it == Var.H.value else it for it in loop.handed)
    line = "h = hkv * GROUP + member" if head else ""
    return replace(loop, together=True, handed=tuple(handed), head=line)


def _query_place(attention: Attention) -> frozenset[Var]:
    """Return what says where a box of queries lies beside its rows."""
    return frozenset({Var.H} if attention.packed else {Var.B, Var.H})


def alone(loop: GradientLoop) -> GradientLoop:
    """Return a loop that adds up gradients of inputs only: those of q, k and v are a pipeline's.

    Its derivatives hold none by the score.
    """
    return replace(loop, alone=True, results=", ".join(value.name for value in loop.sums))


def pair_gradients(attention: Attention, found: Gradients) -> tuple[PairGradient, ...]:
    """Return the kernels of the gradients of inputs with an element per score."""
    return tuple(_pair(attention, found, item) for item in found.at(Where.PAIRS))


def _pair(attention: Attention, found: Gradients, item: Summed) -> PairGradient:
    loop = _loop(
        attention,
        found,
        (item,),
        names=UPRIGHT,
        varies=lambda _: True,
        indents=(4, 16),
        edge="(rows[:, None] < seq_q) & (keys[None, :] < seq_k)",
        results=(),
        kernel="PAIRS",
    )
    heads = {Var.H: ("HEADS", "1"), Var.HKV: ("KV_HEADS", "GROUP")}
    axis = next((var for var in item.kept if var in heads), None)
    count, each = heads[axis] if axis else ("1", "HEADS")
    place = f"kept % {count}" if axis else "0"
    first = f"{place} * {each}" if each == "GROUP" else place
    by_entry = Var.B in item.kept
    entry = f"kept // {count}" if axis else "kept"
    host = [*(["batch"] if by_entry else []), *([f"{count}.value"] if axis else [])]
    return PairGradient(
        name=f"sum_{item.name}",
        tensor=item.lookup.tensor.name,
        position=3 + found.inputs.index(item.lookup.tensor),
        function=f"_{item.name}_gradient_kernel",
        batches=f"{entry}, {entry} + 1" if by_entry else "batch",
        heads=f"{first}, {first} + {each}" if axis else "HEADS",
        shape=(*host, "seq_q", "seq_k"),
        programs=" * ".join(host) or "1",
        loop=loop,
        term=f"dx{factor(item.by, item.name)}",
        guarded=not isinstance(item.by, Literal),
    )


def distance_gradients(attention: Attention, found: Gradients) -> tuple[DistanceGradient, ...]:
    """Return the kernels of the gradients of inputs with an element per distance."""
    return tuple(_distance(attention, found, item) for item in found.at(Where.DISTANCES))


def _distance(attention: Attention, found: Gradients, item: Summed) -> DistanceGradient:
    guarded = not isinstance(item.by, Literal)
    keys = "keys[None, :] < seq_k"
    # The lse of queries that do not exist is infinite: no key weighs anything for them.
    alone = attention.normalised and not guarded
    loop = _loop(
        attention,
        found,
        (item,),
        names=UPRIGHT,
        varies=_differs_on_a_diagonal,
        indents=(4, 8),
        edge=keys if alone else f"(rows[:, None] < seq_q) & ({keys})",
        results=(),
        kernel="DISTANCES",
    )
    return DistanceGradient(
        name=f"sum_{item.name}",
        tensor=item.lookup.tensor.name,
        position=3 + found.inputs.index(item.lookup.tensor),
        function=f"_{item.name}_distance_gradient_kernel",
        alike=of_distance(attention.mask),
        loop=loop,
        term=f"dx{factor(item.by, item.name)}",
        guarded=guarded,
    )


def _differs_on_a_diagonal(lookup: Lookup) -> bool:
    """Whether a look-up differs from tile to tile of a diagonal, where distances are the same."""
    return bool({Var.Q, Var.K} & variables(lookup)) and not by_distance(lookup)


def _loop(  # noqa: PLR0913 - what tells the loops apart
    attention: Attention,
    found: Gradients,
    sums: tuple[Summed, ...],
    *,
    names: dict[Var, str],
    varies: Callable[[Lookup], bool],
    indents: tuple[int, int],
    edge: str,
    results: tuple[str, ...],
    kernel: str,
    placed: AbstractSet[Var] = frozenset(),
) -> GradientLoop:
    read = inputs(attention, variable_names(names), varies, indents, scored=True)
    terms = [Value("ds", f"dx * {_by(found)}")] if found.by_s != ONE else []
    moving = {"ds"} if not isinstance(found.by_s, Literal) else set()
    values = []
    for item in sums:
        name = f"d_{item.name}"
        if item.by != ONE and results:
            terms.append(Value(name, f"dx{factor(item.by, item.name)}"))
            moving |= {name} if not isinstance(item.by, Literal) else set()
        values.append(Value(f"sum_{item.name}", "dx" if item.by == ONE else name))
    given = _reads(attention, varies) | placed
    transposed = names is TRANSPOSED
    return GradientLoop(
        inputs=read,
        program=read.program,
        step=read.step,
        handed=(
            *(var.value for var in _GIVEN if var in given),
            *read.handed,
            *handed(attention, "k_first" if transposed else "q_first"),
        ),
        score=_score(attention, found, names, indents[1]),
        visible=_visible(attention, names, edge)
        if results
        else _seen(attention, names, edge, indents[1]),
        terms=tuple(terms),
        guards=tuple(term.name for term in terms if term.name in moving),
        ds="dx" if found.by_s == ONE else "ds",
        sums=tuple(values),
        results=", ".join((*results, *(value.name for value in values))),
        mask=expressions.mask(attention, f"{kernel}_TILE_Q"),
        kept=kept(
            attention,
            "start" if transposed else "q_first",
            f"{kernel}_TILE_Q",
            "k_first" if transposed else "start",
            f"{kernel}_TILE_K",
            upright=not transposed,
        ),
        dv="dv * DROPOUT_SCALE" if attention.dropout else "dv",
        # A weight that softmax makes takes the scale of a plain score with its base.
        scales=attention.score != SCORE or not attention.normalised,
    )


def _by(found: Gradients) -> str:
    return repr(found.by_s.value) if isinstance(found.by_s, Literal) else "by_s"


def _reads(attention: Attention, varies: Callable[[Lookup], bool]) -> frozenset[Var]:
    """Return the variables that a loop's steps read."""
    read = outside(attention.score) | outside(attention.mask)
    for lookup in lookups(attention.score, attention.mask):
        if varies(lookup):
            read = read.union(*(outside(index) for index in lookup.indices))
    return read


def _score(attention: Attention, found: Gradients, names: dict[Var, str], indent: int) -> str:
    if attention.score == SCORE:
        return "x = s"
    arguments = expressions.call_arguments(attention.score, attention, names)
    if not found.moving:
        return call(arguments, "x = _score(", indent=indent)
    results = ", ".join(("x", *(name for name, _ in found.moving)))
    return call(arguments, f"{results} = _score_gradient(", indent=indent)


def _visible(attention: Attention, names: dict[Var, str], edge: str) -> str:
    if always_true(attention.mask):
        return f"visible = {edge}"
    arguments = expressions.call_arguments(attention.mask, attention, names)
    return call(arguments, f"visible = ({edge}) & _visible(", indent=12)


def _seen(attention: Attention, names: dict[Var, str], edge: str, indent: int) -> str:
    """Return the same in a kernel in which `visible` is a range of keys."""
    if always_true(attention.mask):
        return f"seen = {edge}"
    arguments = expressions.call_arguments(attention.mask, attention, names)
    return (
        f"seen = {edge}\n{' ' * indent}{call(arguments, 'seen = seen & _visible(', indent=indent)}"
    )
