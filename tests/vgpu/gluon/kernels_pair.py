"""Attention by pairs of CTAs in Gluon: products of 256 rows for tcgen05, roles on every CTA.

softmax(Q·Kᵀ·scale + bias)·V for one tile of 256 queries a cluster. Each CTA has 128 rows of Q, S, P
and O, and loads half of each key and value tile: half of the keys, half of the value columns. The
first CTA issues the products for both; its barriers take the bytes and the softmax threads of the
other. The bias of a key tile is the same for all queries: the first CTA loads it for both.
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
    tcgen05_commit,
    tcgen05_mma,
)
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma

from tests.vgpu.gluon.kernels_attention import _scale_rows, _step


@gluon.jit
def _bars(COUNT: gl.constexpr, ARRIVALS: gl.constexpr, SHARED: gl.constexpr):
    """Return barriers: one for each CTA, or one that both share on the first."""
    bars = mbarrier.allocate_mbarrier(batch=COUNT, two_ctas=SHARED)
    for i in gl.static_range(COUNT):
        mbarrier.init(bars.index(i), count=ARRIVALS)
    return bars


@gluon.jit
def _invalidate_all(bars):
    count: gl.constexpr = bars.type.shape[0]
    for i in gl.static_range(count):
        mbarrier.invalidate(bars.index(i))


@gluon.jit
def _weights(s, dtype: gl.constexpr):
    """Return the view of a score tile's first half in which its probabilities live."""
    rows: gl.constexpr = s.type.shape[0]
    cols: gl.constexpr = s.type.shape[1]
    layout: gl.constexpr = TensorMemoryLayout(
        [rows // 2, cols], col_stride=1, cga_layout=s.type.layout.cga_layout, two_ctas=True
    )
    return s.slice(0, cols // 2).reinterpret(dtype, [rows, cols], layout)


@gluon.jit
def _pair_load(
    k_desc, v_desc, bias_desc, k_ring, v_ring, bias, full, empty, bias_full, bias_empty, tiles,
    BROKEN: gl.constexpr,
):  # fmt: skip
    """Load this CTA's halves of keys and values; on the first CTA, the bias for both."""
    stages: gl.constexpr = k_ring.type.shape[0]
    keys: gl.constexpr = k_ring.type.shape[1]
    size: gl.constexpr = k_desc.nbytes_per_cta + v_desc.nbytes_per_cta
    for i in range(tiles):
        at = i % stages
        if BROKEN == "ring overwritten":
            mbarrier.wait(empty.index(at), (i // stages & 1) ^ 1, pred=i != stages)
        else:
            mbarrier.wait(empty.index(at), (i // stages & 1) ^ 1)
        if BROKEN == "bytes of both CTAs":
            mbarrier.expect(full.index(at), 2 * size)
        else:
            mbarrier.expect(full.index(at), size)
        tma.async_load(k_desc, [i * keys, 0], full.index(at), k_ring.index(at))
        tma.async_load(v_desc, [i * keys, 0], full.index(at), v_ring.index(at))
        # Only the first CTA waits here and announces, since it loads for both.
        if BROKEN != "bias overwritten":
            mbarrier.wait(bias_empty.index(0), (i & 1) ^ 1)
        if BROKEN == "bias announced by each CTA":
            mbarrier.expect(bias_full.index(0), bias_desc.nbytes_per_cta)
        else:
            mbarrier.expect(bias_full.index(0), bias_desc.nbytes_per_cta, from_cta=0)
        tma.async_load(bias_desc, [i * keys], bias_full.index(0), bias, multicast=True)


@gluon.jit
def _pair_multiply(
    q, k_ring, v_ring, s, o, q_full, full, empty, s_full, p_full, o_full, tiles,
    BROKEN: gl.constexpr,
):  # fmt: skip
    """Issue the products, which the first CTA does for both; commits reach both."""
    stages: gl.constexpr = k_ring.type.shape[0]
    if BROKEN != "queries not waited for":
        mbarrier.wait(q_full.index(0), 0)
    for i in range(tiles):
        at = i % stages
        mbarrier.wait(full.index(at), i // stages & 1)
        tcgen05_mma(q, k_ring.index(at).permute((1, 0)), s, use_acc=False)
        tcgen05_commit(s_full.index(0))
        if BROKEN == "ring handed back before the second product":
            tcgen05_commit(empty.index(at))
        if BROKEN == "probabilities not waited for":
            mbarrier.wait(p_full.index(0), i & 1, pred=i != 1)
        else:
            mbarrier.wait(p_full.index(0), i & 1)
        tcgen05_mma(_weights(s, q.dtype), v_ring.index(at), o, use_acc=i > 0)
        if BROKEN != "ring handed back before the second product":
            tcgen05_commit(empty.index(at))
    tcgen05_commit(o_full.index(0))


@gluon.jit
def _pair_softmax(
    out_desc, staging, q_row, s, o, bias, s_full, p_full, o_full, bias_full, bias_empty, tiles,
    qk_scale, BROKEN: gl.constexpr,
):  # fmt: skip
    """Turn scores into probabilities; rows are split between the CTAs."""
    layout: gl.constexpr = s.get_reg_layout()
    rows: gl.constexpr = s.type.shape[0]
    top = gl.full([rows], float("-inf"), gl.float32, gl.SliceLayout(1, layout))
    total = gl.full([rows], 0.0, gl.float32, gl.SliceLayout(1, layout))
    for i in range(tiles):
        mbarrier.wait(bias_full.index(0), i & 1)
        shift = bias.load(gl.SliceLayout(0, layout))
        mbarrier.arrive(bias_empty.index(0), count=1)
        if BROKEN == "scores read too early":
            mbarrier.wait(s_full.index(0), i & 1, pred=i != 1)
        else:
            mbarrier.wait(s_full.index(0), i & 1)
        scores = s.load(layout) + shift.to(gl.float32)[None, :]
        p, top, total, alpha = _step(scores, top, total, qk_scale, out_desc.dtype)
        if i > 0:
            _scale_rows(o, alpha)
        if BROKEN == "published before it is written":
            mbarrier.arrive(p_full.index(0), count=1)
        _weights(s, out_desc.dtype).store(p)
        if BROKEN == "published twice":
            mbarrier.arrive(p_full.index(0), count=2)
        elif BROKEN == "only one CTA publishes":
            mbarrier.arrive(p_full.index(0), count=1, pred=i != 1)
        elif BROKEN != "published before it is written":
            mbarrier.arrive(p_full.index(0), count=1)
    if BROKEN != "output not waited for":
        mbarrier.wait(o_full.index(0), 0)
    value = o.load()
    norm = gl.convert_layout(total, gl.SliceLayout(1, value.type.layout))
    staging.store((value / norm[:, None]).to(out_desc.dtype))
    if BROKEN != "no fence":
        fence_async_shared()
    tma.async_store(out_desc, [q_row, 0], staging)
    tma.store_wait(0)


@gluon.jit
def attention_pair(
    q_desc, k_desc, v_desc, bias_desc, out_desc, tiles, qk_scale, STAGES: gl.constexpr,
    BROKEN: gl.constexpr,
):  # fmt: skip
    """Roles on each CTA: softmax; multiply; load."""
    rows: gl.constexpr = q_desc.block_type.shape[0]
    dim: gl.constexpr = q_desc.block_type.shape[1]
    keys: gl.constexpr = k_desc.block_type.shape[0]
    q_row = gl.program_id(0) * rows
    q = gl.allocate_shared_memory(q_desc.dtype, [rows, dim], q_desc.layout)
    staging = gl.allocate_shared_memory(out_desc.dtype, [rows, dim], out_desc.layout)
    k_ring = gl.allocate_shared_memory(k_desc.dtype, [STAGES, keys, dim], k_desc.layout)
    v_ring = gl.allocate_shared_memory(v_desc.dtype, [STAGES, keys, dim], v_desc.layout)
    bias = gl.allocate_shared_memory(bias_desc.dtype, [keys], bias_desc.layout)
    by_rows: gl.constexpr = q_desc.layout.cga_layout
    s_layout: gl.constexpr = TensorMemoryLayout(
        [rows // 2, keys], col_stride=1, cga_layout=by_rows, two_ctas=True
    )
    o_layout: gl.constexpr = TensorMemoryLayout(
        [rows // 2, dim], col_stride=1, cga_layout=by_rows, two_ctas=True
    )
    s = allocate_tensor_memory(gl.float32, [rows, keys], s_layout)
    o = allocate_tensor_memory(gl.float32, [rows, dim], o_layout)
    q_full = _bars(1, 1, True)
    full = _bars(STAGES, 1, True)
    empty = _bars(STAGES, 1, False)
    s_full = _bars(1, 1, False)
    p_full = _bars(1, 2 if BROKEN == "count too high" else 1, True)
    o_full = _bars(1, 1, False)
    bias_full = _bars(1, 1, False)
    bias_empty = _bars(1, 1, True)
    mbarrier.expect(q_full.index(0), q_desc.nbytes_per_cta)
    tma.async_load(q_desc, [q_row, 0], q_full.index(0), q)
    gl.warp_specialize(
        [
            (_pair_softmax, (
                out_desc, staging, q_row, s, o, bias, s_full, p_full, o_full, bias_full,
                bias_empty, tiles, qk_scale, BROKEN,
            )),
            (_pair_multiply, (
                q, k_ring, v_ring, s, o, q_full, full, empty, s_full, p_full, o_full, tiles,
                BROKEN,
            )),
            (_pair_load, (
                k_desc, v_desc, bias_desc, k_ring, v_ring, bias, full, empty, bias_full,
                bias_empty, tiles, BROKEN,
            )),
        ],
        [1, 1], [48, 48],
    )  # fmt: skip
    # The last commit reaches both CTAs behind every arrival, so that barriers can be given up.
    _invalidate_all(q_full)
    _invalidate_all(full)
    _invalidate_all(empty)
    _invalidate_all(s_full)
    _invalidate_all(p_full)
    _invalidate_all(o_full)
    _invalidate_all(bias_full)
    _invalidate_all(bias_empty)
