"""The context of a ``blackwell`` module: every choice of the schedule as text for its templates."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Var
from flash4gen.ir.masks import bounds
from flash4gen.ir.masks.scalar import ZERO
from flash4gen.ir.nodes import DType, EmptyRow
from flash4gen.render import expressions
from flash4gen.render.blackwell_cluster import Sharing, sharing
from flash4gen.render.blackwell_constants import FRAGMENT, blackwell_constants, chunk
from flash4gen.render.blackwell_kernel import specialised, tiles
from flash4gen.render.blackwell_reads import (
    Reads,
    blackwell_inputs,
    element_names,
    normalise,
    reads,
    score_arguments,
)
from flash4gen.render.context import Header, Impl, Interface
from flash4gen.render.context_blackwell import (
    BlackwellContext,
    Correction,
    Fetch,
    Mma,
    RowMaximum,
    Run,
    SoftmaxRole,
    Spans,
    StoreRole,
    TensorMemory,
    Walk,
    Work,
)
from flash4gen.render.environment import call
from flash4gen.render.folding import FoldedScore, fold
from flash4gen.render.inputs import outside
from flash4gen.render.key_masks import key_mask
from flash4gen.schedule.blackwell.model import (
    BlackwellSchedule,
    Dispatch,
    RowMax,
    Tanh,
    TensorPlan,
)
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.render.context import Mask
    from flash4gen.render.context_blackwell import KeyMask
    from flash4gen.schedule.model import Choice

ELEMENT = {DType.FP16: "gl.float16", DType.BF16: "gl.bfloat16"}

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
    mask = expressions.mask(attention, rows="ROWS")
    walk = _walk(mask)
    element = ELEMENT[attention.dtype]
    shared = sharing(schedule)
    zero = attention.empty_row is EmptyRow.ZERO
    empty = "0.0" if zero else 'float("nan")'
    found, names = reads(attention), element_names(schedule)
    masked = key_mask(attention, mask, names)
    tanh = "tanh_approx" if schedule.tanh is Tanh.APPROX else "tanh_packed"
    helpers = expressions.arithmetic(attention, folded.body, tanh)
    return BlackwellContext(
        header=head,
        imports=_imports(schedule, uses_libdevice=helpers.libdevice),
        constants=blackwell_constants(attention, hardware, choice, folded),
        arithmetic=helpers,
        eager=expressions.eager(attention, empty),
        interface=interface,
        mask=mask,
        spans=_spans(mask),
        place=Impl(_PLACE[schedule.order]),
        cluster=Impl(shared.impl),
        work=Work("clc" if schedule.dispatch is Dispatch.CLC else "strided", shared.answer_layout),
        plan=TensorMemory(schedule.plan.value, element, shared.score_layout, tiles(schedule, "")),
        fetch=_fetch(schedule, shared, walk),
        mma=_products_role(schedule, shared, walk),
        score=expressions.score(attention, folded.body),
        key_mask=masked,
        row_max=_row_max(attention, schedule, folded),
        exp2=Impl("mixed" if schedule.emulated else "hardware"),
        softmax=_softmax(attention, schedule, folded, walk, found, masked=masked),
        correction=Correction(
            walk=walk,
            dtype=element,
            vote=shared.vote,
            least=shared.least,
            empty_text="0" if zero else "NaN",
            tiles=tiles(schedule),
        ),
        store=StoreRole(_places(schedule)[1], tiles(schedule)),
        specialised=specialised(schedule, hardware, empty),
        inputs=blackwell_inputs(attention, schedule, found),
        normalise=normalise(attention, schedule, found, empty),
    )


_QK = ("memory", "bars", "TILE: gl.constexpr", "stage", "turn")

_PLACE = {
    TileOrder.LONGEST_FIRST: "longest_first",
    TileOrder.QUERY_TILES_FIRST: "query_tiles_first",
}


def _order(schedule: BlackwellSchedule) -> str:
    """Return whether the next scores are multiplied ahead of the last weights, or behind them."""
    return "behind" if schedule.plan is TensorPlan.P_IN_S else "ahead"


def _fetch(schedule: BlackwellSchedule, shared: Sharing, walk: Walk) -> Fetch:
    """Return the load warp."""
    chunked = chunk(schedule) is not None
    return Fetch(
        impl=_order(schedule),
        chunked=chunked,
        q_place=_places(schedule)[0],
        ring=shared.ring,
        slot=shared.slot,
        keys=shared.keys,
        values=shared.values,
        key_chunks=", HEAD_CHUNKS" if chunked else "",
        value_chunks=", VALUE_CHUNKS" if chunked else "",
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


def _spans(mask: Mask) -> Spans:
    read = _names(mask)
    known = {"h": "h = pack * PACK", "hkv": "hkv = pack * PACK // GROUP"}
    keep = "(begin, full_begin, full_end, end)"
    least = "end = gl.maximum(end, begin + 1)\n    "
    names = ("first", "second") if mask.two else ("span",)
    return Spans(
        parameters=_span_arguments(mask),
        lines=(
            "seq_q, seq_k = problem.seq_q, problem.seq_k",
            "q_first = q_tile * ROWS",
            *(known[name] for name in read if name in known),
        ),
        spans=tuple(
            f"{'' if index else least}{f'{name} = {keep}' if mask.two else ''}".rstrip()
            for index, name in enumerate(names)
        ),
        result=", ".join(names) if mask.two else keep.strip("()"),
    )


def _span_arguments(mask: Mask) -> tuple[str, ...]:
    read = _names(mask)
    pack = ("pack",) if {"h", "hkv"} & {*read} else ()
    return ("q_tile", *pack, *(("b",) if "b" in read else ()), "problem")


def _walk(mask: Mask) -> Walk:
    names = ("first", "second") if mask.two else ("span",)
    down = names[::-1]
    return Walk(
        place=(
            "q_tile, pack, b = _place(work, problem)",
            f"{', '.join(names)} = _spans({', '.join(_span_arguments(mask))})",
        ),
        spans=down,
        count=" + ".join(f"{name}[3] - {name}[0]" for name in down),
    )


def _places(schedule: BlackwellSchedule) -> tuple[str, str]:
    """Return the coordinates of a query tile, and of a part of an output tile."""
    inner = "0, " if schedule.pack > 1 else ""
    column = "chunk * CHUNK" if chunk(schedule) is not None else "0"
    return f"[b, q, pack, {inner}{column}]", f"[b, q, pack, {inner}column]"


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


def _row_max(attention: Attention, schedule: BlackwellSchedule, folded: FoldedScore) -> RowMaximum:
    load = schedule.row_max is RowMax.LOAD
    if folded.identity:
        return RowMaximum(impl="load" if load else "reduce", score="", row_score="")
    scaled = "bw.mul2(part, gl.full_like(part, PRESCALE))"
    more = score_arguments(attention, folded.body, element_names(schedule))
    score = call((scaled, *more), "part = _score(", indent=8).replace("\n" + " " * 8, "\n")
    if folded.monotone:
        impl = "monotone_load" if load else "monotone"
        return RowMaximum(impl=impl, score=score, row_score="_score(top * PRESCALE)")
    return RowMaximum(impl="reduce", score=score, row_score="")


def _softmax(
    attention: Attention,
    schedule: BlackwellSchedule,
    folded: FoldedScore,
    walk: Walk,
    found: Reads,
    masked: KeyMask,
) -> SoftmaxRole:
    read = (outside(folded.body) - {Var.S}) | found.step_variables | set(map(Var, masked.reads))
    state = tuple(var.value for var in (Var.Q, Var.H, Var.HKV, Var.B) if var in read)
    state += (*(("keys",) if masked.bits else ()), *found.handed)
    fixed = ("memory", "bars", "problem", "row_max", "row_sum", "turn", "done")
    fragments = schedule.tile_k // FRAGMENT
    return SoftmaxRole(
        walk=walk,
        row_place=_row_place(schedule, with_kv=Var.HKV in read or found.needs_kv),
        runs=_runs(attention, walk, (*fixed, *state)),
        step_parameters=(*fixed, *state, "key", "MASKED: gl.constexpr", "TILE: gl.constexpr"),
        step_lines=(),
        columns=Var.K in read,
        largest=_tree("gl.maximum({}, {})", "tops", fragments),
        total=_tree("({} + {})", "sums", fragments).removeprefix("(").removesuffix(")"),
        dtype=ELEMENT[attention.dtype],
        early=bool(schedule.early),
    )


def _row_place(schedule: BlackwellSchedule, *, with_kv: bool) -> tuple[str, ...]:
    kv = ("hkv = pack * PACK // GROUP",) if with_kv else ()
    if schedule.pack == 1:
        first = "(q_tile * QUERY_TILES + TILE) * TILE_Q"
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


def _runs(attention: Attention, walk: Walk, arguments: tuple[str, ...]) -> tuple[Run, ...]:
    """Return the softmax loops: ranges from their ends down, masked, full, and masked tiles."""
    known = bounds(attention.mask)
    sure = not known.segments or any(
        start != ZERO
        for segment in known.segments
        for start in (segment.live_start, segment.full_start)
    )
    runs = []
    for name in walk.spans:
        ends = [(3, 2, True)]
        if known.has_full:
            ends.append((2, 1, False))
            if sure:
                ends.append((1, 0, True))
        runs += [
            Run(
                count=f"{name}[{end}] - {name}[{begin}]",
                last=f"{name}[{end}] - 1",
                arguments=(*arguments, "key", str(masked), "TILE"),
            )
            for end, begin, masked in ends
        ]
    return tuple(runs)
