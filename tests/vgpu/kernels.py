"""Sample kernels of the virtual GPU's tests, in the shapes the compiler lowers differently."""

# ruff: noqa: N803 - compile-time constants of a kernel are written in capitals
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import libdevice


@triton.jit
def attention_pointers(
    q_ptr, k_ptr, v_ptr, o_ptr, lse_ptr,
    stride_h, stride_m,
    seq, scale,
    CAUSAL: tl.constexpr, HEAD: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Online-softmax attention, pointer arithmetic and masks; a program per query tile and head."""
    tile = tl.program_id(0)
    head = tl.program_id(1)
    rows = tile * TILE_M + tl.arange(0, TILE_M)
    cols = tl.arange(0, TILE_N)
    dims = tl.arange(0, HEAD)
    base = head.to(tl.int64) * stride_h
    q = tl.load(
        q_ptr + base + rows[:, None] * stride_m + dims[None, :], rows[:, None] < seq, other=0.0
    )
    top = tl.full([TILE_M], float("-inf"), tl.float32)
    total = tl.zeros([TILE_M], tl.float32)
    acc = tl.zeros([TILE_M, HEAD], tl.float32)
    end = tl.minimum(seq, (tile + 1) * TILE_M) if CAUSAL else seq
    for start in tl.range(0, end, TILE_N, num_stages=STAGES):
        keys = start + cols
        inside = keys[:, None] < seq
        k = tl.load(k_ptr + base + keys[:, None] * stride_m + dims[None, :], inside, other=0.0)
        s = tl.dot(q, tl.trans(k)) * scale
        live = keys[None, :] < seq
        if CAUSAL:
            live = live & (rows[:, None] >= keys[None, :])
        s = tl.where(live, s, float("-inf"))
        peak = tl.maximum(top, tl.max(s, 1))
        safe = tl.where(peak == float("-inf"), 0.0, peak)
        p = tl.exp2(s - safe[:, None])
        alpha = tl.exp2(top - safe)
        total = total * alpha + tl.sum(p, 1)
        v = tl.load(v_ptr + base + keys[:, None] * stride_m + dims[None, :], inside, other=0.0)
        acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None])
        top = peak
    out = acc / total[:, None]
    tl.store(lse_ptr + head * seq + rows, (top + tl.log2(total)) * 0.6931471805599453, rows < seq)
    tl.store(
        o_ptr + base + rows[:, None] * stride_m + dims[None, :],
        out.to(o_ptr.dtype.element_ty),
        rows[:, None] < seq,
    )


@triton.jit
def _attend(
    q, k_desc, v_desc, acc, total, top, row0, first, last, line0, scale,
    MASKED: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    for start in tl.range(first, last, TILE_N, num_stages=STAGES):
        k = k_desc.load([line0 + start, 0])
        s = tl.dot(q, k.T) * scale
        if MASKED:
            rows = row0 + tl.arange(0, TILE_M)
            keys = start + tl.arange(0, TILE_N)
            s = tl.where(rows[:, None] >= keys[None, :], s, float("-inf"))
        peak = tl.maximum(top, tl.max(s, 1))
        p = tl.exp2(s - peak[:, None])
        alpha = tl.exp2(top - peak)
        total = total * alpha + tl.sum(p, 1)
        acc = acc * alpha[:, None]
        v = v_desc.load([line0 + start, 0])
        acc = tl.dot(p.to(v.dtype), v, acc)
        top = peak
    return acc, total, top


@triton.jit
def attention_descriptors(
    q_desc, k_desc, v_desc, o_desc, seq, scale,
    CAUSAL: tl.constexpr, HEAD: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """The same through host descriptors, with full and diagonal key tiles in two loops."""
    tile = tl.program_id(0)
    line0 = tl.program_id(1) * seq
    row0 = tile * TILE_M
    q = q_desc.load([line0 + row0, 0])
    top = tl.full([TILE_M], float("-inf"), tl.float32)
    total = tl.zeros([TILE_M], tl.float32)
    acc = tl.zeros([TILE_M, HEAD], tl.float32)
    full = row0 if CAUSAL else seq
    acc, total, top = _attend(
        q, k_desc, v_desc, acc, total, top, row0, 0, full, line0, scale,
        False, TILE_M, TILE_N, STAGES,
    )  # fmt: skip
    if CAUSAL:
        acc, total, top = _attend(
            q, k_desc, v_desc, acc, total, top, row0, full, full + TILE_M, line0, scale,
            True, TILE_M, TILE_N, STAGES,
        )  # fmt: skip
    out = acc / total[:, None]
    o_desc.store([line0 + row0, 0], out.to(o_desc.dtype))


@triton.jit
def attention_device_descriptors(
    q_ptr, k_ptr, v_ptr, o_ptr, lines, seq, scale,
    CAUSAL: tl.constexpr, HEAD: tl.constexpr, TILE_M: tl.constexpr, TILE_N: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """The same, with descriptors made inside the kernel."""
    q_desc = tl.make_tensor_descriptor(q_ptr, [lines, HEAD], [HEAD, 1], [TILE_M, HEAD])
    k_desc = tl.make_tensor_descriptor(k_ptr, [lines, HEAD], [HEAD, 1], [TILE_N, HEAD])
    v_desc = tl.make_tensor_descriptor(v_ptr, [lines, HEAD], [HEAD, 1], [TILE_N, HEAD])
    o_desc = tl.make_tensor_descriptor(o_ptr, [lines, HEAD], [HEAD, 1], [TILE_M, HEAD])
    tile = tl.program_id(0)
    line0 = tl.program_id(1) * seq
    row0 = tile * TILE_M
    q = q_desc.load([line0 + row0, 0])
    top = tl.full([TILE_M], float("-inf"), tl.float32)
    total = tl.zeros([TILE_M], tl.float32)
    acc = tl.zeros([TILE_M, HEAD], tl.float32)
    last = row0 + TILE_M if CAUSAL else seq
    acc, total, top = _attend(
        q, k_desc, v_desc, acc, total, top, row0, 0, last, line0, scale,
        CAUSAL, TILE_M, TILE_N, STAGES,
    )  # fmt: skip
    out = acc / total[:, None]
    o_desc.store([line0 + row0, 0], out.to(o_desc.dtype))


@triton.jit
def floats(x_ptr, y_ptr, out_ptr, N: tl.constexpr):
    """One row of results per operation, in the order of the table in the tests."""
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    y = tl.load(y_ptr + i)
    tl.store(out_ptr + 0 * N + i, x + y)
    tl.store(out_ptr + 1 * N + i, x - y)
    tl.store(out_ptr + 2 * N + i, x * y)
    tl.store(out_ptr + 3 * N + i, tl.div_rn(x, y))
    tl.store(out_ptr + 4 * N + i, tl.fma(x, y, x))
    tl.store(out_ptr + 5 * N + i, tl.sqrt_rn(tl.abs(x)))
    tl.store(out_ptr + 6 * N + i, tl.floor(x))
    tl.store(out_ptr + 7 * N + i, tl.ceil(x))
    tl.store(out_ptr + 8 * N + i, tl.maximum(x, y))
    tl.store(out_ptr + 9 * N + i, tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL))
    tl.store(out_ptr + 10 * N + i, tl.minimum(x, y))
    tl.store(out_ptr + 11 * N + i, tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL))
    tl.store(out_ptr + 12 * N + i, tl.clamp(x, -1.0, 1.0))
    tl.store(out_ptr + 13 * N + i, -x)
    tl.store(out_ptr + 14 * N + i, tl.where((x > y) | (x != x), x, y))
    tl.store(out_ptr + 15 * N + i, x % y)
    tl.store(out_ptr + 16 * N + i, libdevice.rint(x))
    tl.store(out_ptr + 17 * N + i, tl.exp2(x))
    tl.store(out_ptr + 18 * N + i, libdevice.tanh(x))
    tl.store(out_ptr + 19 * N + i, tl.erf(x))


@triton.jit
def integers(a_ptr, b_ptr, out_ptr, N: tl.constexpr):
    """One row of results per operation, in the order of the table in the tests."""
    i = tl.arange(0, N)
    a = tl.load(a_ptr + i)
    b = tl.load(b_ptr + i)
    ua = a.to(tl.uint32, bitcast=True)
    ub = b.to(tl.uint32, bitcast=True)
    tl.store(out_ptr + 0 * N + i, a * b)
    tl.store(out_ptr + 1 * N + i, a // b)
    tl.store(out_ptr + 2 * N + i, a % b)
    tl.store(out_ptr + 3 * N + i, a & b)
    tl.store(out_ptr + 4 * N + i, a | b)
    tl.store(out_ptr + 5 * N + i, a ^ b)
    tl.store(out_ptr + 6 * N + i, a << (b & 7))
    tl.store(out_ptr + 7 * N + i, a >> (b & 7))
    tl.store(out_ptr + 8 * N + i, tl.maximum(a, b))
    tl.store(out_ptr + 9 * N + i, tl.umulhi(a, b))
    tl.store(out_ptr + 10 * N + i, (a < b).to(tl.int32))
    tl.store(out_ptr + 11 * N + i, a.to(tl.int8).to(tl.int32))
    tl.store(out_ptr + 12 * N + i, (ua // ub).to(tl.int32, bitcast=True))
    tl.store(out_ptr + 13 * N + i, (ua % ub).to(tl.int32, bitcast=True))
    tl.store(out_ptr + 14 * N + i, (ua >> (ub & 7)).to(tl.int32, bitcast=True))
    tl.store(out_ptr + 15 * N + i, (ua < ub).to(tl.int32))
    tl.store(out_ptr + 16 * N + i, tl.minimum(ua, ub).to(tl.int32, bitcast=True))
    tl.store(out_ptr + 17 * N + i, a.to(tl.float32).to(tl.int32))


@triton.jit
def casts(x_ptr, half_ptr, toward_zero_ptr, bf16_ptr, e4_ptr, e5_ptr, back_ptr, N: tl.constexpr):
    """fp32 to every narrower type, and the fp8 ones back."""
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.store(half_ptr + i, x.to(tl.float16))
    tl.store(toward_zero_ptr + i, x.to(tl.float16, fp_downcast_rounding="rtz"))
    tl.store(bf16_ptr + i, x.to(tl.bfloat16))
    tl.store(e4_ptr + i, x.to(tl.float8e4nv))
    tl.store(e5_ptr + i, x.to(tl.float8e5))
    tl.store(back_ptr + i, x.to(tl.float8e4nv).to(tl.float32))
    tl.store(back_ptr + N + i, x.to(tl.float8e5).to(tl.float16).to(tl.float32))


@triton.jit
def _larger(a, a_index, b, b_index):
    first = (a > b) | ((a == b) & (a_index < b_index))
    return tl.where(first, a, b), tl.where(first, a_index, b_index)


@triton.jit
def reductions(x_ptr, out_ptr, index_ptr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Reductions of rows: by one operation, by a region of several, and a scan."""
    r = tl.arange(0, ROWS)
    c = tl.arange(0, COLS)
    x = tl.load(x_ptr + r[:, None] * COLS + c[None, :])
    tl.store(out_ptr + 0 * ROWS + r, tl.sum(x, 1))
    tl.store(out_ptr + 1 * ROWS + r, tl.max(x, 1))
    tl.store(out_ptr + 2 * ROWS + r, tl.min(x, 1))
    indices = tl.broadcast_to(c[None, :], (ROWS, COLS))
    top, place = tl.reduce((x, indices), 1, _larger)
    tl.store(out_ptr + 3 * ROWS + r, top)
    tl.store(index_ptr + 0 * ROWS + r, place)
    tl.store(index_ptr + 1 * ROWS + r, tl.argmin(x, 1))
    tl.store(index_ptr + 2 * ROWS + r, tl.xor_sum(x.to(tl.int32), 1))
    tl.store(out_ptr + 4 * ROWS + r, tl.max(tl.cumsum(x, 1), 1))
    tl.store(out_ptr + 5 * ROWS + r, tl.sum(tl.max(x, 1), 0))


@triton.jit
def shapes(x_ptr, out_ptr, ROWS: tl.constexpr, COLS: tl.constexpr):
    """Reshape, transpose, split, join, gather, flip."""
    r = tl.arange(0, ROWS)
    c = tl.arange(0, COLS)
    at = r[:, None] * COLS + c[None, :]
    x = tl.load(x_ptr + at)
    size: tl.constexpr = ROWS * COLS
    even, odd = tl.split(tl.reshape(x, (ROWS, COLS // 2, 2)))
    tl.store(out_ptr + 0 * size + at, tl.reshape(tl.join(odd, even), (ROWS, COLS)))
    tl.store(out_ptr + 1 * size + at, tl.trans(tl.reshape(x, (COLS, ROWS))))
    tl.store(out_ptr + 2 * size + at, tl.flip(x, 1))
    right = tl.broadcast_to((c[None, :] + 1) % COLS, (ROWS, COLS))
    tl.store(out_ptr + 3 * size + at, tl.gather(x, right, 1))


@triton.jit(noinline=True)
def _twice(k, j):
    return k * 2 + j


@triton.jit
def control(x_ptr, out_ptr, programs, limit, alpha, N: tl.constexpr):
    """Early return, while, if with values, a call that is not inlined, scalar floats."""
    pid = tl.program_id(0)
    if pid >= programs:
        return
    i = tl.arange(0, N)
    x = tl.load(x_ptr + pid * N + i)
    total = 0
    while total < limit:
        total += pid + 1
        if total % 3 == 0:  # noqa: SIM108 - the branch is what is tested
            x = x + 1.0
        else:
            x = x * 0.5
    x = x + _twice(total, pid) * (alpha * 2.0 + 1.0)
    for j in range(10, 0, -3):
        x += j
    tl.store(out_ptr + pid * N + i, x)


@triton.jit
def atomics(x_ptr, sums_ptr, count_ptr, top_ptr, N: tl.constexpr):
    """Atomic additions and maxima of all programs into the same elements."""
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.atomic_add(sums_ptr + (i % 4), x)
    tl.atomic_add(count_ptr, 1)
    tl.atomic_max(top_ptr, tl.max(x, 0))


@triton.jit
def inline_assembly(x_ptr, out_ptr, N: tl.constexpr, TEXT: tl.constexpr):
    """An elementwise block of assembly."""
    i = tl.arange(0, N)
    y = tl.inline_asm_elementwise(
        TEXT, "=f,f", [tl.load(x_ptr + i)], dtype=tl.float32, is_pure=True, pack=1
    )
    tl.store(out_ptr + i, y)


@triton.jit
def matmul(
    a_ptr, b_ptr, c_ptr, inner,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, ACC: tl.constexpr, PRECISION: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """C = A B for one tile."""
    m = tl.arange(0, M)
    n = tl.arange(0, N)
    k = tl.arange(0, K)
    acc = tl.zeros((M, N), ACC)
    for start in tl.range(0, inner, K, num_stages=STAGES):
        a = tl.load(a_ptr + m[:, None] * inner + (start + k)[None, :])
        b = tl.load(b_ptr + (start + k)[:, None] * N + n[None, :])
        acc = tl.dot(a, b, acc, input_precision=PRECISION, out_dtype=ACC)
    tl.store(c_ptr + m[:, None] * N + n[None, :], acc)


@triton.jit
def copy_rows(x_ptr, out_ptr, rows, stride, N: tl.constexpr, MASKED: tl.constexpr):
    """Copy one row of a matrix per program; without the mask the last ones leave the tensor."""
    row = tl.program_id(0)
    i = tl.arange(0, N)
    if MASKED:
        tl.store(out_ptr + row * N + i, tl.load(x_ptr + row * stride + i, row < rows), row < rows)
    else:
        tl.store(out_ptr + row * N + i, tl.load(x_ptr + row * stride + i))


@triton.jit
def copy_boxes(x_desc, out_desc, N: tl.constexpr):
    """Copy one box per program through TMA."""
    start = tl.program_id(0) * N
    out_desc.store([start, 0], x_desc.load([start, 0]))


@triton.jit
def checked(x_ptr, out_ptr, limit, N: tl.constexpr):
    """A device assertion."""
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i)
    tl.device_assert(x < limit, "x is below its limit")
    tl.store(out_ptr + i, x)


@triton.jit
def scaled(x_ptr, bias_ptr, pair, scale, out_ptr, N: tl.constexpr, SHIFT: tl.constexpr = 0):
    """Arguments of many kinds: an absent pointer, a tuple, a float, a constant."""
    i = tl.arange(0, N)
    x = tl.load(x_ptr + i) * scale + tl.load(pair[0] + i) * pair[1] + SHIFT
    if bias_ptr is not None:
        x += tl.load(bias_ptr + i)
    tl.store(out_ptr + i, x)


@triton.jit
def specialised(x_desc, out_ptr, steps, N: tl.constexpr):
    """A loop that asks for warp specialisation."""
    i = tl.arange(0, N)
    acc = tl.zeros((N, N), tl.float32)
    for k in tl.range(0, steps, warp_specialize=True):
        a = x_desc.load([k * N, 0])
        acc = tl.dot(a, a.T, acc)
    tl.store(out_ptr + i[:, None] * N + i[None, :], acc)
