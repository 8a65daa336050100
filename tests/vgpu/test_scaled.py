"""Products of narrow floats with scales for blocks of elements."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from triton.experimental.gluon.language import NVMMASharedLayout, float8e4nv, float8e5, uint8
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from flash4gen.vgpu import Check, FindingKind, Policy, Report, check_ttgir, virtual_gpu
from flash4gen.vgpu.ops.scaled_product import powers_of_two, unpack_e2m1
from tests.vgpu import machine_kernels
from tests.vgpu.gluon.case import flat_arguments
from tests.vgpu.running import PINNED

SIZE, SCALES = 128, 4
WIDE = {"e4m3": (torch.float8_e4m3fn, float8e4nv), "e5m2": (torch.float8_e5m2, float8e5)}
# The 16 numbers of e2m1, by their bits: OCP Microscaling formats 1.0, section 5.3.3.
E2M1 = (0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6)


def matrix(form: str, seed: int) -> tuple[TensorDescriptor, Tensor]:
    """Return a descriptor of random elements, and what they stand for."""
    generator = torch.Generator().manual_seed(seed)
    if form == "e2m1":
        codes = torch.randint(0, 16, (SIZE, SIZE), generator=generator)
        stored = (codes[:, ::2] | codes[:, 1::2] << 4).to(torch.uint8)
        layout = NVMMASharedLayout.get_default_for([SIZE, SIZE // 2], uint8)
        descriptor = TensorDescriptor.from_tensor(stored, [SIZE, SIZE // 2], layout)
        return descriptor, torch.tensor(E2M1)[codes]
    dtype, element = WIDE[form]
    stored = torch.randn(SIZE, SIZE, generator=generator).to(dtype)
    layout = NVMMASharedLayout.get_default_for([SIZE, SIZE], element)
    return TensorDescriptor.from_tensor(stored, [SIZE, SIZE], layout), stored.float()


def scales(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(120, 135, (SIZE, SCALES), generator=generator).to(torch.uint8)


def packed(scales: Tensor) -> TensorDescriptor:
    """Return a descriptor of scales as tcgen05.cp reads them: in each of 32 lanes 4 rows of 4."""
    lanes = scales.view(4, 32, SCALES).permute(1, 0, 2).reshape(1, 1, 1, 2, 256).contiguous()
    layout = NVMMASharedLayout(0, 8, rank=5)
    return TensorDescriptor.from_tensor(lanes, [1, 1, 1, 2, 256], layout)


def multiply(
    a: str, b: str, *, waits: bool = True, copied: bool = False, **settings: Any
) -> tuple[Report, Tensor]:
    """Run the kernel on random elements and return its report and by how much it is off."""
    (a_desc, left), (b_desc, right) = matrix(a, 1), matrix(b, 2)
    sa, sb, out = scales(3), scales(4), torch.zeros(SIZE, SIZE)
    kernel: Any = machine_kernels.copied_scales if copied else machine_kernels.scaled_product
    given = (packed(sa), packed(sb)) if copied else (sa, sb)
    with virtual_gpu(100, check=Check(**settings)) as gpu:
        kernel[(1,)](a_desc, b_desc, *given, out, a, b, waits, **PINNED)
    block = SIZE // SCALES
    left = left * torch.exp2(sa.float() - 127).repeat_interleave(block, 1)
    right = right * torch.exp2(sb.float() - 127).repeat_interleave(block, 1)
    expected = left.double() @ right.double().T
    return gpu.reports[-1], (out - expected).abs().max() / expected.abs().max()


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize(
    ("a", "b"), [("e4m3", "e4m3"), ("e5m2", "e4m3"), ("e2m1", "e2m1")], ids=str
)
def test_the_product(a: str, b: str, policy: Policy) -> None:
    report, error = multiply(a, b, policy=policy)
    assert report.findings == ()
    assert float(error) < 1e-6


@pytest.mark.parametrize("policy", Policy)
def test_scales_are_read_by_the_product(policy: Policy) -> None:
    report, _ = multiply("e4m3", "e4m3", waits=False, policy=policy)
    (found,) = report.findings
    assert (found.kind, found.op) == (FindingKind.RACE_TMEM, "ttng.tmem_store")
    assert found.other is not None
    assert found.other.op == "ttng.tc_gen5_mma_scaled"


@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("form", ["e4m3", "e2m1"])
def test_scales_that_are_copied_from_shared_memory(form: str, policy: Policy) -> None:
    report, error = multiply(form, form, copied=True, policy=policy)
    assert report.findings == ()
    assert float(error) < 1e-6


@pytest.mark.parametrize("policy", Policy)
def test_a_copy_of_scales_that_have_not_arrived(policy: Policy) -> None:
    report, _ = multiply("e4m3", "e4m3", copied=True, waits=False, policy=policy)
    found = [finding for finding in report.findings if finding.kind is FindingKind.RACE_SMEM]
    assert {finding.op for finding in found} == {"ttng.tmem_copy", "ttng.tc_gen5_mma_scaled"}


def test_every_e2m1_number_in_its_place() -> None:
    codes = torch.arange(16, dtype=torch.uint8)
    pairs = (codes | codes.flip(0) << 4).view(4, 4)
    numbers = torch.tensor(E2M1)
    along = unpack_e2m1(pairs, 1).view(16, 2)
    assert torch.equal(along[:, 0], numbers)
    assert torch.equal(along[:, 1], numbers.flip(0))
    assert torch.equal(unpack_e2m1(pairs.T, 0), unpack_e2m1(pairs, 1).T)


def test_every_scale_but_one_is_a_power_of_two() -> None:
    numbers = powers_of_two(torch.arange(256).to(torch.uint8).view(torch.int8))
    assert numbers[127] == 1
    assert numbers[0] == 2.0**-127
    assert torch.equal(numbers[1:255], numbers[:254] * 2)
    assert bool(numbers[255].isnan())


def test_elements_of_another_type_are_refused_by_name() -> None:
    (a_desc, _), sa = matrix("e4m3", 1), scales(3)
    kernel: Any = machine_kernels.scaled_product
    values = {
        "a_desc": a_desc, "b_desc": a_desc, "sa_ptr": sa, "sb_ptr": sa,
        "out_ptr": torch.zeros(SIZE, SIZE),
    }  # fmt: skip
    with virtual_gpu(100, execute=False) as gpu:
        kernel[(1,)](*values.values(), "e4m3", "e4m3", True, **PINNED)
    text = str(gpu.launches[-1].asm["ttgir"]).replace("lhs = e4m3", "lhs = e3m2")
    (found,) = check_ttgir(text, flat_arguments(text, values), (1,)).findings
    assert found.kind is FindingKind.UNSUPPORTED
    assert "elements of type e3m2" in found.message
