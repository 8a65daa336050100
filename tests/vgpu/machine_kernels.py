"""Small Gluon kernels for single operations of the checked machine."""

# ruff: noqa: N803 - constants of a kernel are written in capitals
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.ampere import async_copy
from triton.experimental.gluon.language.nvidia.blackwell import (
    TensorMemoryLayout,
    TensorMemoryScalesLayout,
    add2,
    allocate_tensor_memory,
    fma2,
    max2,
    mbarrier,
    mul2,
    sub2,
    tcgen05_commit,
    tcgen05_copy,
    tcgen05_mma_scaled,
    tma,
)


@gluon.jit
def packed(x_ptr, y_ptr, out_ptr, N: gl.constexpr):
    """out = (x·y + (x + y))·(x - y), and the larger of both in fp16 behind it."""
    layout: gl.constexpr = gl.BlockedLayout([2], [32], [4], [0])
    i = gl.arange(0, N, layout)
    x, y = gl.load(x_ptr + i), gl.load(y_ptr + i)
    gl.store(out_ptr + i, mul2(fma2(x, y, add2(x, y)), sub2(x, y)))
    gl.store(out_ptr + N + i, max2(x.to(gl.float16), y.to(gl.float16)).to(gl.float32))


@gluon.jit
def reducing_load(x_ptr, out_ptr, N: gl.constexpr):
    """out = x + the largest of its row + the smallest magnitude of its row."""
    tmem = allocate_tensor_memory(gl.float32, [128, N], TensorMemoryLayout([128, N], col_stride=1))
    layout: gl.constexpr = tmem.get_reg_layout(instr_variant="32x32b")
    row_layout: gl.constexpr = gl.SliceLayout(1, layout)
    row = gl.arange(0, 128, row_layout)
    at = row[:, None] * N + gl.arange(0, N, gl.SliceLayout(0, layout))[None, :]
    tmem.store(gl.load(x_ptr + at))
    value, top = tmem.load_max(layout)
    _, least = tmem.load_min(layout, abs=True)
    top = gl.convert_layout(top, row_layout)
    least = gl.convert_layout(least, row_layout)
    gl.store(out_ptr + at, value + top[:, None] + least[:, None])


@gluon.jit
def copies_arrive(x_ptr, out_ptr, N: gl.constexpr, ARRIVALS: gl.constexpr):
    """out = x through cp.async, whose completion arrives at a barrier, once for each thread."""
    layout: gl.constexpr = gl.BlockedLayout([4], [32], [4], [0])
    i = gl.arange(0, N, layout)
    smem = gl.allocate_shared_memory(gl.float32, [N], gl.SwizzledSharedLayout(1, 1, 1, order=[0]))
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=ARRIVALS)
    async_copy.async_load(smem, x_ptr + i)
    async_copy.mbarrier_arrive(bar, increment_count=False)
    mbarrier.wait(bar, 0)
    gl.store(out_ptr + i, smem.load(layout))
    mbarrier.invalidate(bar)


@gluon.jit
def every_other_row(x_desc, out_desc):
    """out[i] = x[2i] for 32 rows, by a gather and a scatter."""
    cols: gl.constexpr = x_desc.block_shape[1]
    smem = gl.allocate_shared_memory(x_desc.dtype, [32, cols], x_desc.layout)
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    layout: gl.constexpr = gl.SliceLayout(0, gl.BlockedLayout([1, 4], [32, 1], [1, 4], [1, 0]))
    rows = gl.arange(0, 32, layout)
    mbarrier.expect(bar, 32 * cols * 2)
    tma.async_gather(x_desc, rows * 2, 0, bar, smem)
    mbarrier.wait(bar, 0)
    tma.async_scatter(out_desc, rows, 0, smem)
    tma.store_wait(0, read_only=False)
    mbarrier.invalidate(bar)


@gluon.jit
def reread(out_ptr, N: gl.constexpr):
    """Two partitions write the same words, ordered by nothing."""
    gl.warp_specialize([(_fill, (out_ptr, 1.0, N)), (_fill, (out_ptr, 2.0, N))], [4], [24])


@gluon.jit
def _fill(out_ptr, value, N: gl.constexpr):
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    i = gl.arange(0, N, layout)
    gl.store(out_ptr + i, gl.full([N], value, gl.float32, layout))


@gluon.jit
def too_wide(out_ptr, TILES: gl.constexpr):
    """Holds `TILES` times 128 columns of tensor memory."""
    layout: gl.constexpr = TensorMemoryLayout([128, 128], col_stride=1)
    tmem = allocate_tensor_memory(gl.float32, [TILES, 128, 128], layout)
    regs: gl.constexpr = tmem.index(0).get_reg_layout()
    row = gl.arange(0, 128, gl.SliceLayout(1, regs))
    at = row[:, None] * 128 + gl.arange(0, 128, gl.SliceLayout(0, regs))[None, :]
    tmem.index(0).store(gl.full([128, 128], 1.0, gl.float32, regs))
    gl.store(out_ptr + at, tmem.index(0).load(regs))


@gluon.jit
def forever(out_ptr):
    """Waits for a word that nobody writes."""
    value = gl.load(out_ptr)
    while value == 0:
        value = gl.load(out_ptr)
    gl.store(out_ptr, value)


@gluon.jit
def through_two_views(words_ptr, halves_ptr, N: gl.constexpr, APART: gl.constexpr):
    """Partitions write words, and from word `APART` on their halves, ordered by nothing."""
    gl.warp_specialize(
        [
            (_fill, (words_ptr, 1.0, N)),
            (_fill_halves, (halves_ptr + 2 * APART, N)),
        ],
        [4], [24],
    )  # fmt: skip


@gluon.jit
def _fill_halves(out_ptr, N: gl.constexpr):
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    i = gl.arange(0, N, layout)
    gl.store(out_ptr + i, gl.full([N], 2, gl.int16, layout))


@gluon.jit
def programs_through_two_views(words_ptr, halves_ptr, N: gl.constexpr, APART: gl.constexpr):
    """Program 0 writes words, the others from word `APART` on halves."""
    if gl.program_id(0) == 0:
        _fill(words_ptr, 1.0, N)
    else:
        _fill_halves(halves_ptr + 2 * APART, N)


@gluon.jit
def scaled_product(
    a_desc, b_desc, sa_ptr, sb_ptr, out_ptr, A: gl.constexpr, B: gl.constexpr, WAITS: gl.constexpr
):
    """out = (A·its scales)·(B·its scales)ᵀ for rows of 128 elements with a scale for each 32."""
    a = gl.allocate_shared_memory(a_desc.dtype, a_desc.block_type.shape, a_desc.layout)
    b = gl.allocate_shared_memory(b_desc.dtype, b_desc.block_type.shape, b_desc.layout)
    in_tmem: gl.constexpr = TensorMemoryLayout([128, 128], col_stride=1)
    acc = allocate_tensor_memory(gl.float32, [128, 128], in_tmem)
    sa = allocate_tensor_memory(gl.uint8, [128, 4], TensorMemoryScalesLayout())
    sb = allocate_tensor_memory(gl.uint8, [128, 4], TensorMemoryScalesLayout())
    scales: gl.constexpr = sa.get_reg_layout()
    row = gl.arange(0, 128, gl.SliceLayout(1, scales))
    at = row[:, None] * 4 + gl.arange(0, 4, gl.SliceLayout(0, scales))[None, :]
    sa.store(gl.load(sa_ptr + at))
    sb.store(gl.load(sb_ptr + at))
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    mbarrier.expect(bar, a_desc.block_type.nbytes + b_desc.block_type.nbytes)
    tma.async_load(a_desc, [0, 0], bar, a)
    tma.async_load(b_desc, [0, 0], bar, b)
    mbarrier.wait(bar, 0)
    tcgen05_mma_scaled(a, b.permute((1, 0)), acc, sa, sb, A, B, use_acc=False)
    tcgen05_commit(bar)
    if not WAITS:
        sa.store(gl.load(sb_ptr + at))  # while the product may still read them
    mbarrier.wait(bar, 1)
    mbarrier.invalidate(bar)
    layout: gl.constexpr = acc.get_reg_layout()
    row = gl.arange(0, 128, gl.SliceLayout(1, layout))
    at = row[:, None] * 128 + gl.arange(0, 128, gl.SliceLayout(0, layout))[None, :]
    gl.store(out_ptr + at, acc.load())


@gluon.jit
def _matrix_of(packed):
    """Return 128 rows of 4 scales as tcgen05.cp finds them: 32 lanes, and in each 4 rows of 4."""
    return packed.reshape([1, 1, 32, 4, 4]).permute((0, 3, 2, 1, 4)).reshape([128, 4])


@gluon.jit
def copied_scales(
    a_desc, b_desc, sa_desc, sb_desc, out_ptr, A: gl.constexpr, B: gl.constexpr, WAITS: gl.constexpr
):
    """The same, with scales that go from shared to tensor memory by tcgen05.cp."""
    a = gl.allocate_shared_memory(a_desc.dtype, a_desc.block_type.shape, a_desc.layout)
    b = gl.allocate_shared_memory(b_desc.dtype, b_desc.block_type.shape, b_desc.layout)
    packed_a = gl.allocate_shared_memory(gl.uint8, sa_desc.block_type.shape, sa_desc.layout)
    packed_b = gl.allocate_shared_memory(gl.uint8, sb_desc.block_type.shape, sb_desc.layout)
    in_tmem: gl.constexpr = TensorMemoryLayout([128, 128], col_stride=1)
    acc = allocate_tensor_memory(gl.float32, [128, 128], in_tmem)
    sa = allocate_tensor_memory(gl.uint8, [128, 4], TensorMemoryScalesLayout())
    sb = allocate_tensor_memory(gl.uint8, [128, 4], TensorMemoryScalesLayout())
    bar = mbarrier.allocate_mbarrier()
    mbarrier.init(bar, count=1)
    mbarrier.expect(bar, 2 * a_desc.block_type.nbytes + 2 * sa_desc.block_type.nbytes)
    tma.async_load(a_desc, [0, 0], bar, a)
    tma.async_load(b_desc, [0, 0], bar, b)
    tma.async_load(sa_desc, [0, 0, 0, 0, 0], bar, packed_a)
    tma.async_load(sb_desc, [0, 0, 0, 0, 0], bar, packed_b)
    if WAITS:
        mbarrier.wait(bar, 0)
    tcgen05_copy(_matrix_of(packed_a), sa)
    tcgen05_copy(_matrix_of(packed_b), sb)
    tcgen05_mma_scaled(a, b.permute((1, 0)), acc, sa, sb, A, B, use_acc=False)
    tcgen05_commit(bar)
    mbarrier.wait(bar, 1)
    mbarrier.invalidate(bar)
    layout: gl.constexpr = acc.get_reg_layout()
    row = gl.arange(0, 128, gl.SliceLayout(1, layout))
    at = row[:, None] * 128 + gl.arange(0, 128, gl.SliceLayout(0, layout))[None, :]
    gl.store(out_ptr + at, acc.load())
