"""The checked machine through the driver: single operations, limits, and what a run costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import triton.language as tl
from triton.experimental.gluon.language import NVMMASharedLayout, float16
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from flash4gen.vgpu import Check, FindingKind, Policy, Report, check_ttgir, virtual_gpu
from tests.vgpu import kernels, machine_kernels
from tests.vgpu.running import PINNED, ttgir


def check(arch: int, kernel: Any, *args: Any, **settings: Any) -> Report:
    """Run a kernel with all checks on and return the report."""
    with virtual_gpu(arch, check=Check(**settings)) as gpu:
        kernel[(1,)](*args, **PINNED)
    return gpu.reports[-1]


def kinds(report: Report) -> set[FindingKind]:
    return {finding.kind for finding in report.findings}


def test_packed_arithmetic() -> None:
    x, y, out = torch.randn(256), torch.randn(256), torch.zeros(512)
    assert not check(100, machine_kernels.packed, x, y, out, 256).findings
    torch.testing.assert_close(out[:256], (x * y + (x + y)) * (x - y))
    assert torch.equal(out[256:], torch.maximum(x.half(), y.half()).float())


def test_a_load_of_tensor_memory_that_reduces() -> None:
    x, out = torch.randn(128, 64), torch.zeros(128, 64)
    assert not check(103, machine_kernels.reducing_load, x, out, 64).findings
    assert torch.equal(out, x + x.amax(1, keepdim=True) + x.abs().amin(1, keepdim=True))


@pytest.mark.parametrize("policy", Policy)
def test_copies_arrive_at_a_barrier_once_for_each_thread(policy: Policy) -> None:
    x, out = torch.randn(512), torch.zeros(512)
    report = check(90, machine_kernels.copies_arrive, x, out, 512, 128, policy=policy)
    assert not report.findings
    assert torch.equal(out, x)
    assert report.policy is policy
    report = check(90, machine_kernels.copies_arrive, x, out, 512, 64, policy=policy)
    assert kinds(report) == {FindingKind.BARRIER_OVER_ARRIVAL}


def test_rows_picked_by_a_tensor() -> None:
    x, out = torch.randn(128, 64).half(), torch.zeros(128, 64).half()
    layout = NVMMASharedLayout.get_default_for([8, 64], float16)
    descriptors = (TensorDescriptor.from_tensor(t, [1, 64], layout) for t in (x, out))
    assert not check(100, machine_kernels.every_other_row, *descriptors).findings
    assert torch.equal(out[:32], x[:64:2])
    assert bool((out[32:] == 0).all())


def test_a_race_in_global_memory_names_both_sides() -> None:
    (found,) = check(90, machine_kernels.reread, torch.zeros(128), 128).findings
    assert (found.kind, found.op) == (FindingKind.RACE_GLOBAL, "tt.store")
    assert found.other is not None
    assert {found.partition, found.other.partition} == {"default", "partition0"}
    assert "machine_kernels.py" in found.source
    assert found.line != found.other.line


def test_more_tensor_memory_than_there_is() -> None:
    out = torch.zeros(128, 128)
    assert not check(100, machine_kernels.too_wide, out, 4).findings
    text = ttgir(100, machine_kernels.too_wide, out, 4).replace("memdesc<4x128", "memdesc<5x128")
    (found,) = check_ttgir(text, [out], (1,)).findings
    assert (found.kind, found.op) == (FindingKind.TMEM_OVERALLOCATION, "ttng.tmem_alloc")
    assert "640 columns" in found.message


def test_more_shared_memory_than_there_is() -> None:
    x, out = torch.randn(512), torch.zeros(512)
    text = ttgir(90, machine_kernels.copies_arrive, x, out, 512, 128)
    whole = "() -> !ttg.memdesc<512xf32"
    assert whole in text
    first, *_ = check_ttgir(
        text.replace(whole, "() -> !ttg.memdesc<65536xf32"), [x, out], (1,)
    ).findings
    assert (first.kind, first.op) == (FindingKind.SMEM_OVERALLOCATION, "ttg.local_alloc")
    assert "262144 bytes" in first.message


def test_a_loop_without_end_meets_the_step_limit() -> None:
    (found,) = check(90, machine_kernels.forever, torch.zeros(1), step_limit=500).findings
    assert found.kind is FindingKind.STEP_LIMIT
    assert "more than 500 steps" in found.message


def test_kernels_without_partitions_are_checked_as_well() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(128, 256).half(), torch.randn(256, 64).half()
    for arch in (80, 90, 100):
        out = torch.empty(128, 64)
        with virtual_gpu(arch, check=Check(policy=Policy.RANDOM, seed=arch)) as gpu:
            kernels.matmul[(1,)](a, b, out, 256, 128, 64, 64, tl.float32, "ieee", 3, **PINNED)
        assert not gpu.reports[-1].findings
        torch.testing.assert_close(out, a.float() @ b.float(), rtol=1e-4, atol=1e-4)
