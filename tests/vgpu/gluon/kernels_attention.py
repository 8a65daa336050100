"""Warp-specialised attention in Gluon for tcgen05: two roles, and four roles with a K/V ring.

softmax(Q·Kᵀ·scale)·V for one tile of 128 queries a program and any number of key tiles. Scores S
live in tensor memory, and the probabilities P overwrite the first half of the S they came from.
`BROKEN` names one bug to build in; empty is the correct kernel.
"""

# ruff: noqa: N803, SIM108 - constants of a kernel are written in capitals; bugs are switches
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

from tests.vgpu.gluon.kernels_matmul import _barriers, _invalidate


@gluon.jit
def _probabilities(s, dtype: gl.constexpr):
    """Return the view of a score tile's first half in which its probabilities live."""
    rows: gl.constexpr = s.type.shape[0]
    cols: gl.constexpr = s.type.shape[1]
    layout: gl.constexpr = TensorMemoryLayout([rows, cols], col_stride=1)
    return s.slice(0, cols // 2).reinterpret(dtype, [rows, cols], layout)


@gluon.jit
def _step(s, top, total, qk_scale, OUT: gl.constexpr):
    """One step of the online softmax in base 2: (p, new maximum, new sum, factor for the old)."""
    peak = gl.maximum(top, gl.max(s, axis=1) * qk_scale)
    p = gl.exp2(s * qk_scale - peak[:, None])
    alpha = gl.exp2(top - peak)
    return p.to(OUT), peak, total * alpha + gl.sum(p, axis=1), alpha


@gluon.jit
def _scale_rows(o, alpha):
    """Multiply the rows of a tile in tensor memory."""
    value = o.load()
    factor = gl.convert_layout(alpha, gl.SliceLayout(1, value.type.layout))
    o.store(value * factor[:, None])


# --- two roles ----------------------------------------------------------------------------------


@gluon.jit
def _two_role_products(
    q_smem, k_smem, v_smem, s, o, loaded, s_full, p_full, o_full, o_done, tiles, BROKEN:
    gl.constexpr,
):  # fmt: skip
    for i in range(tiles):
        mbarrier.wait(loaded.index(i), 0)
        tcgen05_mma(q_smem, k_smem.index(i).permute((1, 0)), s, use_acc=False)
        tcgen05_commit(s_full.index(0))
        if BROKEN != "probabilities not waited for":
            mbarrier.wait(p_full.index(0), i & 1)
        p = _probabilities(s, q_smem.dtype)
        tcgen05_mma(p, v_smem.index(i), o, use_acc=i > 0)
        if BROKEN == "wait that scores imply":
            tcgen05_commit(o_done.index(0))
    tcgen05_commit(o_full.index(0))


@gluon.jit
def _two_role_softmax(
    o_desc, staging, q_row, s, o, s_full, p_full, o_full, o_done, tiles, qk_scale, BROKEN:
    gl.constexpr,
):  # fmt: skip
    layout: gl.constexpr = s.get_reg_layout()
    rows: gl.constexpr = s.type.shape[0]
    top = gl.full([rows], float("-inf"), gl.float32, gl.SliceLayout(1, layout))
    total = gl.full([rows], 0.0, gl.float32, gl.SliceLayout(1, layout))
    for i in range(tiles):
        if BROKEN == "scores read too early":
            mbarrier.wait(s_full.index(0), i & 1, pred=i != 1)
        else:
            mbarrier.wait(s_full.index(0), i & 1)
        scores = s.load(layout)
        p, top, total, alpha = _step(scores, top, total, qk_scale, o_desc.dtype)
        if BROKEN == "probabilities published early":
            mbarrier.arrive(p_full.index(0), count=1)
        if BROKEN == "wait that scores imply":
            # The products run in order: when these scores are there, the last P·V is done.
            mbarrier.wait(o_done.index(0), (i & 1) ^ 1)
        grew = gl.min(alpha, axis=0) < 1.0
        if grew & (i > 0):
            _scale_rows(o, alpha)
        _probabilities(s, o_desc.dtype).store(p)
        if BROKEN == "probabilities published twice":
            mbarrier.arrive(p_full.index(0), count=2)
        elif BROKEN != "probabilities published early":
            mbarrier.arrive(p_full.index(0), count=1)
    if BROKEN != "output not waited for":
        mbarrier.wait(o_full.index(0), 0)
    value = o.load()
    norm = gl.convert_layout(total, gl.SliceLayout(1, value.type.layout))
    staging.store((value / norm[:, None]).to(o_desc.dtype))
    if BROKEN != "no fence":
        fence_async_shared()
    tma.async_store(o_desc, [q_row, 0], staging)
    tma.store_wait(0)


@gluon.jit
def attention_two_roles(
    q_desc, k_desc, v_desc, o_desc, qk_scale, TILES: gl.constexpr, BROKEN: gl.constexpr
):
    """Roles: products; softmax with conditional rescale. All keys fit in shared memory."""
    rows: gl.constexpr = q_desc.block_type.shape[0]
    dim: gl.constexpr = q_desc.block_type.shape[1]
    keys: gl.constexpr = k_desc.block_type.shape[0]
    q_row = gl.program_id(0) * rows
    q_smem = gl.allocate_shared_memory(q_desc.dtype, [rows, dim], q_desc.layout)
    k_smem = gl.allocate_shared_memory(k_desc.dtype, [TILES, keys, dim], k_desc.layout)
    v_smem = gl.allocate_shared_memory(v_desc.dtype, [TILES, keys, dim], v_desc.layout)
    staging = gl.allocate_shared_memory(o_desc.dtype, [rows, dim], o_desc.layout)
    s_layout: gl.constexpr = TensorMemoryLayout([rows, keys], col_stride=1)
    o_layout: gl.constexpr = TensorMemoryLayout([rows, dim], col_stride=1)
    s = allocate_tensor_memory(gl.float32, [rows, keys], s_layout)
    o = allocate_tensor_memory(gl.float32, [rows, dim], o_layout)
    loaded = _barriers(TILES, 1)
    s_full = _barriers(1, 1)
    p_full = _barriers(1, 1)
    o_full = _barriers(1, 1)
    if BROKEN == "wait that scores imply":
        o_done = _barriers(1, 1)
    else:
        o_done = o_full
    size: gl.constexpr = k_desc.block_type.nbytes + v_desc.block_type.nbytes
    for i in gl.static_range(TILES):
        mbarrier.expect(loaded.index(i), size + (q_desc.block_type.nbytes if i == 0 else 0))
        if i == 0:
            tma.async_load(q_desc, [q_row, 0], loaded.index(0), q_smem)
        tma.async_load(k_desc, [i * keys, 0], loaded.index(i), k_smem.index(i))
        tma.async_load(v_desc, [i * keys, 0], loaded.index(i), v_smem.index(i))
    tiles = TILES
    gl.warp_specialize(
        [
            (_two_role_softmax, (
                o_desc, staging, q_row, s, o, s_full, p_full, o_full, o_done, tiles, qk_scale,
                BROKEN,
            )),
            (_two_role_products, (
                q_smem, k_smem, v_smem, s, o, loaded, s_full, p_full, o_full, o_done, tiles,
                BROKEN,
            )),
        ],
        [1], [48],
    )  # fmt: skip
    _invalidate(loaded)
    _invalidate(s_full)
    _invalidate(p_full)
    _invalidate(o_full)
    if BROKEN == "wait that scores imply":
        _invalidate(o_done)


# --- four roles ---------------------------------------------------------------------------------


@gluon.jit
def _attend_load(
    q_desc, k_desc, v_desc, q_smem, ring, q_row, q_full, full, empty, tiles, BROKEN: gl.constexpr
):
    """K and V tiles alternate in the ring: K of tile i is load 2i, its V load 2i + 1."""
    stages: gl.constexpr = ring.type.shape[0]
    keys: gl.constexpr = ring.type.shape[1]
    mbarrier.expect(q_full.index(0), q_desc.block_type.nbytes)
    tma.async_load(q_desc, [q_row, 0], q_full.index(0), q_smem)
    for i in range(2 * tiles):
        stage = i % stages
        if BROKEN == "ring one stage short":
            mbarrier.wait(empty.index(stage), (i // stages & 1) ^ 1, pred=i != stages)
        else:
            mbarrier.wait(empty.index(stage), (i // stages & 1) ^ 1)
        mbarrier.expect(full.index(stage), k_desc.block_type.nbytes)
        if i % 2 == 0:
            tma.async_load(k_desc, [i // 2 * keys, 0], full.index(stage), ring.index(stage))
        else:
            tma.async_load(v_desc, [i // 2 * keys, 0], full.index(stage), ring.index(stage))


@gluon.jit
def _scores(q_smem, ring, s, full, empty, s_full, i):
    """S of tile i = Q·Kᵀ, into the buffer of the tile's parity."""
    stages: gl.constexpr = ring.type.shape[0]
    stage = 2 * i % stages
    mbarrier.wait(full.index(stage), 2 * i // stages & 1)
    tcgen05_mma(q_smem, ring.index(stage).permute((1, 0)), s.index(i % 2), use_acc=False)
    tcgen05_commit(s_full.index(i % 2))
    tcgen05_commit(empty.index(stage))


@gluon.jit
def _attend_products(
    q_smem, ring, s, o, q_full, full, empty, s_full, ready, o_done, tiles, BROKEN: gl.constexpr
):
    """S of the next tile is issued before P·V of this one, so that softmax always has work.

    No wait protects the S buffer: the P it held was read by an earlier product of this queue.
    """
    stages: gl.constexpr = ring.type.shape[0]
    mbarrier.wait(q_full.index(0), 0)
    _scores(q_smem, ring, s, full, empty, s_full, 0)
    for i in range(tiles):
        if i + 1 < tiles:
            _scores(q_smem, ring, s, full, empty, s_full, i + 1)
        stage = (2 * i + 1) % stages
        mbarrier.wait(full.index(stage), (2 * i + 1) // stages & 1)
        if BROKEN == "one barrier for both buffers":
            mbarrier.wait(ready.index(0), i & 1)
        else:
            mbarrier.wait(ready.index(i % 2), i // 2 & 1)
        p = _probabilities(s.index(i % 2), q_smem.dtype)
        tcgen05_mma(p, ring.index(stage), o, use_acc=i > 0)
        tcgen05_commit(o_done.index(0))
        tcgen05_commit(empty.index(stage))


@gluon.jit
def _attend_softmax(
    lse_ptr, q_row, s, factors, s_full, ready, f_full, f_empty, tiles, qk_scale, DTYPE:
    gl.constexpr, BROKEN: gl.constexpr,
):  # fmt: skip
    """Turn S into P; hand the factor of each step, and at last the sum, to the correction role."""
    layout: gl.constexpr = s.index(0).get_reg_layout()
    rows: gl.constexpr = s.type.shape[1]
    row_layout: gl.constexpr = gl.SliceLayout(1, layout)
    top = gl.full([rows], float("-inf"), gl.float32, row_layout)
    total = gl.full([rows], 0.0, gl.float32, row_layout)
    for i in range(tiles):
        mbarrier.wait(s_full.index(i % 2), i // 2 & 1)
        scores = s.index(i % 2).load(layout)
        p, top, total, alpha = _step(scores, top, total, qk_scale, DTYPE)
        if BROKEN != "factors overwritten":
            mbarrier.wait(f_empty.index(0), (i & 1) ^ 1)
        factors.store(alpha)
        mbarrier.arrive(f_full.index(0), count=1)
        if BROKEN == "probabilities over the other scores":
            _probabilities(s.index((i + 1) % 2), DTYPE).store(p)
        else:
            _probabilities(s.index(i % 2), DTYPE).store(p)
        if BROKEN == "one barrier for both buffers":
            mbarrier.arrive(ready.index(0), count=1)
        else:
            mbarrier.arrive(ready.index(i % 2), count=1)
    mbarrier.wait(f_empty.index(0), (tiles & 1) ^ 1)
    factors.store(total)
    mbarrier.arrive(f_full.index(0), count=1)
    first = 0 if BROKEN == "lse of the wrong rows" else q_row
    row = gl.arange(0, rows, row_layout)
    gl.store(lse_ptr + first + row, (top + gl.log2(total)) * 0.6931471805599453)


@gluon.jit
def _attend_correct(
    o_desc, lse_ptr, staging, q_row, o, factors, ready, o_done, f_full, f_empty, tiles, BROKEN:
    gl.constexpr,
):  # fmt: skip
    """Rescale O when a maximum grew, and write it out at the end."""
    layout: gl.constexpr = o.get_reg_layout()
    row_layout: gl.constexpr = gl.SliceLayout(1, layout)
    for i in range(tiles):
        mbarrier.wait(f_full.index(0), i & 1)
        alpha = factors.load(row_layout)
        mbarrier.arrive(f_empty.index(0), count=1)
        if i > 0:
            if BROKEN != "rescales a product in flight":
                mbarrier.wait(o_done.index(0), (i - 1) & 1)
            if gl.min(alpha, axis=0) < 1.0:
                _scale_rows(o, alpha)
        if BROKEN == "one barrier for both buffers":
            mbarrier.arrive(ready.index(0), count=1)
        else:
            mbarrier.arrive(ready.index(i % 2), count=1)
    mbarrier.wait(f_full.index(0), tiles & 1)
    total = factors.load(row_layout)
    mbarrier.arrive(f_empty.index(0), count=1)
    mbarrier.wait(o_done.index(0), (tiles - 1) & 1)
    if BROKEN == "two roles write lse":
        rows: gl.constexpr = o.type.shape[0]
        gl.store(lse_ptr + q_row + gl.arange(0, rows, row_layout), total)
    staging.store((o.load(layout) / total[:, None]).to(o_desc.dtype))
    fence_async_shared()
    tma.async_store(o_desc, [q_row, 0], staging)
    if BROKEN != "store not waited for":
        tma.store_wait(0)


@gluon.jit
def attention_four_roles(
    q_desc, k_desc, v_desc, o_desc, lse_ptr, tiles, qk_scale, STAGES: gl.constexpr,
    BROKEN: gl.constexpr,
):  # fmt: skip
    """Roles: load, products, softmax, correction."""
    rows: gl.constexpr = q_desc.block_type.shape[0]
    dim: gl.constexpr = q_desc.block_type.shape[1]
    keys: gl.constexpr = k_desc.block_type.shape[0]
    q_row = gl.program_id(0) * rows
    q_smem = gl.allocate_shared_memory(q_desc.dtype, [rows, dim], q_desc.layout)
    ring = gl.allocate_shared_memory(k_desc.dtype, [STAGES, keys, dim], k_desc.layout)
    staging = gl.allocate_shared_memory(o_desc.dtype, [rows, dim], o_desc.layout)
    vector: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, order=[0])
    factors = gl.allocate_shared_memory(gl.float32, [rows], vector)
    s_layout: gl.constexpr = TensorMemoryLayout([rows, keys], col_stride=1)
    o_layout: gl.constexpr = TensorMemoryLayout([rows, dim], col_stride=1)
    s = allocate_tensor_memory(gl.float32, [2, rows, keys], s_layout)
    o = allocate_tensor_memory(gl.float32, [rows, dim], o_layout)
    q_full = _barriers(1, 1)
    full = _barriers(STAGES, 1)
    empty = _barriers(STAGES, 1)
    s_full = _barriers(2, 1)
    # One arrival for P, by softmax, and one for O, by the correction role.
    ready = _barriers(2, 1 if BROKEN == "count too low" else 2)
    o_done = _barriers(1, 1)
    f_full = _barriers(1, 1)
    f_empty = _barriers(1, 1)
    gl.warp_specialize(
        [
            (_attend_softmax, (
                lse_ptr, q_row, s, factors, s_full, ready, f_full, f_empty, tiles, qk_scale,
                o_desc.dtype, BROKEN,
            )),
            (_attend_correct, (
                o_desc, lse_ptr, staging, q_row, o, factors, ready, o_done, f_full, f_empty,
                tiles, BROKEN,
            )),
            (_attend_products, (
                q_smem, ring, s, o, q_full, full, empty, s_full, ready, o_done, tiles, BROKEN,
            )),
            (_attend_load, (
                q_desc, k_desc, v_desc, q_smem, ring, q_row, q_full, full, empty, tiles, BROKEN,
            )),
        ],
        [4, 1, 1], [96, 48, 48],
    )  # fmt: skip
    _invalidate(q_full)
    _invalidate(full)
    _invalidate(empty)
    _invalidate(s_full)
    _invalidate(ready)
    _invalidate(o_done)
    _invalidate(f_full)
    _invalidate(f_empty)
