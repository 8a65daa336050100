"""The context of a ``blackwell`` module: every choice of the schedule as text for its templates."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Expr, Var, lookups
from flash4gen.ir.nodes import EmptyRow
from flash4gen.render import blackwell_formats, expressions
from flash4gen.render.blackwell_cluster import Sharing, sharing
from flash4gen.render.blackwell_constants import FRAGMENT, blackwell_constants, chunk
from flash4gen.render.blackwell_formats import ELEMENT
from flash4gen.render.blackwell_kernel import specialised, tiles
from flash4gen.render.blackwell_lengths import lengths
from flash4gen.render.blackwell_reads import (
    Reads,
    blackwell_inputs,
    element_names,
    normalise,
    reads,
    score_arguments,
)
from flash4gen.render.context import Arithmetic, Header, Impl, Interface
from flash4gen.render.context_blackwell import (
    BlackwellContext,
    Correction,
    Exponent,
    Fetch,
    Lengths,
    Mma,
    RowMaximum,
    Run,
    SoftmaxRole,
    Spans,
    StoreRole,
    Walk,
    Work,
)
from flash4gen.render.environment import call
from flash4gen.render.inputs import in_loop, outside
from flash4gen.render.key_masks import key_mask
from flash4gen.schedule.blackwell.model import (
    BlackwellSchedule,
    Dispatch,
    KeyLoops,
    RowMax,
    Tanh,
    TensorPlan,
)
from flash4gen.schedule.folding import FoldedScore, fold
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Mask
    from flash4gen.render.context_blackwell import KeyMask
    from flash4gen.schedule.model import Choice

_HEADS = ("h", "hkv", "b")


def blackwell_context(
    attention: Attention,
    hardware: Hardware,
    choice: Choice,
    head: Header,
    interface: Interface,
) -> BlackwellContext:
    """Return everything that the module is printed from."""
    schedule = choice.schedule
    assert isinstance(schedule, BlackwellSchedule)
    folded = fold(attention.score, attention.scale)
    where = lengths(attention, schedule)
    mask = expressions.mask(attention, rows=where.rows)
    walk = _walk(mask, where)
    element, out = ELEMENT[attention.dtype], ELEMENT[attention.output]
    shared = sharing(schedule)
    zero = attention.empty_row is EmptyRow.ZERO
    empty = "0.0" if zero else 'float("nan")'
    found, names = reads(attention), element_names(schedule, where.holder)
    masked = key_mask(attention, mask, names, where.holder)
    helpers = _helpers(attention, schedule, folded.body)
    return BlackwellContext(
        header=head,
        imports=_imports(schedule, uses_libdevice=helpers.libdevice),
        constants=blackwell_constants(attention, hardware, choice, folded),
        arithmetic=helpers,
        eager=expressions.eager(attention, empty),
        interface=interface,
        mask=mask,
        spans=_spans(mask, where),
        lengths=where,
        place=Impl(_PLACE[schedule.order]),
        cluster=Impl(shared.impl),
        work=Work("clc" if schedule.dispatch is Dispatch.CLC else "strided", shared.answer_layout),
        plan=blackwell_formats.tensor_memory(schedule, element, shared.score_layout),
        fetch=_fetch(schedule, shared, walk, where),
        mma=_products_role(schedule, shared, walk),
        score=expressions.score(attention, folded.body),
        key_mask=masked,
        row_max=_row_max(attention, folded, schedule, names),
        exp2=_exponent(attention, schedule),
        softmax=_softmax(attention, schedule, walk, where, found, masked),
        correction=Correction(
            impl="threshold" if schedule.normalised else "none",
            walk=walk,
            dtype=out,
            vote=shared.vote,
            least=shared.least,
            empty_text="0" if zero else "NaN",
            tiles=tiles(schedule),
        ),
        store=StoreRole(walk, where.tiles, f"[{where.queries}, column]", tiles(schedule)),
        specialised=specialised(
            schedule, hardware, where, empty, blackwell_formats.element_of(attention)
        ),
        inputs=blackwell_inputs(attention, found, names),
        normalise=normalise(attention, schedule, found, names, empty),
    )


_EXP2 = {
    (True, True): "mixed",
    (True, False): "hardware",
    (False, True): "sigmoid_mixed",
    (False, False): "sigmoid",
}


def _helpers(attention: Attention, schedule: BlackwellSchedule, score: Expr) -> Arithmetic:
    """Return which functions the module defines for what it prints of expressions."""
    tanh = "tanh_approx" if schedule.tanh is Tanh.APPROX else "tanh_packed"
    return replace(
        expressions.arithmetic(attention, score, tanh),
        logistic=expressions.has_sigmoid((score, *attention.expressions[1:])),
    )


def _exponent(attention: Attention, schedule: BlackwellSchedule) -> Exponent:
    to_log2, given = blackwell_formats.to_log2(attention)
    rounding = blackwell_formats.ROUNDING[attention.dtype.bytes]
    impl = _EXP2[schedule.normalised, bool(schedule.emulated)]
    return Exponent(impl, to_log2, given, rounding)


_QK = ("memory", "bars", "TILE: gl.constexpr", "stage", "turn")

_PLACE = {
    TileOrder.LONGEST_FIRST: "longest_first",
    TileOrder.QUERY_TILES_FIRST: "query_tiles_first",
}


def _order(schedule: BlackwellSchedule) -> str:
    """Return whether the next scores are multiplied ahead of the last weights, or behind them."""
    return "behind" if schedule.plan is TensorPlan.P_IN_S else "ahead"


def _fetch(schedule: BlackwellSchedule, shared: Sharing, walk: Walk, where: Lengths) -> Fetch:
    """Return the load warp."""
    chunked = chunk(schedule) is not None
    column = "chunk * CHUNK" if chunked else "0"
    order = _order(schedule)
    value, state = "old" if order == "ahead" else "key", ("bars", "stage", "phase")
    return Fetch(
        impl=order,
        chunked=chunked,
        tile=where.tiles,
        q_place=f"[{where.queries}, {column}]",
        key_place=f"[{where.keys}, {column}]",
        entry=where.entry,
        ring=shared.ring,
        slot=shared.slot,
        key_arguments=(
            *("k_desc", where.entry, "key", "hkv", shared.keys),
            *(*state, *(("HEAD_CHUNKS",) if chunked else ())),
        ),
        value_arguments=(
            *("v_desc", where.entry, value, "hkv", shared.values),
            *(*state, *(("VALUE_CHUNKS",) if chunked else ())),
        ),
        walk=walk,
        tiles=tiles(schedule),
    )


def _products_role(schedule: BlackwellSchedule, shared: Sharing, walk: Walk) -> Mma:
    """Return the mma warp."""
    chunked = chunk(schedule) is not None
    early, late = _products(schedule)
    return Mma(
        impl=_order(schedule),
        chunked=chunked,
        key_slot=shared.key_slot,
        value_slot=shared.value_slot,
        qk_parameters=(*_QK, "chunks") if chunked else _QK,
        chunks=", problem.head_chunks" if chunked else "",
        early=early,
        late=late,
        walk=walk,
        tiles=tiles(schedule),
    )


def _imports(schedule: BlackwellSchedule, *, uses_libdevice: bool) -> tuple[str, ...]:
    gluon = "from triton.experimental.gluon"
    names = "clc, mbarrier, tma" if schedule.dispatch is Dispatch.CLC else "mbarrier, tma"
    lines = [
        "from torch import Tensor",
        "from triton.experimental import gluon",
        f"{gluon} import language as gl",
        f"{gluon}.language.nvidia import blackwell as bw",
        f"{gluon}.language.nvidia.blackwell import {names}",
        f"{gluon}.nvidia.hopper import TensorDescriptor",
    ]
    if uses_libdevice:
        lines.append("from triton.language.extra import libdevice")
    return (*lines, "from triton.runtime import driver")


def _names(mask: Mask) -> tuple[str, ...]:
    """Return what else than positions and lengths the loop bounds read."""
    return tuple(name for name in _HEADS if name in mask.range_parameters)


def _spans(mask: Mask, where: Lengths) -> Spans:
    read = _names(mask)
    known = {"h": "h = pack * PACK", "hkv": "hkv = pack * PACK // GROUP"}
    keep = "(begin, full_begin, full_end, end)"
    least = "end = gl.maximum(end, begin + 1)\n    "
    names = ("first", "second") if mask.two else ("span",)
    return Spans(
        parameters=_span_arguments(mask, where),
        lines=(
            f"seq_q, seq_k = {where.holder}.seq_q, {where.holder}.seq_k",
            f"q_first = q_tile * {where.rows}",
            *(known[name] for name in read if name in known),
        ),
        spans=tuple(
            f"{'' if index else least}{f'{name} = {keep}' if mask.two else ''}".rstrip()
            for index, name in enumerate(names)
        ),
        result=", ".join(names) if mask.two else keep.strip("()"),
    )


def _span_arguments(mask: Mask, where: Lengths) -> tuple[str, ...]:
    read = _names(mask)
    pack = ("pack",) if {"h", "hkv"} & {*read} else ()
    holders = dict.fromkeys((where.holder, *(("problem",) if "." in where.rows else ())))
    return ("q_tile", *pack, *(("b",) if "b" in read else ()), *holders)


def _walk(mask: Mask, where: Lengths) -> Walk:
    names = ("first", "second") if mask.two else ("span",)
    down = names[::-1]
    return Walk(
        place=(
            where.place,
            f"{', '.join(names)} = _spans({', '.join(_span_arguments(mask, where))})",
        ),
        alone=where.place,
        spans=down,
        count=" + ".join(f"{name}[3] - {name}[0]" for name in down),
    )


def _products(schedule: BlackwellSchedule) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the products P·V of the early weights and of the late ones; a slice is 2^n wide."""
    if not schedule.early:
        return ("bw.tcgen05_mma(p, v, o, use_acc=use_acc)",), ()
    early = list(_slices(0, schedule.early))
    late = list(_slices(schedule.early, schedule.tile_k))
    return tuple(map(_product, early)), tuple(map(_product, late))


def _slices(first: int, end: int) -> list[tuple[int, int]]:
    """Cut [first, end) into slices of powers of two, the widest first."""
    widths = [1 << bit for bit in range(10, -1, -1) if (end - first) >> bit & 1]
    return list(zip(accumulate([first, *widths]), widths, strict=False))


def _product(part: tuple[int, int]) -> str:
    at = f"{part[0]}, {part[1]}"
    add = ", use_acc=use_acc" if part[0] == 0 else ""
    return f"bw.tcgen05_mma(p.slice({at}), v.slice({at}), o{add})"


def _row_max(
    attention: Attention,
    folded: FoldedScore,
    schedule: BlackwellSchedule,
    names: Mapping[Var, str],
) -> RowMaximum:
    load = schedule.row_max is RowMax.LOAD
    if folded.identity:
        return RowMaximum(impl="load" if load else "reduce", score="", row_score="")
    prescale = blackwell_formats.prescale(attention)
    scaled = f"bw.mul2(part, gl.full_like(part, {prescale}))"
    more = score_arguments(attention, folded.body, names)
    score = call((scaled, *more), "part = _score(", indent=8).replace("\n" + " " * 8, "\n")
    if folded.monotone:
        impl = "monotone_load" if load else "monotone"
        return RowMaximum(impl=impl, score=score, row_score=f"_score(top * {prescale})")
    return RowMaximum(impl="reduce", score=score, row_score="")


def _softmax(
    attention: Attention,
    schedule: BlackwellSchedule,
    walk: Walk,
    where: Lengths,
    found: Reads,
    masked: KeyMask,
) -> SoftmaxRole:
    read = (outside(attention.score) - {Var.S}) | found.step_variables | set(map(Var, masked.reads))
    state = tuple(var.value for var in (Var.Q, Var.H, Var.HKV, Var.B) if var in read)
    state += (*(("keys",) if masked.bits else ()), *found.handed)
    state += blackwell_formats.variable(attention)
    to_log2, given = blackwell_formats.to_log2(attention)
    running = ("row_max", "row_sum", "turn", "done") if schedule.normalised else ("row_sum", "turn")
    fixed = ("memory", "bars", where.holder, *running)
    fragments = schedule.tile_k // FRAGMENT
    return SoftmaxRole(
        impl="online" if schedule.normalised else "sigmoid",
        walk=walk,
        row_place=_row_place(schedule, where, with_kv=Var.HKV in read or found.needs_kv),
        second=where.second,
        holder=where.holder,
        runs=_runs(schedule.key_loops, walk, (*fixed, *state)),
        step_parameters=(*fixed, *state, "key", "MASKED: gl.constexpr", "TILE: gl.constexpr"),
        step_lines=(),
        columns=Var.K in read,
        largest=_tree("gl.maximum({}, {})", "tops", fragments),
        total=_tree("({} + {})", "sums", fragments).removeprefix("(").removesuffix(")"),
        dtype=ELEMENT[attention.dtype],
        early=bool(schedule.early),
        pause=_pause(attention, found),
        to_log2=to_log2,
        given=given,
        shift=blackwell_formats.eight(attention),
        factors=blackwell_formats.factors(attention),
    )


def _pause(attention: Attention, found: Reads) -> str:
    """Return after how many keys a step waits, so that not all elements are loaded at once.

    Found by compiling for sm_100 at head_dim 128 with ptxas of Triton 3.9: what the score reads
    lies beside three fragments of scores without a spill in the loop, what the mask reads beside
    two.
    """
    if not found.step:
        return ""
    masked = any(in_loop(lookup) for lookup in lookups(attention.mask))
    return "TILE_K // 2" if masked else "TILE_K - FRAGMENT"


def _row_place(schedule: BlackwellSchedule, where: Lengths, *, with_kv: bool) -> tuple[str, ...]:
    kv = ("hkv = pack * PACK // GROUP",) if with_kv else ()
    if schedule.pack == 1:
        first = f"(q_tile * {where.tiles} + TILE) * TILE_Q"
        return (f"q = {first} + gl.arange(0, TILE_Q, rows)", "h = pack", *kv)
    return (
        "row = gl.arange(0, TILE_Q, rows)",
        "q = (q_tile * QUERY_TILES + TILE) * (TILE_Q // PACK) + row // PACK",
        "h = pack * PACK + row % PACK",
        *kv,
    )


def _tree(pair: str, name: str, count: int) -> str:
    """Return a balanced tree over ``name[0]``, ``name[1]``, ...: neighbours first."""
    terms = [f"{name}[{index}]" for index in range(count)]
    while len(terms) > 1:
        terms = [
            pair.format(*terms[index : index + 2]) if index + 1 < len(terms) else terms[index]
            for index in range(0, len(terms), 2)
        ]
    return terms[0]


_ENDS = {
    KeyLoops.MASKED: ((3, 0, True),),
    KeyLoops.MASKED_FULL: ((3, 2, True), (2, 1, False)),
    KeyLoops.MASKED_FULL_MASKED: ((3, 2, True), (2, 1, False), (1, 0, True)),
}
"""Of each loop: where it ends and begins in (begin, full_begin, full_end, end), and its mask."""


def _runs(which: KeyLoops, walk: Walk, arguments: tuple[str, ...]) -> tuple[Run, ...]:
    """Return the softmax loops: ranges from their ends down."""
    return tuple(
        Run(
            count=f"{name}[{end}] - {name}[{begin}]",
            last=f"{name}[{end}] - 1",
            arguments=(*arguments, "key", str(masked), "TILE"),
        )
        for name in walk.spans
        for end, begin, masked in _ENDS[which]
    )
