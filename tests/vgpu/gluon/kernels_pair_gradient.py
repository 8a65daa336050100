"""dQ of a pair of CTAs in Gluon: each has half of the keys, and dS changes hands between products.

FlashAttention-4's decomposition (flash_bwd_sm100.py, two CTAs): dS is found with a key in each lane
of tensor memory, 128 keys a CTA; dQ = dS·K sums over the keys of both, so that each CTA gives the
other its keys' part for half of the queries, and has half of dQ. `BROKEN` names one bug to build
in; empty is the correct kernel.
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
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma


@gluon.jit
def _hand_over(s, ds, FRAGMENT: gl.constexpr):
    """Store Sᵀ · 2⁻⁵ in 16 bits, of each query all keys in one CTA: [keys, CTA, queries / 2].

    A fragment of queries of either CTA is stored at once, so that threads of both store alike.
    """
    layout: gl.constexpr = s.slice(0, FRAGMENT).get_reg_layout()
    half: gl.constexpr = s.type.shape[1] // 2
    for first in gl.static_range(0, half, FRAGMENT):
        low = s.slice(first, FRAGMENT).load(layout) * 0.03125
        high = s.slice(half + first, FRAGMENT).load(layout) * 0.03125
        both = gl.permute(gl.join(low.to(ds.dtype), high.to(ds.dtype)), (0, 2, 1))
        ds.slice(first, FRAGMENT, dim=2).store(both)


@gluon.jit
def _barrier():
    """Return a barrier of both CTAs, with one arrival a phase."""
    bar = mbarrier.allocate_mbarrier(two_ctas=True)
    mbarrier.init(bar, count=1)
    return bar


@gluon.jit
def _agree(ready, i, BROKEN: gl.constexpr):
    """Wait until both CTAs have stored their halves of dS."""
    if BROKEN == "only one CTA says that it has stored":
        mbarrier.arrive(ready, count=1, pred=i != 1)
    else:
        mbarrier.arrive(ready, count=1)
    if BROKEN == "halves not waited for":
        mbarrier.wait(ready, i & 1, pred=i != 1)
    else:
        mbarrier.wait(ready, i & 1)


@gluon.jit
def pair_query_gradient(q_desc, k_desc, columns_desc, out_desc, tiles, BROKEN: gl.constexpr):
    """out = (K·Qᵀ · 2⁻⁵)ᵀ·K, tile after tile of queries.

    Each CTA has half of q and out, half of k, and of all keys half of the columns.
    """
    queries: gl.constexpr = q_desc.block_type.shape[0]
    keys: gl.constexpr = k_desc.block_type.shape[0]
    dim: gl.constexpr = k_desc.block_type.shape[1]
    q = gl.allocate_shared_memory(q_desc.dtype, [queries, dim], q_desc.layout)
    k = gl.allocate_shared_memory(k_desc.dtype, [keys, dim], k_desc.layout)
    columns = gl.allocate_shared_memory(k_desc.dtype, [keys, dim], columns_desc.layout)
    staging = gl.allocate_shared_memory(out_desc.dtype, [queries, dim], out_desc.layout)
    by_cta: gl.constexpr = gl.NVMMASharedLayout(
        swizzle_byte_width=128, element_bitwidth=16, rank=3, cga_layout=[[0, 1, 0]]
    )
    flat: gl.constexpr = gl.NVMMASharedLayout(
        swizzle_byte_width=128, element_bitwidth=16, rank=2, cga_layout=[[0, 1]]
    )
    ds = gl.allocate_shared_memory(q_desc.dtype, [keys, 2, queries // 2], by_cta)
    rows: gl.constexpr = [[1, 0]]
    s = allocate_tensor_memory(
        gl.float32, [keys, queries],
        TensorMemoryLayout([keys // 2, queries], col_stride=1, cga_layout=rows, two_ctas=True),
    )  # fmt: skip
    # In the place of scores that were read: 64 rows of a CTA take its 128 lanes of dim / 2 columns.
    dq = s.slice(0, dim // 2).reinterpret(
        gl.float32, [queries, dim],
        TensorMemoryLayout([queries // 2, dim], col_stride=1, cga_layout=rows, two_ctas=True),
    )  # fmt: skip
    # The second CTA waits at none of these, so that the keys have one of their own.
    kept, full, ready = _barrier(), _barrier(), _barrier()
    multiplied = mbarrier.allocate_mbarrier(batch=2)
    for i in gl.static_range(2):
        mbarrier.init(multiplied.index(i), count=1)
    mbarrier.expect(kept, k_desc.nbytes_per_cta + columns_desc.nbytes_per_cta)
    tma.async_load(k_desc, [0, 0], kept, k)
    tma.async_load(columns_desc, [0, 0], kept, columns)
    mbarrier.wait(kept, 0)
    for i in range(tiles):
        mbarrier.expect(full, q_desc.nbytes_per_cta)
        tma.async_load(q_desc, [i * queries, 0], full, q)
        mbarrier.wait(full, i & 1)
        tcgen05_mma(k, q.permute((1, 0)), s, use_acc=False)
        tcgen05_commit(multiplied.index(0))
        mbarrier.wait(multiplied.index(0), i & 1)
        _hand_over(s, ds, 32)
        if BROKEN != "no fence":
            fence_async_shared(cluster=True)
        _agree(ready, i, BROKEN)
        a = ds.reinterpret(q_desc.dtype, [keys, queries], flat)
        tcgen05_mma(a.permute((1, 0)), columns, dq, use_acc=False)
        tcgen05_commit(multiplied.index(1))
        if BROKEN != "product not waited for":
            mbarrier.wait(multiplied.index(1), i & 1)
        tma.store_wait(0)
        staging.store(dq.load().to(out_desc.dtype))
        fence_async_shared()
        tma.async_store(out_desc, [i * queries, 0], staging)
    tma.store_wait(0)
