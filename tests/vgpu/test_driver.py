"""The driver: kernels are compiled and launched through Triton's own front door."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from flash4gen.vgpu import VirtualDriver, virtual_gpu
from tests.vgpu import kernels
from tests.vgpu.running import PINNED, launch


def copy(x: torch.Tensor, out: torch.Tensor) -> None:
    kernels.copy_rows[(x.shape[0],)](x, out, x.shape[0], x.stride(0), 64, True, **PINNED)


def test_a_launch_is_recorded() -> None:
    x, out = torch.randn(3, 64), torch.zeros(3, 64)
    with virtual_gpu(90) as gpu:
        copy(x, out)
    (record,) = gpu.launches
    assert (record.name, record.grid, record.executed) == ("copy_rows", (3, 1, 1), True)
    assert record.seconds > 0
    assert {"ttir", "ttgir", "ptx", "cubin"} <= set(record.asm)
    assert record.metadata.target.arch == 90
    assert torch.equal(out, x)


def test_compiling_without_running() -> None:
    x, out = torch.randn(3, 64), torch.zeros(3, 64)
    with virtual_gpu(90, execute=False) as gpu:
        copy(x, out)
    assert not gpu.launches[0].executed
    assert "tt.load" in gpu.launches[0].asm["ttgir"]
    assert bool((out == 0).all())


def test_an_idle_kernel_is_recorded_and_not_run() -> None:
    x, out = torch.randn(3, 64), torch.zeros(3, 64)
    with virtual_gpu(90, keep=True, idle={"copy_rows"}) as gpu:
        copy(x, out)
    (launch,) = gpu.launches
    assert not launch.executed
    assert torch.equal(launch.arguments[0], x)
    assert bool((out == 0).all())


def test_one_kernel_on_several_targets_in_turn() -> None:
    x, out = torch.randn(3, 64), torch.zeros(3, 64)
    targets = []
    for arch in (80, 100, 80):
        with virtual_gpu(arch) as gpu:
            copy(x, out)
        targets.append(gpu.launches[0].metadata.target.arch)
    assert targets == [80, 100, 80]


def test_contexts_nest_and_restore_what_was_active() -> None:
    before = triton.runtime.driver._active
    with virtual_gpu(80):
        outer: Any = triton.runtime.driver.active
        with suppress(ZeroDivisionError), virtual_gpu(100) as gpu:
            assert triton.runtime.driver.active.gpu is gpu
            raise ZeroDivisionError
        assert triton.runtime.driver.active is outer
        assert isinstance(outer, VirtualDriver)
    assert triton.runtime.driver._active is before


def test_the_device_as_torch_and_triton_see_it() -> None:
    with virtual_gpu(120) as gpu:
        driver = triton.runtime.driver.active
        assert driver.get_active_torch_device() == torch.device("cpu")
        assert driver.get_device_capability() == (12, 0)
        assert driver.get_current_target() == gpu.target
    assert not VirtualDriver.is_active()


def test_a_kernel_too_large_for_the_target_is_refused_by_triton() -> None:
    a, b, out = torch.zeros(128, 512).half(), torch.zeros(512, 64).half(), torch.zeros(128, 64)
    problem = a, b, out, 512, 128, 64, 64, tl.float32, "ieee", 6
    launch(90, kernels.matmul, (1,), *problem)
    with pytest.raises(triton.OutOfResources, match="shared memory"):
        launch(120, kernels.matmul, (1,), *problem)


def test_arguments_of_many_kinds() -> None:
    x, y, bias, out = (torch.randn(64) for _ in range(4))
    launch(80, kernels.scaled, (1,), x, None, (y, 3), 0.1, out, 64)
    torch.testing.assert_close(out, x * 0.1 + y * 3)
    launch(80, kernels.scaled, (1,), x, bias, (y, 1), 2, out, N=64, SHIFT=5)
    torch.testing.assert_close(out, x * 2 + y + 5 + bias)


def test_a_scalar_argument_is_rounded_to_its_type() -> None:
    x, y, out = torch.ones(64), torch.zeros(64), torch.empty(64)
    launch(80, kernels.scaled, (1,), x, None, (y, 3), 0.1, out, 64)
    assert torch.equal(out, torch.full((64,), 0.1))


def test_tensors_that_are_not_contiguous_and_need_gradients() -> None:
    out = torch.zeros(3, 64)
    whole = torch.randn(3, 80, requires_grad=True)
    launch(80, kernels.copy_rows, (3,), whole[:, :64], out, 3, 80, 64, True)
    assert torch.equal(out, whole[:, :64])


def test_scratch_memory_comes_from_the_allocator_that_the_module_sets() -> None:
    asked: list[int] = []

    def allocate(size: int, alignment: int, stream: int | None) -> torch.Tensor:
        asked.append(size)
        return torch.empty(size, dtype=torch.int8)

    triton.set_allocator(allocate)
    q = torch.randn(1, 128, 64).half()
    launch(
        90, kernels.attention_device_descriptors, (2, 1),
        q, q, q, torch.zeros_like(q), 128, 128, 1.0, False, 64, 64, 64, 2,
    )  # fmt: skip
    assert len(asked) == 1
    assert asked[0] % 2 == 0


def test_autotuning_and_benchmarking_run() -> None:
    configs = [triton.Config({"N": 64}, num_warps=warps) for warps in (1, 2)]
    tuned = triton.autotune(configs=configs, key=[])(kernels.inline_assembly)
    x, out = torch.randn(64), torch.empty(64)
    with virtual_gpu(80) as gpu:
        tuned[(1,)](x, out, TEXT="ex2.approx.f32 $0, $1;", **PINNED)
        assert len(gpu.launches) == 3
        assert torch.equal(out, x.exp2())
        milliseconds = triton.testing.do_bench(lambda: copy(x[None], out[None]), warmup=1, rep=1)
    assert milliseconds > 0
    assert torch.equal(out, x)
