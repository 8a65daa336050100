"""Gluon kernels on clusters of two CTAs that send elements and signals to each other.

`BROKEN` names one bug to build in; empty is the correct kernel.
"""

# ruff: noqa: N803 - constants of a kernel are written in capitals; bugs are switches
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import async_store, cluster, mbarrier


@gluon.jit
def _offsets(ROWS: gl.constexpr, COLS: gl.constexpr, LAYOUT: gl.constexpr):
    row = gl.arange(0, ROWS, gl.SliceLayout(1, LAYOUT))
    col = gl.arange(0, COLS, gl.SliceLayout(0, LAYOUT))
    return row[:, None] * COLS + col[None, :]


@gluon.jit
def resplit_stores(
    x_ptr, out_ptr, tiles, ROWS: gl.constexpr, COLS: gl.constexpr, BROKEN: gl.constexpr
):
    """out = x + 1; each CTA reads half of the rows and writes half of the columns of a tile.

    Every CTA keeps a quarter of a tile and sends one to the other, into one buffer per CTA.
    """
    by_rows: gl.constexpr = gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0], cga_layout=[[1, 0]])
    by_cols: gl.constexpr = gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0], cga_layout=[[0, 1]])
    held: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0], cga_layout=[[0, 1]])
    buffer = gl.allocate_shared_memory(gl.float32, [ROWS, COLS], held)
    come = mbarrier.allocate_mbarrier()
    mbarrier.init(come, count=1)
    size: gl.constexpr = ROWS * COLS * 2
    for i in range(tiles):
        value = gl.load(x_ptr + i * ROWS * COLS + _offsets(ROWS, COLS, by_rows))
        if BROKEN == "bytes of one quarter":
            mbarrier.expect(come, size // 2)
        elif BROKEN == "bytes of both CTAs":
            mbarrier.expect(come, size * 2)
        else:
            mbarrier.expect(come, size)
        async_store(buffer, value + 1.0, come)
        if BROKEN != "quarters not waited for":
            mbarrier.wait(come, i & 1)
        result = buffer.load(by_cols)
        gl.store(out_ptr + i * ROWS * COLS + _offsets(ROWS, COLS, by_cols), result)
        # The other CTA may not send the next quarters before these have been read.
        if BROKEN == "CTAs do not wait for each other":
            pass
        elif BROKEN == "relaxed barrier":
            cluster.barrier(relaxed=True)
        elif BROKEN == "barrier in one branch":
            if i > 0:
                cluster.barrier()
        else:
            cluster.barrier()
    mbarrier.invalidate(come)


@gluon.jit
def resplit_registers(
    x_ptr, sum_ptr, count_ptr, ROWS: gl.constexpr, COLS: gl.constexpr, BROKEN: gl.constexpr
):
    """Sums of columns and of everything, whose elements lie on both CTAs."""
    by_rows: gl.constexpr = gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0], cga_layout=[[1, 0]])
    by_cols: gl.constexpr = gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0], cga_layout=[[0, 1]])
    value = gl.load(x_ptr + _offsets(ROWS, COLS, by_rows))
    total = gl.sum(gl.sum(value, 0), 0)
    moved = gl.convert_layout(value, by_cols)
    sums = gl.sum(moved, 0)
    col = gl.arange(0, COLS, gl.SliceLayout(0, by_cols))
    gl.store(sum_ptr + col, sums + total)
    gl.atomic_add(count_ptr, 1)


@gluon.jit
def _turn_worker(turn, ack, BROKEN: gl.constexpr):
    """Go ahead on the second CTA while the first waits for both."""
    mbarrier.wait(turn, 0)  # on the first CTA only
    mbarrier.arrive(turn, count=2)
    if BROKEN == "acknowledged by each":
        mbarrier.arrive(ack, count=1)
    else:
        mbarrier.arrive(ack, count=1, from_cta=0)
    if BROKEN != "acknowledgement not waited for":
        mbarrier.wait(ack, 0)


@gluon.jit
def _turn_other(turn, BROKEN: gl.constexpr):
    if BROKEN == "arrives twice":
        mbarrier.arrive(turn, count=2)
    else:
        mbarrier.arrive(turn, count=1)


@gluon.jit
def skewed_turns(out_ptr, BROKEN: gl.constexpr):
    """The first CTA waits for what the second does behind that wait: only skew lets it go on."""
    turn = mbarrier.allocate_mbarrier(two_ctas=True)
    ack = mbarrier.allocate_mbarrier()
    mbarrier.init(turn, count=1 if BROKEN == "count too low" else 2)
    mbarrier.init(ack, count=1)
    gl.warp_specialize(
        [(_turn_worker, (turn, ack, BROKEN)), (_turn_other, (turn, BROKEN))], [1], [24]
    )
    mbarrier.arrive(turn, count=1)
    if BROKEN != "given up while the other uses it":
        mbarrier.wait(turn, 1)
    gl.store(out_ptr, 1.0)
    mbarrier.invalidate(turn)
    mbarrier.invalidate(ack)


@gluon.jit
def resplit_loads(
    x_ptr, out_ptr, tiles, ROWS: gl.constexpr, COLS: gl.constexpr, BROKEN: gl.constexpr
):
    """out = x + 1; each CTA keeps half of the rows; it reads and rewrites half of the columns."""
    by_rows: gl.constexpr = gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0], cga_layout=[[1, 0]])
    by_cols: gl.constexpr = gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0], cga_layout=[[0, 1]])
    held: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [1, 0], cga_layout=[[1, 0]])
    kept = gl.allocate_shared_memory(gl.float32, [ROWS, COLS], held)
    for i in range(tiles):
        value = gl.load(x_ptr + i * ROWS * COLS + _offsets(ROWS, COLS, by_rows))
        kept.store(value + 0.5)
        if BROKEN != "read before it is there":
            cluster.barrier()
        moved = kept.load(by_cols)
        kept.store(moved + 0.5)  # where this CTA has read, on both
        if BROKEN != "relaxed barrier":
            cluster.barrier()
        else:
            cluster.barrier(relaxed=True)
        result = kept.load(by_rows)
        gl.store(out_ptr + i * ROWS * COLS + _offsets(ROWS, COLS, by_rows), result)
