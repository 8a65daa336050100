"""Operations, group by group, compiled by Triton and compared with PyTorch."""

from __future__ import annotations

import pytest
import torch
import triton.language as tl
from torch import Tensor

from flash4gen.vgpu import VirtualGpuError, register_asm
from flash4gen.vgpu.numerics import convert_float, convert_toward_zero, fma
from tests.vgpu import kernels
from tests.vgpu.running import launch

N = 128


def same(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, all NaN taken as one."""
    a, b = (torch.where(x.float().isnan(), 0.0, x.float()) for x in (a, b))
    return torch.equal(a, b)


@pytest.mark.parametrize("arch", [80, 100])
def test_floats(arch: int) -> None:
    torch.manual_seed(1)
    x, y = torch.randn(N) * 3, torch.randn(N)
    x[3], y[5], x[7], x[8] = float("nan"), float("nan"), float("inf"), -0.0
    expected = [
        x + y, x - y, x * y, x / y, fma(x, y, x), x.abs().sqrt(), x.floor(), x.ceil(),
        torch.fmax(x, y), torch.maximum(x, y), torch.fmin(x, y), torch.minimum(x, y),
        torch.fmin(torch.fmax(x, torch.tensor(-1.0)), torch.tensor(1.0)),
        -x, torch.where((x > y) | x.isnan(), x, y), torch.fmod(x, y), x.round(),
        x.exp2(), x.tanh(), x.erf(),
    ]  # fmt: skip
    out = torch.empty(len(expected), N)
    launch(arch, kernels.floats, (1,), x, y, out, N)
    assert [i for i, row in enumerate(expected) if not same(out[i], row)] == []


def test_integers() -> None:
    torch.manual_seed(2)
    a = torch.randint(-(2**31), 2**31, (N,)).int()
    b = torch.randint(1, 1000, (N,)).int()
    b[::3] *= -1
    x, y = a.long(), b.long()
    ux, uy = x % 2**32, y % 2**32
    expected = [
        x * y, torch.div(x, y, rounding_mode="trunc"), torch.fmod(x, y), x & y, x | y, x ^ y,
        x << (y & 7), x >> (y & 7), torch.maximum(x, y),
        torch.tensor([p * q >> 32 for p, q in zip(ux.tolist(), uy.tolist(), strict=True)]),
        (x < y).long(), x.to(torch.int8).long(), ux // uy, ux % uy, ux >> (uy & 7),
        (ux < uy).long(), torch.minimum(ux, uy), x.float().double().clamp(max=2**31 - 1).long(),
    ]  # fmt: skip
    out = torch.empty(len(expected), N, dtype=torch.int32)
    launch(90, kernels.integers, (1,), a, b, out, N)
    assert [i for i, row in enumerate(expected) if not torch.equal(out[i], row.int())] == []


def test_casts() -> None:
    edges = [0.0, -0.0, float("inf"), float("nan"), 448.0, 464.0, 465.0, 57344.0, 65520.0, 2.0**-9]
    x = torch.cat([torch.randn(N - len(edges)) * 100, torch.tensor(edges)])
    half, toward_zero = (torch.empty(N, dtype=torch.float16) for _ in range(2))
    bf16 = torch.empty(N, dtype=torch.bfloat16)
    e4, e5 = torch.empty(N, dtype=torch.float8_e4m3fn), torch.empty(N, dtype=torch.float8_e5m2)
    back = torch.empty(2, N)
    launch(90, kernels.casts, (1,), x, half, toward_zero, bf16, e4, e5, back, N)
    assert same(half, x.half())
    assert same(toward_zero, convert_toward_zero(x, torch.float16))
    assert same(bf16, x.bfloat16())
    assert same(e4, convert_float(x, torch.float8_e4m3fn))
    assert same(e5, convert_float(x, torch.float8_e5m2))
    assert same(back[0], e4)
    assert same(back[1], e5)


def test_reductions() -> None:
    torch.manual_seed(3)
    x = torch.randn(16, 32)
    x[2, 5] = x[2, 9] = 7.0
    out, index = torch.empty(6, 16), torch.empty(3, 16, dtype=torch.int32)
    launch(90, kernels.reductions, (1,), x, out, index, 16, 32)
    torch.testing.assert_close(out[0], x.sum(1), rtol=1e-6, atol=1e-6)
    assert torch.equal(out[1], x.amax(1))
    assert torch.equal(out[2], x.amin(1))
    assert torch.equal(out[3], x.amax(1))
    assert torch.equal(index[0].long(), x.argmax(1))
    assert index[0, 2] == 5  # the first of two equal ones
    assert torch.equal(index[1].long(), x.argmin(1))
    folded = x.int()[:, 0].clone()
    for column in x.int().unbind(1)[1:]:
        folded ^= column
    assert torch.equal(index[2], folded)
    torch.testing.assert_close(out[4], x.cumsum(1).amax(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(out[5], x.amax().expand(16) * 0 + x.amax(1).sum())


def test_shapes() -> None:
    x = torch.arange(128.0).view(8, 16)
    out = torch.empty(4, 8, 16)
    launch(80, kernels.shapes, (1,), x, out, 8, 16)
    assert torch.equal(out[0], x.view(8, 8, 2).flip(-1).reshape(8, 16))
    assert torch.equal(out[1], x.view(16, 8).T)
    assert torch.equal(out[2], x.flip(1))
    assert torch.equal(out[3], x.roll(-1, 1))


def test_control_flow() -> None:
    x, out = torch.randn(4, N), torch.zeros(4, N)
    launch(80, kernels.control, (4,), x, out, 3, 10, 1.25, N)
    for pid in range(3):
        row, total = x[pid], 0
        while total < 10:
            total += pid + 1
            row = row + 1.0 if total % 3 == 0 else row * 0.5
        row = row + (2 * total + pid) * (1.25 * 2.0 + 1.0)
        for j in range(10, 0, -3):
            row = row + j
        assert torch.equal(out[pid], row)
    assert bool((out[3] == 0).all())


def test_atomics() -> None:
    x = torch.arange(64.0)
    sums, count, top = torch.zeros(4), torch.zeros(1, dtype=torch.int32), torch.zeros(1)
    launch(80, kernels.atomics, (3,), x, sums, count, top, 64)
    assert torch.equal(sums, 3 * x.view(16, 4).sum(0))
    assert (count.item(), top.item()) == (3, 63.0)


def test_inline_assembly_has_the_meaning_it_was_given() -> None:
    x, out = torch.randn(N), torch.empty(N)
    text = "mul.rn.f32 $0, $1, 0f40400000;"
    with pytest.raises(VirtualGpuError, match=r"without a registered meaning: mul\.rn"):
        launch(80, kernels.inline_assembly, (1,), x, out, N, text)
    register_asm(text, lambda value: value * 3)
    launch(80, kernels.inline_assembly, (1,), x, out, N, text)
    assert torch.equal(out, x * 3)


@pytest.mark.parametrize("arch", [80, 90, 100, 120])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_matmul(arch: int, dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    a, b = torch.randn(128, 128).to(dtype), torch.randn(128, 64).to(dtype)
    out = torch.empty(128, 64)
    launch(arch, kernels.matmul, (1,), a, b, out, 128, 128, 64, 64, tl.float32, "ieee", 3)
    torch.testing.assert_close(out, (a.double() @ b.double()).float(), rtol=1e-5, atol=1e-4)


def test_matmul_of_single_precision() -> None:
    torch.manual_seed(5)
    a, b, out = torch.randn(64, 64), torch.randn(64, 64), torch.empty(64, 64)
    exact = a.double() @ b.double()
    launch(80, kernels.matmul, (1,), a, b, out, 64, 64, 64, 32, tl.float32, "ieee", 1)
    torch.testing.assert_close(out.double(), exact, rtol=1e-5, atol=1e-4)
    launch(80, kernels.matmul, (1,), a, b, out, 64, 64, 64, 32, tl.float32, "tf32", 1)
    assert 1e-3 < float((out - exact).abs().max()) < 0.1


def test_matmul_of_bytes() -> None:
    a, b = (torch.randint(-128, 128, (64, 64)).to(torch.int8) for _ in range(2))
    out = torch.empty(64, 64, dtype=torch.int32)
    launch(80, kernels.matmul, (1,), a, b, out, 64, 64, 64, 32, tl.int32, "ieee", 2)
    assert torch.equal(out.long(), a.long() @ b.long())
