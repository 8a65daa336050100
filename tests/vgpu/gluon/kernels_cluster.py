"""Gluon kernels on clusters of two CTAs, and one whose programs take over work from others.

`BROKEN` names one bug to build in; empty is the correct kernel.
"""

# ruff: noqa: N803 - constants of a kernel are written in capitals; bugs are switches
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.blackwell import (
    TensorMemoryLayout,
    allocate_tensor_memory,
    clc,
    tcgen05_commit,
    tcgen05_copy,
    tcgen05_mma,
    tcgen05_mma_barrier_count,
)
from triton.experimental.gluon.language.nvidia.hopper import (
    cluster,
    fence_async_shared,
    mbarrier,
    tma,
)


@gluon.jit
def matmul_cluster(
    a_desc, b_desc, c_desc, steps,
    STAGES: gl.constexpr, TWO_CTAS: gl.constexpr, MULTICAST: gl.constexpr, BROKEN: gl.constexpr,
):  # fmt: skip
    """C = A·B on two CTAs, each with half of the rows.

    With `TWO_CTAS` the pair multiplies together, each holding half of B; without, each multiplies
    for itself, and B goes to both at once if `MULTICAST`. The first CTA then loads B for the other
    as well, once that one knows its buffer to be free: a product's arrivals are two events.
    """
    tile_m: gl.constexpr = a_desc.block_type.shape[0]
    tile_k: gl.constexpr = a_desc.block_type.shape[1]
    tile_n: gl.constexpr = b_desc.block_type.shape[1]
    a_ring = gl.allocate_shared_memory(a_desc.dtype, [STAGES, tile_m, tile_k], a_desc.layout)
    b_ring = gl.allocate_shared_memory(b_desc.dtype, [STAGES, tile_k, tile_n], b_desc.layout)
    staging = gl.allocate_shared_memory(c_desc.dtype, [tile_m, tile_n], c_desc.layout)
    in_tmem: gl.constexpr = TensorMemoryLayout(
        [tile_m // 2, tile_n], 1, c_desc.layout.cga_layout, two_ctas=TWO_CTAS)  # fmt: skip
    acc = allocate_tensor_memory(gl.float32, [tile_m, tile_n], in_tmem)
    full = mbarrier.allocate_mbarrier(batch=STAGES, two_ctas=TWO_CTAS)
    empty = mbarrier.allocate_mbarrier(batch=STAGES)
    ready = mbarrier.allocate_mbarrier(two_ctas=True)
    # A buffer is free when every CTA that holds a copy of it has multiplied.
    users: gl.constexpr = tcgen05_mma_barrier_count(
        [a_ring.index(0), b_ring.index(0)], MULTICAST, TWO_CTAS)  # fmt: skip
    for slot in gl.static_range(STAGES):
        mbarrier.init(full.index(slot), count=1)
        mbarrier.init(empty.index(slot), count=1 if BROKEN == "one user counted" else users)
    if MULTICAST:
        mbarrier.init(ready, count=1)
    done = mbarrier.allocate_mbarrier()
    mbarrier.init(done, count=1)
    for i in range(steps):
        stage = i % STAGES
        if BROKEN == "buffer not waited for":
            mbarrier.wait(empty.index(stage), (i // STAGES & 1) ^ 1, pred=i != STAGES)
        else:
            mbarrier.wait(empty.index(stage), (i // STAGES & 1) ^ 1)
        if BROKEN == "bytes of the whole cluster":
            mbarrier.expect(full.index(stage), a_desc.block_type.nbytes + b_desc.nbytes_per_cta)
        else:
            mbarrier.expect(full.index(stage), a_desc.nbytes_per_cta + b_desc.nbytes_per_cta)
        k = i * tile_k
        tma.async_load(a_desc, [0, k], full.index(stage), a_ring.index(stage))
        if MULTICAST and BROKEN != "the other CTA not waited for":
            mbarrier.arrive(ready, count=1)
            mbarrier.wait(ready, i & 1)
        tma.async_load(b_desc, [k, 0], full.index(stage), b_ring.index(stage), multicast=MULTICAST)
        mbarrier.wait(full.index(stage), i // STAGES & 1)
        tcgen05_mma(
            a_ring.index(stage), b_ring.index(stage), acc, use_acc=i > 0,
            multicast=MULTICAST, mbarriers=[empty.index(stage)],
        )  # fmt: skip
    tcgen05_commit(done)
    if BROKEN != "product not waited for":
        mbarrier.wait(done, 0)
    staging.store(acc.load().to(c_desc.dtype))
    fence_async_shared()
    tma.async_store(c_desc, [0, 0], staging)
    tma.store_wait(0)


@gluon.jit
def clc_copy(x_ptr, out_ptr, TILE: gl.constexpr, BROKEN: gl.constexpr):
    """out = x + 1; a program that is done takes over the tile of one that has not started."""
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [gl.num_warps()], [0])
    answer = gl.allocate_shared_memory(gl.int64, [2], gl.SwizzledSharedLayout(1, 1, 1, [0]))
    answered = mbarrier.allocate_mbarrier()
    mbarrier.init(answered, count=1)
    tile = gl.program_id(0)
    phase = 0
    has_work = gl.to_tensor(True)
    while has_work:
        mbarrier.expect(answered, 8 if BROKEN == "too few bytes" else 16)
        clc.try_cancel(answer, answered)
        at = tile * TILE + gl.arange(0, TILE, layout)
        gl.store(out_ptr + at, gl.load(x_ptr + at) + 1.0)
        if BROKEN != "answer not waited for":
            mbarrier.wait(answered, phase)
        response = clc.load_result(answer)
        has_work = response.is_canceled() | (BROKEN == "never ends")
        if BROKEN != "never ends":
            tile = response.program_id(0)
        phase = phase ^ 1
    mbarrier.invalidate(answered)


@gluon.jit
def copied_start(a_desc, b_desc, c_desc, start_desc, TWO_CTAS: gl.constexpr, BROKEN: gl.constexpr):
    """C = A·B + start; start goes from shared to tensor memory by tcgen05.cp, ahead of the product.

    On two CTAs the first copies and multiplies for both.
    """
    tile_m: gl.constexpr = a_desc.block_type.shape[0]
    tile_k: gl.constexpr = a_desc.block_type.shape[1]
    tile_n: gl.constexpr = b_desc.block_type.shape[1]
    a = gl.allocate_shared_memory(a_desc.dtype, [tile_m, tile_k], a_desc.layout)
    b = gl.allocate_shared_memory(b_desc.dtype, [tile_k, tile_n], b_desc.layout)
    start = gl.allocate_shared_memory(gl.float32, [tile_m, tile_n], start_desc.layout)
    staging = gl.allocate_shared_memory(c_desc.dtype, [tile_m, tile_n], c_desc.layout)
    in_tmem: gl.constexpr = TensorMemoryLayout(
        [128, tile_n], col_stride=1, cga_layout=c_desc.layout.cga_layout, two_ctas=TWO_CTAS,
    )  # fmt: skip
    acc = allocate_tensor_memory(gl.float32, [tile_m, tile_n], in_tmem)
    full = mbarrier.allocate_mbarrier(two_ctas=TWO_CTAS)
    done = mbarrier.allocate_mbarrier()
    mbarrier.init(full, count=1)
    mbarrier.init(done, count=1)
    size: gl.constexpr = a_desc.nbytes_per_cta + b_desc.nbytes_per_cta + start_desc.nbytes_per_cta
    mbarrier.expect(full, size)
    tma.async_load(a_desc, [0, 0], full, a)
    tma.async_load(b_desc, [0, 0], full, b)
    tma.async_load(start_desc, [0, 0], full, start)
    if BROKEN == "copied before it has come":
        tcgen05_copy(start, acc)
    mbarrier.wait(full, 0)
    if BROKEN != "copied before it has come":
        tcgen05_copy(start, acc)
    tcgen05_mma(a, b, acc, use_acc=True)
    tcgen05_commit(done)
    if BROKEN == "start overwritten while it is copied":
        start.store(gl.zeros([tile_m, tile_n], gl.float32, acc.get_reg_layout()))
    if BROKEN != "product not waited for":
        mbarrier.wait(done, 0)
    staging.store(acc.load().to(c_desc.dtype))
    fence_async_shared()
    tma.async_store(c_desc, [0, 0], staging)
    tma.store_wait(0)


@gluon.jit
def clc_copy_cluster(x_ptr, out_ptr, TILE: gl.constexpr, BROKEN: gl.constexpr):
    """out = x + 1 by clusters; the first CTA asks for another cluster's tile, both are told."""
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [gl.num_warps()], [0], cga_layout=[[1]])
    told: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0], cga_layout=[[0]])
    answer = gl.allocate_shared_memory(gl.int64, [2], told)
    answered = mbarrier.allocate_mbarrier()
    mbarrier.init(answered, count=1)
    tile = gl.program_id(0)
    phase = 0
    has_work = gl.to_tensor(True)
    while has_work:
        if BROKEN == "announced for the first answer only":
            mbarrier.expect(answered, 16, pred=phase == 0)
        else:
            mbarrier.expect(answered, 8 if BROKEN == "too few bytes" else 16)
        clc.try_cancel(answer, answered)
        at = tile * TILE + gl.arange(0, TILE, layout)
        gl.store(out_ptr + at, gl.load(x_ptr + at) + 1.0)
        if BROKEN != "answer not waited for":
            mbarrier.wait(answered, phase)
        response = clc.load_result(answer)
        has_work = response.is_canceled()
        tile = response.program_id(0)
        phase = phase ^ 1
        # The first CTA may not ask again before the other has read the answer and waits anew.
        if BROKEN != "CTAs do not wait for each other":
            cluster.barrier()
    mbarrier.invalidate(answered)
