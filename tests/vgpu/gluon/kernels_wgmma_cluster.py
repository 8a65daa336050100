"""A matrix product on two CTAs with wgmma in Gluon: roles on each, one operand sent to both.

C = A·B: each CTA has half of the rows of A and C; a tile of B goes to both from the first CTA,
which waits until both have used the buffer. `BROKEN` names one bug to build in.
"""

# ruff: noqa: N803 - constants of a kernel are written in capitals; bugs are switches
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)

from tests.vgpu.gluon.kernels_pair import _bars


@gluon.jit
def _load_both(
    a_desc, b_desc, a_ring, b_ring, full, empty, both_empty, steps, BROKEN: gl.constexpr
):
    """Load this CTA's rows of A; on the first CTA, B for both."""
    stages: gl.constexpr = a_ring.type.shape[0]
    tile_k: gl.constexpr = a_ring.type.shape[2]
    size: gl.constexpr = a_desc.nbytes_per_cta + b_desc.nbytes_per_cta
    for i in range(steps):
        at = i % stages
        if BROKEN != "own buffer not waited for":
            mbarrier.wait(empty.index(at), (i // stages & 1) ^ 1)
        if BROKEN == "B announced on one CTA":
            mbarrier.expect(full.index(at), a_desc.nbytes_per_cta)
        else:
            mbarrier.expect(full.index(at), size)
        tma.async_load(a_desc, [0, i * tile_k], full.index(at), a_ring.index(at))
        # Shared: only the first CTA waits, for both, since it sends to both.
        if BROKEN != "other buffer not waited for":
            mbarrier.wait(both_empty.index(at), (i // stages & 1) ^ 1)
        tma.async_load(b_desc, [i * tile_k, 0], full.index(at), b_ring.index(at), multicast=True)


@gluon.jit
def _multiply_rows(
    c_desc, staging, a_ring, b_ring, full, empty, both_empty, steps, BROKEN: gl.constexpr
):
    stages: gl.constexpr = a_ring.type.shape[0]
    tile_m: gl.constexpr = a_ring.type.shape[1]
    tile_n: gl.constexpr = b_ring.type.shape[2]
    layout: gl.constexpr = gl.NVMMADistributedLayout(
        [3, 0], [4, 1], [16, tile_n, 16], cga_layout=[[1, 0]]
    )
    acc = gl.zeros([tile_m, tile_n], gl.float32, layout)
    for i in range(steps):
        at = i % stages
        if BROKEN == "operands not waited for":
            mbarrier.wait(full.index(at), i // stages & 1, pred=i != 1)
        else:
            mbarrier.wait(full.index(at), i // stages & 1)
        acc = warpgroup_mma(a_ring.index(at), b_ring.index(at), acc, is_async=True)
        if BROKEN == "freed while products run":
            mbarrier.arrive(both_empty.index(at), count=1)
        acc = warpgroup_mma_wait(0, deps=(acc,))
        mbarrier.arrive(empty.index(at), count=1)
        if BROKEN != "freed while products run":
            mbarrier.arrive(both_empty.index(at), count=1)
    staging.store(acc.to(c_desc.dtype))
    if BROKEN != "no fence":
        fence_async_shared()
    tma.async_store(c_desc, [0, 0], staging)
    tma.store_wait(0)


@gluon.jit
def matmul_wgmma_cluster(a_desc, b_desc, c_desc, steps, STAGES: gl.constexpr, BROKEN: gl.constexpr):
    """Roles on each CTA: multiply and store; load."""
    tile_m: gl.constexpr = a_desc.block_type.shape[0]
    tile_k: gl.constexpr = a_desc.block_type.shape[1]
    tile_n: gl.constexpr = b_desc.block_type.shape[1]
    a_ring = gl.allocate_shared_memory(a_desc.dtype, [STAGES, tile_m, tile_k], a_desc.layout)
    b_ring = gl.allocate_shared_memory(b_desc.dtype, [STAGES, tile_k, tile_n], b_desc.layout)
    staging = gl.allocate_shared_memory(c_desc.dtype, [tile_m, tile_n], c_desc.layout)
    full = _bars(STAGES, 1, False)
    empty = _bars(STAGES, 1, False)
    both_empty = _bars(STAGES, 2 if BROKEN == "count too high" else 1, True)
    gl.warp_specialize(
        [
            (_multiply_rows, (
                c_desc, staging, a_ring, b_ring, full, empty, both_empty, steps, BROKEN,
            )),
            (_load_both, (
                a_desc, b_desc, a_ring, b_ring, full, empty, both_empty, steps, BROKEN,
            )),
        ],
        [1], [24],
    )  # fmt: skip
