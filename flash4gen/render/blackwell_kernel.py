"""The kernel that starts the roles of a ``blackwell`` module, its memory and launch, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.render.blackwell_cluster import sharing
from flash4gen.render.blackwell_constants import chunk
from flash4gen.render.context_blackwell import Named, Roles, Specialised
from flash4gen.schedule.blackwell.memory import memory_plan
from flash4gen.schedule.blackwell.model import Dispatch
from flash4gen.schedule.blackwell.short import one_tile
from flash4gen.schedule.model import TileOrder

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.render.context_blackwell import Lengths
    from flash4gen.schedule.blackwell.memory import Barrier
    from flash4gen.schedule.blackwell.model import BlackwellSchedule

ROW_BYTES = 16
"""What strides of a tensor are a multiple of for the copy engine (PTX ISA, tensor maps)."""

_BARRIERS = {
    "q_full": ("QUERY_TILES", "load → mma: a query tile has arrived"),
    "q_empty": ("QUERY_TILES", "mma → load: all products that read it are done"),
    "kv_full": ("STAGES", "load → mma: a key or value tile has arrived"),
    "kv_empty": ("STAGES", "mma → load: it may be overwritten"),
    "s_full": ("QUERY_TILES", "mma → softmax: scores are there"),
    "s_empty": ("QUERY_TILES", "softmax → mma: scores are in registers"),
    "p_ready": (
        "QUERY_TILES",
        "softmax, correction → mma: early weights, O rescaled; 2",
    ),
    "p_last": ("QUERY_TILES", "softmax → mma: the late weights are there too"),
    "pv_done": ("QUERY_TILES", "mma → softmax, correction: P is read, O at rest"),
    "o_empty": ("QUERY_TILES", ""),
    "o_full": ("QUERY_TILES", "mma → correction: the output is complete"),
    "stats_full": ("QUERY_TILES", "softmax → correction: a factor of each row"),
    "stats_empty": ("QUERY_TILES", "correction → softmax: it has been read"),
    "o_staged": ("STAGING", "correction → store: an output lies in shared memory"),
    "o_stored": ("STAGING", "store → correction: it has been read"),
    "work_full": ("1", "hardware → all: the next work tile is known"),
    "work_empty": ("1", "all → load: it has been read; one of each role"),
}

_WITHOUT_SOFTMAX = {
    "p_ready": "sigmoid → mma: early weights",
    "pv_done": "mma → sigmoid: P is read",
    "o_empty": "output → mma: it has been read",
}

_INTEGERS = {
    "seq_q": "queries of a batch entry",
    "seq_k": "its keys",
    "batch": "sequences",
    "total_q": "queries of all of them",
    "q_tiles": "work tiles along the queries",
    "packs": "packs of query heads, over all batch entries",
    "works": "work tiles",
    "head_chunks": "HEAD_CHUNKS, known at run time only: the loop over them stays a loop",
    "section": "packs whose keys and values share L2",
}


def specialised(
    schedule: BlackwellSchedule, hardware: Hardware, where: Lengths, empty_value: str, element: str
) -> Specialised:
    """Return the context of ``shared/specialised``; ``element``: the type of tensor ``x``."""
    longest = schedule.order is TileOrder.LONGEST_FIRST
    plan, shared, short = memory_plan(schedule), sharing(schedule), one_tile(schedule)
    packed, chunked = where.impl == "packed", chunk(schedule) is not None
    names = _integers(packed=packed, longest=longest, chunked=chunked)
    entry = "1, 1" if packed else "1"
    width, value_width, per_tile = "HEAD_PAD", "VALUE_PAD", ""
    if chunked:
        width, value_width, per_tile = "CHUNK", "CHUNK", " * HEAD_CHUNKS"
    pack = ", PACK" if schedule.pack > 1 else ""
    rows = "TILE_Q // PACK" if schedule.pack > 1 else "TILE_Q"
    host_rows = rows.replace("TILE_Q", "TILE_Q.value").replace("PACK", "PACK.value")
    host_pack = ", PACK.value" if schedule.pack > 1 else ""
    view = "packed_" if schedule.pack > 1 else ""
    return Specialised(
        integers=tuple(Named(name, _INTEGERS[name]) for name in names),
        barriers=tuple(
            Named(
                barrier.name,
                _reason(barrier.name, schedule),
                f"{_slots(barrier, schedule)}, {count}",
            )
            for barrier in plan.barriers
            for count in (shared.arrivals(barrier.name, _arrivals(barrier, schedule)),)
        ),
        fields=(
            *(("cu_q_ptr", "cu_k_ptr") if packed else ()),
            *names,
            *(("TILES",) if short is not None else ()),
        ),
        tiles=tiles(schedule, ""),
        roles=_roles(schedule, ""),
        short=None if short is None else _roles(short, "SHORT_"),
        q_smem=f"[{tiles(schedule, '')}{per_tile}, {entry}, {rows}, 1{pack}, {width}]",
        k_smem=f"[{shared.key_slots}, {entry}, TILE_K, 1, {width}]",
        v_smem=f"[{shared.value_slots}, {entry}, TILE_K, 1, {value_width}]",
        out_smem=f"[STAGING, {entry}, {rows}, 1{pack}, OUT_COLUMNS]",
        q_tensor=(
            f"{view}q",
            f"[{entry}, {host_rows}, 1{host_pack}, {width}.value]{shared.rows_split}",
        ),
        k_box=f"[{entry}, TILE_K.value, 1, {width}.value]{shared.rows_split}",
        v_box=f"[{entry}, TILE_K.value, 1, {value_width}.value]{shared.columns_split}",
        out_tensor=(
            f"{view}out",
            f"[{entry}, {host_rows}, 1{host_pack}, OUT_COLUMNS.value]{shared.rows_split}",
        ),
        output_layout=shared.output_layout,
        rows_layout=shared.rows_layout,
        sections=_statements(schedule, where, short=short is not None),
        grid=_grid(schedule, hardware),
        empty_value=empty_value,
        empty_second='float("-inf")' if schedule.normalised else "0.0",
        statistics=schedule.normalised,
        row_elements=ROW_BYTES // schedule.element,
        element_of=element,
    )


def _integers(*, packed: bool, longest: bool, chunked: bool) -> list[str]:
    """Return the names of the runtime integers."""
    names = ["batch", "total_q"] if packed else ["seq_q", "seq_k"]
    names += ["q_tiles", *(["packs", "section"] if longest else []), "works"]
    return names + (["head_chunks"] if chunked else [])


def tiles(schedule: BlackwellSchedule, of: str = "problem.") -> str:
    """Return how many query tiles a program has: always as many, or as the launch says.

    Args:
        schedule: of the module.
        of: what the parameter of the kernel is a field of.
    """
    return f"{of}TILES" if schedule.short_queries else "QUERY_TILES"


def _roles(kernel: BlackwellSchedule, prefix: str) -> Roles:
    """Return the warps of one kernel; the constants of its registers begin with the prefix."""
    softmax = tuple(range(kernel.query_tiles))
    return Roles(
        softmax_tiles=softmax,
        weights="_softmax" if kernel.normalised else "_weigh",
        output="_correct" if kernel.normalised else "_output",
        warps=f"[{', '.join([*(['4'] * len(softmax)), '1', '1', '1'])}]",
        registers=(
            *[f"{prefix}SOFTMAX_REGISTERS"] * len(softmax),
            *[f"{prefix}OTHER_REGISTERS"] * 3,
        ),
    )


def _grid(schedule: BlackwellSchedule, hardware: Hardware) -> str:
    """Return how many programs are launched; a program has an SM for each of its CTAs."""
    at_once = hardware.sms // schedule.ctas
    return f"min(works, {at_once})" if schedule.dispatch is Dispatch.STATIC else "works"


def _reason(barrier: str, schedule: BlackwellSchedule) -> str:
    """Return who waits for whom."""
    text = _BARRIERS[barrier][1]
    if schedule.normalised:
        return text
    text = _WITHOUT_SOFTMAX.get(barrier, text)
    return text.replace("softmax", "sigmoid").replace("correction", "output")


def _slots(barrier: Barrier, schedule: BlackwellSchedule) -> str:
    """Return how many mbarriers an array has, by the constant's name where there is one."""
    name = _BARRIERS[barrier.name][0]
    known = {"QUERY_TILES": schedule.query_tiles, "STAGES": schedule.stages}
    known["STAGING"] = schedule.staging
    if known.get(name) != barrier.count:
        return str(barrier.count)
    return tiles(schedule, "") if name == "QUERY_TILES" else name


def _arrivals(barrier: Barrier, schedule: BlackwellSchedule) -> str:
    """Return how many arrivals complete a phase; one of each role where the roles are not fixed."""
    softmax = sum(arriver.startswith("softmax") for arriver in barrier.arrivers)
    if not schedule.short_queries or softmax < schedule.query_tiles:
        return str(barrier.arrivals)
    return f"TILES + {barrier.arrivals - softmax}"


_PACKED = tuple(
    f"packed_{name} = {name}.unflatten(2, (PACKS.value, PACK.value))" for name in ("q", "out")
)

_SHORT = ("tiles = 1 if seq_q * PACK.value <= SHORT_QUERIES else QUERY_TILES.value",)


def _statements(schedule: BlackwellSchedule, where: Lengths, *, short: bool) -> tuple[str, ...]:
    """Return the statements of the launch that follow the number of work tiles."""
    return (
        *(_sections(where) if schedule.order is TileOrder.LONGEST_FIRST else ()),
        *(_PACKED if schedule.pack > 1 else ()),
        *(("head_chunks = HEAD_CHUNKS.value",) if chunk(schedule) is not None else ()),
        *(_SHORT if short and not where.before else ()),
    )


def _sections(where: Lengths) -> tuple[str, str]:
    """Return the statements that count the packs whose keys and values share L2."""
    return (
        f"key_bytes = {where.key_length} * (HEAD_DIM.value + VALUE_DIM.value) * q.element_size()",
        "section = min(packs, max(1, L2_BYTES // key_bytes) * GROUP.value // PACK.value)",
    )
