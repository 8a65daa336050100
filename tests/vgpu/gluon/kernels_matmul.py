"""Warp-specialised matrix products in Gluon: with wgmma, and with tcgen05 and tensor memory.

C = A·B for A of [M, K] and B of [K, N], fp16 in and out. `BROKEN` names one bug to build in.
"""

# ruff: noqa: N803 - constants of a kernel are written in capitals; bugs are switches
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.blackwell import (
    TensorMemoryLayout,
    allocate_tensor_memory,
    tcgen05_commit,
    tcgen05_mma,
)
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)


@gluon.jit
def _barriers(COUNT: gl.constexpr, ARRIVALS: gl.constexpr):
    """Return `COUNT` initialised barriers."""
    bars = gl.allocate_shared_memory(gl.int64, [COUNT, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(COUNT):
        mbarrier.init(bars.index(i), count=ARRIVALS)
    return bars


@gluon.jit
def _invalidate(bars):
    count: gl.constexpr = bars.type.shape[0]
    for i in gl.static_range(count):
        mbarrier.invalidate(bars.index(i))


@gluon.jit
def _load(a_desc, b_desc, a_ring, b_ring, full, empty, tiles, steps, BROKEN: gl.constexpr):
    """Fill the rings with the operands of one tile of C after the other."""
    stages: gl.constexpr = a_ring.type.shape[0]
    tile_m: gl.constexpr = a_ring.type.shape[1]
    tile_k: gl.constexpr = a_ring.type.shape[2]
    size: gl.constexpr = a_desc.block_type.nbytes + b_desc.block_type.nbytes
    for i in range(tiles * steps):
        stage = i % stages
        k = i % steps * tile_k
        if BROKEN == "producer skips a wait":
            mbarrier.wait(empty.index(stage), (i // stages & 1) ^ 1, pred=i != stages)
        else:
            mbarrier.wait(empty.index(stage), (i // stages & 1) ^ 1)
        if BROKEN == "expects one operand":
            mbarrier.expect(full.index(stage), a_desc.block_type.nbytes)
        else:
            mbarrier.expect(full.index(stage), size)
        tma.async_load(a_desc, [i // steps * tile_m, k], full.index(stage), a_ring.index(stage))
        tma.async_load(b_desc, [k, 0], full.index(stage), b_ring.index(stage))


@gluon.jit
def _multiply(
    a_ring, b_ring, full, empty, acc, acc_full, acc_empty, tiles, steps, BROKEN: gl.constexpr
):
    """Issue the products; commits free ring buffers and publish accumulators."""
    stages: gl.constexpr = a_ring.type.shape[0]
    for tile in range(tiles):
        if BROKEN != "accumulator not waited for":
            mbarrier.wait(acc_empty.index(tile % 2), (tile // 2 & 1) ^ 1)
        for k in range(steps):
            i = tile * steps + k
            stage = i % stages
            if BROKEN != "operands not waited for":
                mbarrier.wait(full.index(stage), i // stages & 1)
            tcgen05_mma(
                a_ring.index(stage), b_ring.index(stage), acc.index(tile % 2), use_acc=k > 0
            )
            if BROKEN == "arrives instead of committing":
                mbarrier.arrive(empty.index(stage), count=1)
            else:
                tcgen05_commit(empty.index(stage))
        tcgen05_commit(acc_full.index(tile % 2))


@gluon.jit
def _store(c_desc, staging, acc, acc_full, acc_empty, tiles, BROKEN: gl.constexpr):
    """Write accumulators out, through shared memory and TMA."""
    tile_m: gl.constexpr = c_desc.block_type.shape[0]
    for tile in range(tiles):
        mbarrier.wait(acc_full.index(tile % 2), tile // 2 & 1)
        if BROKEN == "accumulator freed early":
            mbarrier.arrive(acc_empty.index(tile % 2), count=1)
        value = acc.index(tile % 2).load().to(c_desc.dtype)
        if BROKEN != "accumulator freed early":
            mbarrier.arrive(acc_empty.index(tile % 2), count=1)
        if BROKEN != "staging overwritten":
            tma.store_wait(0)
        staging.store(value)
        if BROKEN != "no fence":
            fence_async_shared()
        tma.async_store(c_desc, [tile * tile_m, 0], staging)
    tma.store_wait(0)


@gluon.jit
def matmul_tcgen05(
    a_desc, b_desc, c_desc, tiles, steps, STAGES: gl.constexpr, BROKEN: gl.constexpr
):
    """Roles: load, multiply, store; two accumulators in tensor memory alternate."""
    tile_m: gl.constexpr = a_desc.block_type.shape[0]
    tile_k: gl.constexpr = a_desc.block_type.shape[1]
    tile_n: gl.constexpr = b_desc.block_type.shape[1]
    a_ring = gl.allocate_shared_memory(a_desc.dtype, [STAGES, tile_m, tile_k], a_desc.layout)
    b_ring = gl.allocate_shared_memory(b_desc.dtype, [STAGES, tile_k, tile_n], b_desc.layout)
    staging = gl.allocate_shared_memory(c_desc.dtype, [tile_m, tile_n], c_desc.layout)
    in_tmem: gl.constexpr = TensorMemoryLayout([tile_m, tile_n], col_stride=1)
    acc = allocate_tensor_memory(gl.float32, [2, tile_m, tile_n], in_tmem)
    full = _barriers(STAGES, 1)
    empty = _barriers(STAGES, 2 if BROKEN == "count too high" else 1)
    acc_full = _barriers(2, 1)
    acc_empty = _barriers(2, 1)
    gl.warp_specialize(
        [
            (_store, (c_desc, staging, acc, acc_full, acc_empty, tiles, BROKEN)),
            (_multiply, (
                a_ring, b_ring, full, empty, acc, acc_full, acc_empty, tiles, steps, BROKEN,
            )),
            (_load, (a_desc, b_desc, a_ring, b_ring, full, empty, tiles, steps, BROKEN)),
        ],
        [1, 1], [48, 48],
    )  # fmt: skip
    _invalidate(full)
    _invalidate(empty)
    _invalidate(acc_full)
    _invalidate(acc_empty)


@gluon.jit
def _multiply_wgmma(
    c_desc, staging, a_ring, b_ring, full, empty, tiles, steps, BROKEN: gl.constexpr
):
    """Consume the ring with one product in flight; a buffer is free when its product is done."""
    stages: gl.constexpr = a_ring.type.shape[0]
    tile_m: gl.constexpr = a_ring.type.shape[1]
    tile_n: gl.constexpr = b_ring.type.shape[2]
    layout: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, tile_n, 16])
    for tile in range(tiles):
        acc = gl.zeros([tile_m, tile_n], gl.float32, layout)
        for k in range(steps):
            i = tile * steps + k
            stage = i % stages
            mbarrier.wait(full.index(stage), i // stages & 1)
            acc = warpgroup_mma(a_ring.index(stage), b_ring.index(stage), acc, is_async=True)
            acc = warpgroup_mma_wait(1, deps=(acc,))
            if BROKEN == "buffer freed too early":
                mbarrier.arrive(empty.index(stage), count=1)
            else:
                mbarrier.arrive(empty.index((i + stages - 1) % stages), count=1, pred=k > 0)
        value = warpgroup_mma_wait(0, deps=(acc,))
        if BROKEN != "buffer freed too early":
            mbarrier.arrive(empty.index((tile * steps + steps - 1) % stages), count=1)
        tma.store_wait(0)
        staging.store(value.to(c_desc.dtype))
        if BROKEN != "no fence":
            fence_async_shared()
        tma.async_store(c_desc, [tile * tile_m, 0], staging)
    tma.store_wait(0)


@gluon.jit
def matmul_wgmma(a_desc, b_desc, c_desc, tiles, steps, STAGES: gl.constexpr, BROKEN: gl.constexpr):
    """Roles: load; multiply and store."""
    tile_m: gl.constexpr = a_desc.block_type.shape[0]
    tile_k: gl.constexpr = a_desc.block_type.shape[1]
    tile_n: gl.constexpr = b_desc.block_type.shape[1]
    a_ring = gl.allocate_shared_memory(a_desc.dtype, [STAGES, tile_m, tile_k], a_desc.layout)
    b_ring = gl.allocate_shared_memory(b_desc.dtype, [STAGES, tile_k, tile_n], b_desc.layout)
    staging = gl.allocate_shared_memory(c_desc.dtype, [tile_m, tile_n], c_desc.layout)
    full = _barriers(STAGES, 1)
    empty = _barriers(STAGES, 1)
    gl.warp_specialize(
        [
            (_multiply_wgmma, (c_desc, staging, a_ring, b_ring, full, empty, tiles, steps, BROKEN)),
            (_load, (a_desc, b_desc, a_ring, b_ring, full, empty, tiles, steps, BROKEN)),
        ],
        [1], [24],
    )  # fmt: skip
    _invalidate(full)
    _invalidate(empty)
