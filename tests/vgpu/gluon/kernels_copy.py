"""Gluon kernels that move tiles: TMA in a ring of buffers, cp.async groups, producer and consumer.

Each adds one to its input, so that data passes through registers and both proxies are used.
`BROKEN` names one bug to build in; empty is the correct kernel.
"""

# ruff: noqa: C901, N803, SIM102 - constants of a kernel are written in capitals; bugs are switches
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma


@gluon.jit
def tma_copy(x_desc, out_desc, tiles, STAGES: gl.constexpr, BROKEN: gl.constexpr):
    """out = x + 1; a ring of `STAGES` buffers is filled ahead, one buffer carries stores out."""
    rows: gl.constexpr = x_desc.block_type.shape[0]
    cols: gl.constexpr = x_desc.block_type.shape[1]
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [gl.num_warps(), 1], [1, 0])
    ring = gl.allocate_shared_memory(x_desc.dtype, [STAGES, rows, cols], x_desc.layout)
    staging = gl.allocate_shared_memory(x_desc.dtype, [rows, cols], out_desc.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    if BROKEN != "barrier not initialised":
        for slot in gl.static_range(STAGES):
            mbarrier.init(full.index(slot), count=2 if BROKEN == "count too high" else 1)
    first = gl.program_id(0) * tiles * rows
    size: gl.constexpr = x_desc.block_type.nbytes // (2 if BROKEN == "too few bytes" else 1)
    extra: gl.constexpr = 128 if BROKEN == "too many bytes" else 0
    for slot in gl.static_range(STAGES):
        mbarrier.expect(full.index(slot), size + extra)
        tma.async_load(x_desc, [first + slot * rows, 0], full.index(slot), ring.index(slot))
    for i in range(tiles):
        stage = i % STAGES
        phase = (i // STAGES) & 1
        if BROKEN == "wrong phase":
            phase = phase ^ 1
        if BROKEN != "load not waited for":
            mbarrier.wait(full.index(stage), phase)
        value = ring.index(stage).load(layout)
        ahead = i + STAGES
        late = 1 if BROKEN == "expects one load more" else 0
        mbarrier.expect(full.index(stage), size + extra, pred=ahead < tiles + late)
        tma.async_load(
            x_desc,
            [first + ahead * rows, 0],
            full.index(stage),
            ring.index(stage),
            pred=ahead < tiles,
        )
        if BROKEN == "ring reinitialised":
            if i == 0:
                mbarrier.init(full.index(1), count=1)
        if BROKEN != "staging overwritten":
            tma.store_wait(0)
        staging.store(value + 1.0)
        if BROKEN != "no fence":
            fence_async_shared()
        if BROKEN == "same rows":
            tma.async_store(out_desc, [i * rows, 0], staging)
        else:
            tma.async_store(out_desc, [first + i * rows, 0], staging)
    if BROKEN != "store not waited for":
        tma.store_wait(0)
    for slot in gl.static_range(STAGES):
        mbarrier.invalidate(full.index(slot))


@gluon.jit
def cp_async_copy(
    x_ptr, out_ptr, tiles,
    ROWS: gl.constexpr, COLS: gl.constexpr, STAGES: gl.constexpr, BROKEN: gl.constexpr,
):  # fmt: skip
    """out = x + 1; cp.async groups run `STAGES - 1` tiles ahead of their use."""
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [gl.num_warps(), 1], [1, 0])
    shared: gl.constexpr = gl.SwizzledSharedLayout(8, 1, 8, order=[1, 0])
    ring = gl.allocate_shared_memory(x_ptr.dtype.element_ty, [STAGES, ROWS, COLS], shared)
    row = gl.arange(0, ROWS, gl.SliceLayout(1, layout))
    col = gl.arange(0, COLS, gl.SliceLayout(0, layout))
    first = gl.program_id(0) * tiles * ROWS
    at = (first + row)[:, None] * COLS + col[None, :]
    for slot in gl.static_range(STAGES - 1):
        async_copy.async_load(ring.index(slot), x_ptr + at + slot * ROWS * COLS)
        async_copy.commit_group()
    for i in range(tiles):
        if BROKEN == "group not waited for":
            async_copy.wait_group(STAGES - 1)
        elif BROKEN != "ring too short":
            async_copy.wait_group(STAGES - 2)
        ahead = i + STAGES - 1
        if BROKEN == "ring too short":
            ahead_stage = (ahead + 1) % STAGES
            async_copy.wait_group(STAGES - 2)
        else:
            ahead_stage = ahead % STAGES
        # A masked copy writes nothing; its buffer keeps what it had.
        live = (row + ahead * ROWS < tiles * ROWS)[:, None] & (col < COLS)[None, :]
        if BROKEN == "copy out of bounds":
            live = (row >= 0)[:, None] & (col < COLS)[None, :]
        async_copy.async_load(ring.index(ahead_stage), x_ptr + at + ahead * ROWS * COLS, mask=live)
        if BROKEN != "group not committed":
            async_copy.commit_group()
        value = ring.index(i % STAGES).load(layout)
        gl.store(out_ptr + at + i * ROWS * COLS, value + 1.0)
    if BROKEN != "copy in flight":
        async_copy.wait_group(0)


@gluon.jit
def _produce(x_desc, ring, full, empty, first, tiles, BROKEN: gl.constexpr):
    rows: gl.constexpr = x_desc.block_type.shape[0]
    stages: gl.constexpr = ring.type.shape[0]
    for i in range(tiles):
        stage = i % stages
        if BROKEN != "producer does not wait":
            mbarrier.wait(empty.index(stage), (i // stages & 1) ^ 1)
        mbarrier.expect(full.index(stage), x_desc.block_type.nbytes)
        tma.async_load(x_desc, [first + i * rows, 0], full.index(stage), ring.index(stage))
        if BROKEN == "over-arrival":
            mbarrier.arrive(full.index(stage), count=1)


@gluon.jit
def _produce_two(x_desc, ring, full, empty, first, tiles):
    """Fill a ring of one buffer twice a turn: a turn ends in the phase that the next one needs."""
    rows: gl.constexpr = ring.type.shape[1]
    for i in range(0, tiles, 2):
        for half in gl.static_range(2):
            mbarrier.wait(empty.index(0), 1 - half)
            mbarrier.expect(full.index(0), x_desc.block_type.nbytes)
            tma.async_load(x_desc, [first + (i + half) * rows, 0], full.index(0), ring.index(0))


@gluon.jit
def _consume(out_ptr, ring, full, empty, first, tiles, BROKEN: gl.constexpr):
    stages: gl.constexpr = ring.type.shape[0]
    rows: gl.constexpr = ring.type.shape[1]
    cols: gl.constexpr = ring.type.shape[2]
    layout: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [gl.num_warps(), 1], [1, 0])
    row = gl.arange(0, rows, gl.SliceLayout(1, layout))
    col = gl.arange(0, cols, gl.SliceLayout(0, layout))
    at = (first + row)[:, None] * cols + col[None, :]
    for i in range(tiles):
        stage = i % stages
        mbarrier.wait(full.index(stage), i // stages & 1)
        if BROKEN == "arrives too early":
            mbarrier.arrive(empty.index(stage), count=1)
        value = ring.index(stage).load(layout)
        if BROKEN == "arrives at the next stage":
            mbarrier.arrive(empty.index((i + 1) % stages), count=1)
        elif BROKEN != "arrives too early" and BROKEN != "consumer does not arrive":
            mbarrier.arrive(empty.index(stage), count=1)
        gl.store(out_ptr + at + i * rows * cols, value + 1.0)


@gluon.jit
def ring_copy(x_desc, out_ptr, tiles, STAGES: gl.constexpr, BROKEN: gl.constexpr):
    """out = x + 1; a producer partition fills a ring by TMA, a consumer partition empties it."""
    shape: gl.constexpr = x_desc.block_type.shape
    ring = gl.allocate_shared_memory(x_desc.dtype, [STAGES, shape[0], shape[1]], x_desc.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for slot in gl.static_range(STAGES):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=2 if BROKEN == "count too high" else 1)
    first = gl.program_id(0) * tiles * shape[0]
    if BROKEN == "two a turn":
        gl.warp_specialize(
            [
                (_consume, (out_ptr, ring, full, empty, first, tiles, BROKEN)),
                (_produce_two, (x_desc, ring, full, empty, first, tiles)),
            ],
            [1], [24],
        )  # fmt: skip
        return
    gl.warp_specialize(
        [
            (_consume, (out_ptr, ring, full, empty, first, tiles, BROKEN)),
            (_produce, (x_desc, ring, full, empty, first, tiles, BROKEN)),
        ],
        [1], [24],
    )  # fmt: skip
    for slot in gl.static_range(STAGES):
        mbarrier.invalidate(full.index(slot))
        mbarrier.invalidate(empty.index(slot))
