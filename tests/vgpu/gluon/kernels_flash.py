"""Attention as FlashAttention-4 arranges it: two query tiles that share the tensor core.

Roles: load, products, a softmax for each tile of 128 queries, correction. While one tile's scores
are turned into probabilities, the other tile's products run. Some waits are left out on purpose,
because the tensor core works in order; comments say which. `BROKEN` names one bug to build in.
"""

# ruff: noqa: N803 - compile-time constants of a kernel are written in capitals
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

from tests.vgpu.gluon.kernels_attention import _probabilities, _scale_rows, _step
from tests.vgpu.gluon.kernels_matmul import _barriers, _invalidate


@gluon.jit
def _load(
    q_desc, k_desc, v_desc, q_smem, ring, q_row, q_full, full, empty, tiles, BROKEN: gl.constexpr
):
    """Both query tiles, then K and V in turn: K of step i is load 2i, its V load 2i + 1."""
    stages: gl.constexpr = ring.type.shape[0]
    keys: gl.constexpr = ring.type.shape[1]
    rows: gl.constexpr = q_smem.type.shape[1]
    for tile in gl.static_range(2):
        mbarrier.expect(q_full.index(tile), q_desc.block_type.nbytes)
        tma.async_load(q_desc, [q_row + tile * rows, 0], q_full.index(tile), q_smem.index(tile))
    for i in range(2 * tiles):
        stage = i % stages
        if BROKEN != "ring overwritten":
            mbarrier.wait(empty.index(stage), (i // stages & 1) ^ 1)
        mbarrier.expect(full.index(stage), k_desc.block_type.nbytes)
        if i % 2 == 0:
            tma.async_load(k_desc, [i // 2 * keys, 0], full.index(stage), ring.index(stage))
        else:
            tma.async_load(v_desc, [i // 2 * keys, 0], full.index(stage), ring.index(stage))


@gluon.jit
def _products(
    q_smem, ring, s, o, q_full, full, empty, s_full, ready, o_full, tiles, BROKEN: gl.constexpr
):
    """In order: S of both tiles, then for each step P·V and the next S, tile after tile.

    S is overwritten without a wait: the P it held was read by the product before.
    """
    stages: gl.constexpr = ring.type.shape[0]
    mbarrier.wait(full.index(0), 0)
    for tile in gl.static_range(2):
        mbarrier.wait(q_full.index(tile), 0)
        tcgen05_mma(q_smem.index(tile), ring.index(0).permute((1, 0)), s.index(tile), use_acc=False)
        tcgen05_commit(s_full.index(tile))
    tcgen05_commit(empty.index(0))
    for i in range(tiles):
        value = (2 * i + 1) % stages
        key = (2 * i + 2) % stages
        mbarrier.wait(full.index(value), (2 * i + 1) // stages & 1)
        for tile in gl.static_range(2):
            mbarrier.wait(ready.index(tile), i & 1)
            p = _probabilities(s.index(tile), q_smem.dtype)
            tcgen05_mma(p, ring.index(value), o.index(tile), use_acc=i > 0)
            if tile == (0 if BROKEN == "value freed after the first tile" else 1):
                tcgen05_commit(empty.index(value))
            if i + 1 < tiles:
                if tile == 0:
                    mbarrier.wait(full.index(key), (2 * i + 2) // stages & 1)
                tcgen05_mma(
                    q_smem.index(tile),
                    ring.index(key).permute((1, 0)),
                    s.index(tile),
                    use_acc=False,
                )
                tcgen05_commit(s_full.index(tile))
                if tile == 1:
                    tcgen05_commit(empty.index(key))
    tcgen05_commit(o_full.index(0))


@gluon.jit
def _softmax(
    lse_ptr, q_row, s, factors, s_full, ready, f_full, f_empty, tiles, qk_scale, TILE:
    gl.constexpr, DTYPE: gl.constexpr, BROKEN: gl.constexpr,
):  # fmt: skip
    """Turn S of one tile into P, and hand the factors of the old output to correction."""
    mine = s.index(TILE)
    layout: gl.constexpr = mine.get_reg_layout()
    rows: gl.constexpr = s.type.shape[1]
    row_layout: gl.constexpr = gl.SliceLayout(1, layout)
    top = gl.full([rows], float("-inf"), gl.float32, row_layout)
    total = gl.full([rows], 0.0, gl.float32, row_layout)
    for i in range(tiles):
        mbarrier.wait(s_full.index(TILE), i & 1)
        p, top, total, alpha = _step(mine.load(layout), top, total, qk_scale, DTYPE)
        mbarrier.wait(f_empty.index(TILE), (i & 1) ^ 1)
        factors.index(TILE).store(alpha)
        mbarrier.arrive(f_full.index(TILE), count=1)
        if BROKEN == "published to the other tile":
            _probabilities(mine, DTYPE).store(p)
            mbarrier.arrive(ready.index(1 - TILE), count=1)
        elif BROKEN == "published before it is written":
            mbarrier.arrive(ready.index(TILE), count=1)
            _probabilities(mine, DTYPE).store(p)
        else:
            _probabilities(mine, DTYPE).store(p)
            mbarrier.arrive(ready.index(TILE), count=1)
    mbarrier.wait(f_empty.index(TILE), (tiles & 1) ^ 1)
    factors.index(TILE).store(total)
    mbarrier.arrive(f_full.index(TILE), count=1)
    own = 0 if BROKEN == "lse of both tiles to the same rows" else TILE * rows
    row = q_row + own + gl.arange(0, rows, row_layout)
    gl.store(lse_ptr + row, (top + gl.log2(total)) * 0.6931471805599453)


@gluon.jit
def _correct(
    o_desc, staging, q_row, o, factors, ready, o_full, f_full, f_empty, tiles, BROKEN: gl.constexpr
):
    """Rescale both outputs where a maximum grew, and write them out.

    No wait for the last P·V before rescaling: the factors come from scores that were multiplied
    after it, on the same in-order tensor core.
    """
    rows: gl.constexpr = o.type.shape[1]
    layout: gl.constexpr = o.index(0).get_reg_layout()
    row_layout: gl.constexpr = gl.SliceLayout(1, layout)
    for i in range(tiles):
        for tile in gl.static_range(2):
            if BROKEN != "factors not waited for":
                mbarrier.wait(f_full.index(tile), i & 1)
            alpha = factors.index(tile).load(row_layout)
            mbarrier.arrive(f_empty.index(tile), count=1)
            if (i > 0) & (gl.min(alpha, axis=0) < 1.0):
                if BROKEN == "rescales the other tile":
                    _scale_rows(o.index(1 - tile), alpha)
                else:
                    _scale_rows(o.index(tile), alpha)
            mbarrier.arrive(ready.index(tile), count=1)
    mbarrier.wait(o_full.index(0), 0)
    for tile in gl.static_range(2):
        mbarrier.wait(f_full.index(tile), tiles & 1)
        total = factors.index(tile).load(row_layout)
        if BROKEN != "staging overwritten":
            tma.store_wait(0)
        staging.store((o.index(tile).load(layout) / total[:, None]).to(o_desc.dtype))
        fence_async_shared()
        tma.async_store(o_desc, [q_row + tile * rows, 0], staging)
    tma.store_wait(0)


@gluon.jit
def flash(
    q_desc, k_desc, v_desc, o_desc, lse_ptr, tiles, qk_scale, STAGES: gl.constexpr,
    BROKEN: gl.constexpr,
):  # fmt: skip
    """Attention of two query tiles a program."""
    rows: gl.constexpr = q_desc.block_type.shape[0]
    dim: gl.constexpr = q_desc.block_type.shape[1]
    keys: gl.constexpr = k_desc.block_type.shape[0]
    q_row = gl.program_id(0) * 2 * rows
    q_smem = gl.allocate_shared_memory(q_desc.dtype, [2, rows, dim], q_desc.layout)
    ring = gl.allocate_shared_memory(k_desc.dtype, [STAGES, keys, dim], k_desc.layout)
    staging = gl.allocate_shared_memory(o_desc.dtype, [rows, dim], o_desc.layout)
    vector: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, order=[0])
    factors = gl.allocate_shared_memory(gl.float32, [2, rows], vector)
    s_layout: gl.constexpr = TensorMemoryLayout([rows, keys], col_stride=1)
    o_layout: gl.constexpr = TensorMemoryLayout([rows, dim], col_stride=1)
    s = allocate_tensor_memory(gl.float32, [2, rows, keys], s_layout)
    o = allocate_tensor_memory(gl.float32, [2, rows, dim], o_layout)
    q_full = _barriers(2, 1)
    full = _barriers(STAGES, 1)
    empty = _barriers(STAGES, 1)
    s_full = _barriers(2, 1)
    # One arrival for P, by softmax, and one for O, by correction.
    ready = _barriers(2, 1 if BROKEN == "count too low" else 2)
    o_full = _barriers(1, 1)
    f_full = _barriers(2, 1)
    f_empty = _barriers(2, 1)
    dtype: gl.constexpr = o_desc.dtype
    gl.warp_specialize(
        [
            (_softmax, (
                lse_ptr, q_row, s, factors, s_full, ready, f_full, f_empty, tiles, qk_scale,
                gl.constexpr(0), dtype, BROKEN,
            )),
            (_softmax, (
                lse_ptr, q_row, s, factors, s_full, ready, f_full, f_empty, tiles, qk_scale,
                gl.constexpr(1), dtype, BROKEN,
            )),
            (_correct, (
                o_desc, staging, q_row, o, factors, ready, o_full, f_full, f_empty, tiles,
                BROKEN,
            )),
            (_products, (
                q_smem, ring, s, o, q_full, full, empty, s_full, ready, o_full, tiles, BROKEN,
            )),
            (_load, (
                q_desc, k_desc, v_desc, q_smem, ring, q_row, q_full, full, empty, tiles, BROKEN,
            )),
        ],
        [4, 4, 1, 1], [128, 64, 48, 48],
    )  # fmt: skip
    _invalidate(q_full)
    _invalidate(full)
    _invalidate(empty)
    _invalidate(s_full)
    _invalidate(ready)
    _invalidate(o_full)
    _invalidate(f_full)
    _invalidate(f_empty)
