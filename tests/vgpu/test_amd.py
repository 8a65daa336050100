"""Kernels for AMD on the virtual GPU: the TTGIR of gfx942 and gfx950, against float64."""

from __future__ import annotations

import re

import pytest
import torch
import triton
from torch import Tensor

from flash4gen.vgpu import Check, Policy, check_ttgir, virtual_gpu
from flash4gen.vgpu.allocation import over_allocations
from flash4gen.vgpu.numerics import fma
from flash4gen.vgpu.parse import parse_ttgir
from tests.vgpu import kernels, test_contract
from tests.vgpu.running import attention

HEADS, TOKENS, DIM, TILE = 2, 200, 64, 64
ARCHES = ("gfx942", "gfx950")


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(HEADS, TOKENS, DIM).half() for _ in range(3))
    return q, k, v, torch.zeros(HEADS, TOKENS, DIM, dtype=torch.float16)


def run(stages: int, *, sized: bool = True) -> tuple[Tensor, Tensor]:
    """Run attention on the virtual GPU that is active; return output and LSE, both checked."""
    q, k, v, out = inputs()
    lse = torch.empty(HEADS, TOKENS)
    tensors = (q, k, v, out, lse)
    kernels.attention_pointers[(triton.cdiv(TOKENS, TILE), HEADS)](
        *(tensors if sized else (triton.reinterpret(x, x.dtype) for x in tensors)),
        TOKENS * DIM, DIM, TOKENS, 1.4426950408889634 / DIM**0.5, True, DIM, TILE, TILE, stages,
        num_warps=4, enable_fp_fusion=False, matrix_instr_nonkdim=16,
    )  # fmt: skip
    expected, expected_lse = attention(q, k, v, DIM**-0.5, causal=True)
    assert float((out.double() - expected).abs().max()) < 4e-3
    torch.testing.assert_close(lse.double(), expected_lse, rtol=1e-4, atol=1e-4)
    return out, lse


@pytest.mark.parametrize("arch", ARCHES)
def test_with_buffer_operations(arch: str) -> None:
    """Triton makes them where it sees that a tensor is small."""
    with virtual_gpu(arch) as gpu:
        run(2)
    text = gpu.launches[0].asm["ttgir"]
    assert "amdg.buffer_load" in text
    assert "amdg.buffer_store" in text
    assert ("amdg.buffer_load_to_local" in text) == (arch == "gfx950")


@pytest.mark.parametrize("arch", ARCHES)
def test_without_them(arch: str) -> None:
    """Tensors in wrappers have no size that Triton could see."""
    with virtual_gpu(arch) as gpu:
        run(3, sized=False)
    text = gpu.launches[0].asm["ttgir"]
    assert "amdg.buffer" not in text
    assert ("ttg.async_copy_global_to_local" in text) == (arch == "gfx950")
    assert "#ttg.amd_mfma" in text


def test_a_copy_that_nobody_waits_for_is_a_race() -> None:
    q, k, v, out = inputs()
    with virtual_gpu("gfx950", execute=False) as gpu:
        kernels.attention_pointers[(1, 1)](
            q, k, v, out, torch.empty(HEADS, TOKENS), TOKENS * DIM, DIM, TOKENS, 0.1, False, DIM,
            TILE, TILE, 2, num_warps=4, enable_fp_fusion=False, matrix_instr_nonkdim=16,
        )  # fmt: skip
    launch = gpu.launches[0]
    text = launch.asm["ttgir"]
    broken = re.sub(r"(ttg\.async_wait .*num = )\d", r"\g<1>9", text)
    assert broken != text
    assert not check_ttgir(text, list(launch.arguments), launch.grid).findings
    assert check_ttgir(broken, list(launch.arguments), launch.grid).findings


def test_products_are_fused_as_llvm_does() -> None:
    torch.manual_seed(0)
    a, b, out = torch.randn(64), torch.randn(64), torch.empty(64)
    with virtual_gpu("gfx942") as gpu:
        test_contract._first[(1,)](a, b, out, enable_fp_fusion=True)
    assert torch.equal(out, fma(a, b, -b))
    assembly = gpu.launches[0].asm["amdgcn"]
    assert "v_fma" in assembly or "v_pk_fma" in assembly or "v_fmac" in assembly
    assert "v_mul_f32" not in assembly


def test_the_machine_is_what_it_was_asked_to_be() -> None:
    driver = triton.runtime.driver
    with virtual_gpu("gfx950", check=Check(policy=Policy.RANDOM)) as gpu:
        assert (gpu.target.backend, gpu.target.arch, gpu.target.warp_size) == ("hip", "gfx950", 64)
        assert driver.active.get_current_target() == gpu.target
        assert driver.active.get_device_capability() == (9, 5)
    with virtual_gpu("gfx942"):
        assert driver.active.get_device_capability() == (9, 4)


def test_what_does_not_fit_the_lds_is_found() -> None:
    text = """
#shared = #ttg.swizzled_shared<{vec = 1, perPhase = 1, maxPhase = 1, order = [1, 0]}>
#smem = #ttg.shared_memory
#loc = loc(unknown)
module attributes {"ttg.num-warps" = 4 : i32, ttg.target = "hip:gfx942"} {
  tt.func public @kernel() {
    %a = ttg.local_alloc : () -> !ttg.memdesc<512x128xf16, #shared, #smem, mutable> loc(#loc)
    ttg.local_dealloc %a : !ttg.memdesc<512x128xf16, #shared, #smem, mutable> loc(#loc)
    tt.return loc(#loc)
  } loc(#loc)
} loc(#loc)
"""
    (found,) = over_allocations(parse_ttgir(text))
    assert "131072 bytes of shared memory" in found.message
    assert "65536" in found.message
    assert not over_allocations(parse_ttgir(text.replace("gfx942", "gfx950")))
