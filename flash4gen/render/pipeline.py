"""The context of a warp-specialised module with both passes: the forward one's, and the pipeline.

Chooses nothing: what is printed follows from the schedule and from what the expressions are.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from flash4gen.ir.masks.transpose import query_bounds
from flash4gen.ir.nodes import EmptyRow
from flash4gen.render import backward_eager, expressions
from flash4gen.render.backward_loops import query_spans
from flash4gen.render.constants import decimal, integer
from flash4gen.render.context import Option
from flash4gen.render.context_blackwell import Named
from flash4gen.render.context_pipeline import Pair, Pipeline, PipelineContext
from flash4gen.render.environment import LINE, call
from flash4gen.render.gradients import gradients
from flash4gen.render.pipeline_compute import (
    compute_role,
    gradient_factor,
    places,
    score_slope,
)
from flash4gen.render.pipeline_inputs import row_numbers
from flash4gen.schedule.backward.pipeline.model import PART, KeyOrder, QuerySum
from flash4gen.schedule.backward.pipeline.pair import SHARED, in_pieces, is_apart
from flash4gen.schedule.backward.pipeline.plan import pipeline_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Arithmetic, Constant
    from flash4gen.render.context_blackwell import BlackwellContext
    from flash4gen.schedule.backward.model import BackwardChoice
    from flash4gen.schedule.backward.pipeline.model import PipelineSchedule

CONVERTED = 2048
"""Elements per program of the kernel that converts the queries' gradient."""

USAGE = "With the register usage level of OPTIONS, one would be spilled around the loops."

_PURPOSE = {
    "k_full": "load → mma: the keys have arrived",
    "v_full": "load → mma: the values",
    "q_full": "load → mma: a query tile",
    "q_columns_full": "load → mma: the same, by columns",
    "q_columns_empty": "mma → load: dK has read it",
    "q_empty": "mma → load: dK has read it",
    "do_full": "load → mma: a tile of the output's gradient",
    "do_empty": "mma → load: dV has read it",
    "do_columns_full": "load → mma: the same, by columns",
    "do_columns_empty": "mma → load: dV has read it",
    "rows_full": "load → compute: lse and delta of a query tile",
    "s_full": "mma → compute: scores are there",
    "p_ready": "compute → mma: weights stand in their place",
    "dp_full": "mma → compute: gradients of weights are there",
    "ds_ready": "compute → mma: those of scores stand in their place",
    "dq_full": "mma → reduce: dQ of a step",
    "dq_empty": "reduce → mma: it is in registers",
    "done": "mma → compute: dK and dV are complete",
}

_OF_PAIR = {
    "q_empty": "mma → load: S has read it",
    "do_empty": "mma → load: dP has read it",
    "ds_ready": "compute → mma: those of scores, also of the other CTA",
}
"""The barriers that say something else where two CTAs share all products."""

_OF_SIGMOID = {"rows_full": "load → compute: gradients of totals of a query tile"}
"""The barriers that say something else where weights are not normalised."""

_ORDER = {
    KeyOrder.LONGEST_FIRST: "those that most queries see first",
    KeyOrder.KEY_TILES_FIRST: "one head after the other",
    KeyOrder.SHORTEST_FIRST: "the last ones first",
}
_PLACE = {
    KeyOrder.LONGEST_FIRST: ("k_tile, pack = program // problem.packs, program % problem.packs",),
    KeyOrder.KEY_TILES_FIRST: (
        "k_tile, pack = program % problem.k_tiles, program // problem.k_tiles",
    ),
    KeyOrder.SHORTEST_FIRST: (
        "k_tile = problem.k_tiles - 1 - program // problem.packs",
        "pack = program % problem.packs",
    ),
}


_PACKED_PLACE = {
    KeyOrder.LONGEST_FIRST: ("slot, hkv = program // KV_HEADS, program % KV_HEADS",),
    KeyOrder.KEY_TILES_FIRST: ("slot, hkv = program % slots, program // slots",),
    KeyOrder.SHORTEST_FIRST: ("slot, hkv = slots - 1 - program // KV_HEADS, program % KV_HEADS",),
}
"""The same where sequences are packed: slots are key tiles of all of them."""


def pipeline_context(
    attention: Attention, choice: BackwardChoice, forward: BlackwellContext
) -> PipelineContext:
    """Return the context of a module with both passes.

    Args:
        attention: the variant, simplified.
        choice: the schedule of its backward pass, a ``PipelineSchedule``.
        forward: the context of its forward pass.
    """
    found = gradients(attention)
    # The thread of a key sums: what is left has a number for each key.
    host = backward_eager.launch(attention, found, starts="cu_seqlens_k")
    zero = attention.empty_row is EmptyRow.ZERO
    name, digest = forward.interface.name, forward.interface.digest
    kept = {field.name: getattr(forward, field.name) for field in fields(forward)}
    schedule: PipelineSchedule = choice.schedule  # type: ignore[assignment]
    spans = query_spans(attention)
    pair = schedule.ctas > 1
    compute = compute_role(attention, forward, spans, schedule)
    backward = Pipeline(
        constants=_constants(attention, choice, schedule),
        options=tuple(_options(schedule)),
        order=_ORDER[schedule.order],
        place=(_PACKED_PLACE if attention.packed else _PLACE)[schedule.order],
        spans=spans,
        ordered=schedule.query_sum is QuerySum.ORDERED,
        compute=compute,
        barriers=_barriers(schedule),
        parts=tuple(_parts(schedule, compute.handed)),
        warps=f"[{', '.join(f'{role.warps}' for role in pipeline_plan(schedule).roles[1:])}]",
        registers=tuple(_registers(schedule)),
        dtype=compute.dtype,
        rest=compute.rest,
        packed=attention.packed,
        places=places(attention),
        pair=Pair(apart=is_apart(schedule), pieces=in_pieces(schedule)) if pair else None,
        kernel_options="GRADIENT_OPTIONS" if pair or schedule.first_rests else "OPTIONS",
        width=compute.width,
        fetched=_fetched(schedule),
        summed=_summed(schedule),
        sent="HEAD_WIDE" if schedule.rest else "DQ_COLUMNS",
        launch=host,
        eager=backward_eager.eager(attention, found, host, "0.0" if zero else 'float("nan")'),
    )
    helpers = _helpers(attention, forward, [by for _, by in found.moving])
    more = {
        "interface": replace(
            forward.interface,
            element="dtype",
            gradients=backward_eager.interface(attention, found, host, name, digest),
        ),
        "arithmetic": helpers,
        "backward": backward,
        "imports": _imports(forward, helpers),
    }
    return PipelineContext(**{**kept, **more})


def _options(schedule: PipelineSchedule) -> Iterator[Option]:
    """Yield the compiler options: of the kernels beside the pipeline, and of a pair's own."""
    one = '{"num_warps": 4, "num_ctas": 1, "enable_fp_fusion": True}'
    yield Option("ROWS_OPTIONS", one)
    if schedule.ctas > 1:
        yield Option("GRADIENT_OPTIONS", f'{{**OPTIONS, "num_ctas": {schedule.ctas}}}')
    if schedule.first_rests:
        yield Option("GRADIENT_OPTIONS", "ROWS_OPTIONS", USAGE)


def _registers(schedule: PipelineSchedule) -> Iterator[str]:
    """Yield the registers of all roles but the first, as constants."""
    if schedule.first_rests:
        yield "REDUCE_REGISTERS"
    yield from ["COMPUTE_REGISTERS"] * schedule.compute_roles
    yield from ["PRODUCT_REGISTERS"] * 2


def _role(part: int, schedule: PipelineSchedule, handed: tuple[str, ...]) -> str:
    """Return a compute role and what it is handed, as ``ruff format`` lays them out."""
    first = "dk_desc" if part == schedule.compute_roles - 1 else "dv_desc"
    own = (first, *(("dk_rest_desc",) if schedule.rest else ()), *handed, f"gl.constexpr({part})")
    given = ", ".join(own)
    line = f"(_differentiate, ({given})),"
    if len(line) + 12 <= LINE:
        return line
    inner = " " * 16
    names = call(own, "(", "),", 16)
    return f"(\n{inner}_differentiate,\n{inner}{names}\n{' ' * 12}),"


def _helpers(attention: Attention, forward: BlackwellContext, derived: list[Expr]) -> Arithmetic:
    """Return the functions that both passes call; tanh is the forward pass's."""
    tanh = forward.arithmetic
    return replace(
        expressions.arithmetic_of(attention, derived),
        tanh=False,
        tanh_packed=tanh.tanh_packed,
        tanh_approx=tanh.tanh_approx,
        logistic=tanh.logistic or expressions.has_sigmoid(derived),
    )


def _imports(forward: BlackwellContext, helpers: Arithmetic) -> tuple[str, ...]:
    """Return the imports; a derivative may call what the score does not."""
    line = "from triton.language.extra import libdevice"
    if not helpers.libdevice or line in forward.imports:
        return forward.imports
    return (*forward.imports[:-1], line, forward.imports[-1])


def _parts(schedule: PipelineSchedule, handed: tuple[str, ...]) -> Iterator[Named]:
    """Yield the compute roles, each with what it is handed and writes last."""
    for part in range(schedule.compute_roles):
        yield Named(f"{part}", "", _role(part, schedule, handed))


def _fetched(schedule: PipelineSchedule) -> tuple[str, ...]:
    """Return the arguments of the load role."""
    rest = ("q_rest_desc", "k_rest_desc") if schedule.rest else ()
    columns = ("q_columns_desc", "k_columns_desc", "do_columns_desc")
    again = columns if schedule.ctas > 1 else ()
    if schedule.ctas > 1 and schedule.rest:
        again = (*again, "q_columns_rest_desc")
    loaded = ("q_desc", "k_desc", "v_desc", "do_desc", *rest, *again)
    read = ("inputs",) if schedule.row_bytes else ()
    numbers = row_numbers(normalised=schedule.normalised, copied=schedule.rows_copied)
    return (*loaded, *numbers, *read, "memory", "bars", "problem")


def _summed(schedule: PipelineSchedule) -> str:
    """Return the first arguments of the reduce role."""
    parts = ("dq_desc", "dq_rest_desc") if schedule.rest and schedule.ctas == 1 else ("dq_desc",)
    turns = ("turn_ptr",) if schedule.query_sum is QuerySum.ORDERED else ()
    return ", ".join((*parts, *turns))


def _barriers(schedule: PipelineSchedule) -> tuple[Named, ...]:
    known = {**_PURPOSE, **_OF_PAIR} if schedule.ctas > 1 else _PURPOSE
    known = known if schedule.normalised else {**known, **_OF_SIGMOID}
    return tuple(
        Named(
            it.name,
            known[it.name] + (f"; {it.arrivals}" if it.arrivals > 1 else ""),
            f"{it.count}, {it.arrivals}" + (f", {it.name in SHARED}" if schedule.ctas > 1 else ""),
        )
        for it in pipeline_plan(schedule).barriers
    )


def _constants(
    attention: Attention, choice: BackwardChoice, schedule: PipelineSchedule
) -> tuple[Constant, ...]:
    reason = choice.reason
    spans = len(query_bounds(attention.mask).segments)
    return (
        integer("GRADIENT_Q", schedule.tile_q, f"queries of a step; {reason('tile_q')}"),
        integer("GRADIENT_K", schedule.tile_k, f"keys of a program; {reason('tile_k')}"),
        integer("QUERY_SPANS", spans, "ranges of queries that see a key tile"),
        integer("RUNS", attention.group * spans, "walks of a program: one for each head and range"),
        integer("COMPUTE_ROLES", schedule.compute_roles, reason("compute_roles")),
        integer("SHARE", schedule.share, "queries of a step that one of them takes"),
        integer("Q_STAGES", schedule.query_stages, reason("query_stages")),
        integer("DO_STAGES", schedule.out_stages, reason("out_stages")),
        *_of_pair(schedule),
        *_sent(schedule, reason),
        decimal(
            "GRADIENT_SCALE", gradient_factor(attention), "of dQ and dK: constant factors of ds"
        ),
        *_slope(attention),
        integer("COMPUTE_REGISTERS", schedule.compute_registers, reason("compute_registers")),
        *_reduce(schedule, reason),
        integer("PRODUCT_REGISTERS", schedule.other_registers, reason("other_registers")),
        *_before(schedule, reason),
        integer("CONVERTED", CONVERTED, "elements of dQ per program that converts them"),
    )


def _reduce(schedule: PipelineSchedule, reason: Callable[[str], str]) -> tuple[Constant, ...]:
    """Return the registers of the role that sends dQ away, where it is not the first one."""
    if not schedule.first_rests:
        return ()
    return (integer("REDUCE_REGISTERS", schedule.reduce_registers, reason("reduce_registers")),)


def _slope(attention: Attention) -> tuple[Constant, ...]:
    """Return the constant that a sigmoid's gradients of scores hold, if there is one."""
    slope = score_slope(attention)
    if slope == 1.0:
        return ()
    return (decimal("SCORE_SLOPE", slope, "the constant factors that gradients of scores hold"),)


def _before(schedule: PipelineSchedule, reason: Callable[[str], str]) -> tuple[Constant, ...]:
    """Return the rows of a program before the pipeline; sigmoid weights need nothing before it."""
    if not schedule.normalised:
        return ()
    return (integer("ROWS_BEFORE", schedule.rows, reason("rows")),)


def _of_pair(schedule: PipelineSchedule) -> tuple[Constant, ...]:
    """Return what a pair of CTAs has besides."""
    if schedule.ctas == 1:
        return ()
    ahead = "lse and delta of the next queries are there before the last ones are done"
    return (
        integer("ROW_STAGES", schedule.row_stages, ahead),
        integer("HALF_Q", schedule.tile_q // schedule.ctas, _half(schedule)),
    )


def _half(schedule: PipelineSchedule) -> str:
    if schedule.rest:
        return "queries of which one CTA has the gradients of scores of all keys, for dQ"
    return "queries whose dQ one CTA has"


def _sent(schedule: PipelineSchedule, reason: Callable[[str], str]) -> tuple[Constant, ...]:
    """Return the parts in which the queries' gradient is sent away, and heads are multiplied."""
    if schedule.rest and schedule.ctas > 1:
        return _sent_by_both(schedule, reason)
    if schedule.rest:
        wide = "columns of a head that one product multiplies: it has as many lanes"
        return (
            integer("HEAD_WIDE", PART, wide),
            integer("HEAD_REST", schedule.rest, f"the others; of dQ, {reason('dq_slots')}"),
        )
    slots = integer("DQ_SLOTS", schedule.dq_slots, reason("dq_slots"))
    if schedule.ctas > 1 and not in_pieces(schedule):
        return (slots,)
    columns = integer("DQ_COLUMNS", schedule.dq_columns, reason("dq_columns"))
    return (columns,) if schedule.ctas > 1 else (columns, slots)


def _sent_by_both(schedule: PipelineSchedule, reason: Callable[[str], str]) -> tuple[Constant, ...]:
    """Return the same where two CTAs share products of heads that are multiplied in two parts."""
    pieces = schedule.share // schedule.ctas
    return (
        integer("HEAD_WIDE", PART, "columns of a head that one product multiplies"),
        integer("HEAD_REST", schedule.rest, "the others"),
        integer("HEAD_LANES", PART * schedule.ctas, f"lanes of both CTAs; {reason('dq_columns')}"),
        integer("DQ_QUERIES", pieces, "those of a role whose gradients of scores one CTA has"),
        integer("DQ_SLOTS", schedule.dq_slots, f"buffers of dQ, {reason('dq_slots')}"),
    )
