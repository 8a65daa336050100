"""Findings: each with a kernel that has it and the one next to it that has it not.

Where no correct compiler would produce the fault, it is cut into the TTGIR that Triton produced.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import triton.language as tl
from triton.tools.tensor_descriptor import TensorDescriptor

from flash4gen.vgpu import Finding, FindingKind, HostDescriptor, VirtualGpuError, run_ttgir
from tests.vgpu import kernels
from tests.vgpu.running import arguments, launch, ttgir, without_lines


def finding(text: str, values: list[Any], grid: tuple[int, ...] = (1,)) -> Finding:
    with pytest.raises(VirtualGpuError) as error:
        run_ttgir(text, values, grid)
    return error.value.finding


# --- global memory ----------------------------------------------------------------------------


def test_an_access_beyond_the_end() -> None:
    x, out = torch.randn(3, 64), torch.empty(3, 64)
    launch(80, kernels.copy_rows, (4,), x, out, 3, 64, 64, True)
    assert torch.equal(out, x)
    with pytest.raises(VirtualGpuError) as error:
        launch(80, kernels.copy_rows, (4,), x, out, 3, 64, 64, False)
    found = error.value.finding
    assert found.kind is FindingKind.OUT_OF_BOUNDS
    assert found.op == "tt.load"
    assert found.program == (3, 0, 0)
    assert re.fullmatch(r".*kernels\.py:\d+", found.source)
    assert "of x_ptr, a tensor of shape 3x64 whose elements end at byte 768" in found.message


def test_an_access_between_the_elements_of_a_view() -> None:
    view, out = torch.randn(4, 128)[:, :64], torch.empty(4, 64)
    launch(80, kernels.copy_rows, (4,), view, out, 4, 128, 64, True)
    assert torch.equal(out, view)
    with pytest.raises(VirtualGpuError, match=r"out-of-bounds.*leave gaps"):
        launch(80, kernels.copy_rows, (4,), view, out, 4, 64, 64, True)


def test_two_programs_write_the_same_element() -> None:
    x, out = torch.randn(64), torch.empty(64)
    text = "ex2.approx.f32 $0, $1;"
    launch(80, kernels.inline_assembly, (1,), x, out, 64, text)
    assert torch.equal(out, x.exp2())
    with pytest.raises(VirtualGpuError, match="programs 0 and 1 both write the same element"):
        launch(80, kernels.inline_assembly, (2,), x, out, 64, text)


def test_lanes_without_a_value_are_poison() -> None:
    x, out = torch.randn(1, 64), torch.zeros(1, 64)
    text = ttgir(80, kernels.copy_rows, x, out, 3, 64, 64, True)
    # Without its mask the store writes what the masked-off lanes of the load were given.
    text = re.sub(r"(tt\.store %\S+, %\S+), %\S+ :", r"\1 :", text)
    run_ttgir(text, arguments(text, x_ptr=x, out_ptr=out, rows=0, stride=64), (1,))
    assert bool(out.isnan().all())


# --- descriptors ------------------------------------------------------------------------------


def boxes(arch: int = 90) -> tuple[str, torch.Tensor, torch.Tensor]:
    x, out = torch.randn(100, 64).half(), torch.zeros(100, 64).half()
    pair = (TensorDescriptor.from_tensor(t, [64, 64]) for t in (x, out))
    return ttgir(arch, kernels.copy_boxes, *pair, 64), x, out


def copy_boxes(
    text: str, x: HostDescriptor, out: HostDescriptor, grid: tuple[int, ...] = (2,)
) -> None:
    tail = {
        f"{name}.{what}.{axis}": 64
        for name in ("x_desc", "out_desc")
        for what in ("shape", "stride")
        for axis in (0, 1)
    }
    run_ttgir(text, arguments(text, x_desc=x, out_desc=out, **tail), grid)


def test_a_box_over_the_edge_is_clipped() -> None:
    text, x, out = boxes()
    copy_boxes(text, HostDescriptor(x, (80, 64), (64, 1)), HostDescriptor(out, (90, 64), (64, 1)))
    assert torch.equal(out[:80], x[:80])
    assert bool((out[80:] == 0).all())
    out.fill_(1)
    copy_boxes(text, HostDescriptor(x, (80, 64), (64, 1)), HostDescriptor(out, (90, 64), (64, 1)))
    assert bool((out[80:90] == 0).all())
    assert bool((out[90:] == 1).all())


@pytest.mark.parametrize(
    ("shape", "strides", "message"),
    [
        ((100, 64), (68, 1), "a stride of 136 bytes is no multiple of 16"),
        ((100, 64), (64, 2), "its innermost stride is 2, not 1"),
        ((101, 64), (64, 1), "it reaches 128 bytes beyond the end of its tensor"),
    ],
)
def test_a_descriptor_that_hardware_refuses(
    shape: tuple[int, int], strides: tuple[int, int], message: str
) -> None:
    text, x, out = boxes()
    with pytest.raises(VirtualGpuError, match=message):
        copy_boxes(text, HostDescriptor(x, shape, strides), HostDescriptor(out, (100, 64), (64, 1)))


# --- asynchronous copies and products ---------------------------------------------------------


def product(arch: int) -> tuple[str, list[Any], torch.Tensor]:
    torch.manual_seed(0)
    a, b = torch.randn(128, 256).half(), torch.randn(256, 64).half()
    out = torch.empty(128, 64)
    text = ttgir(arch, kernels.matmul, a, b, out, 256, 128, 64, 64, tl.float32, "ieee", 3)
    values = arguments(text, a_ptr=a, b_ptr=b, c_ptr=out, inner=256)
    run_ttgir(text, values, (1,))
    torch.testing.assert_close(out, a.float() @ b.float(), rtol=1e-4, atol=1e-4)
    return text, values, out


def test_shared_memory_that_no_copy_filled() -> None:
    text, values, _ = product(80)
    broken = re.sub(r"(async_wait %.*){num = \d+", r"\1{num = 99", text)
    found = finding(broken, values)
    assert (found.kind, found.op) == (FindingKind.IN_FLIGHT, "ttg.local_load")
    assert "while an asynchronous write to it is under way" in found.message


def test_shared_memory_that_nobody_wrote() -> None:
    text, values, _ = product(80)
    lines = [line for line in text.split("\n") if "ttg.async_copy_global_to_local" not in line]
    broken = re.sub(r"async_commit_group tokens %\S+", "async_commit_group", "\n".join(lines))
    found = finding(broken, values)
    assert (found.kind, found.op) == (FindingKind.UNINITIALISED, "ttg.local_load")
    assert "never written" in found.message


def test_a_product_that_no_wait_covers() -> None:
    text, values, _ = product(90)
    broken = re.sub(r"(warp_group_dot_wait .*)pendings = 0", r"\1pendings = 2", text)
    assert broken != text
    found = finding(broken, values)
    assert found.kind is FindingKind.IN_FLIGHT


def test_tensor_memory_that_no_barrier_covers() -> None:
    text, values, _ = product(100)
    broken = re.sub(r"\n[^\n]*ttng\.wait_barrier [^\n]*", "", text)
    found = finding(broken, values)
    assert found.kind is FindingKind.IN_FLIGHT
    assert found.op in ("ttng.tmem_load", "ttng.tc_gen5_mma")


def test_a_wait_that_nothing_can_end() -> None:
    text, x, out = boxes()
    whole = HostDescriptor(x, (100, 64), (64, 1)), HostDescriptor(out, (100, 64), (64, 1))
    copy_boxes(text, *whole)
    assert torch.equal(out, x)
    with pytest.raises(VirtualGpuError) as error:
        copy_boxes(without_lines(text, lambda line: "global_to_local" in line), *whole)
    found = error.value.finding
    assert (found.kind, found.op) == (FindingKind.DEADLOCK, "ttng.wait_barrier")
    assert "lacks 0 of 1 arrivals and 8192 bytes" in found.message
    assert text.split("\n")[found.line].lstrip().startswith("ttng.wait_barrier")


def test_a_store_that_nobody_waits_for() -> None:
    text, x, out = boxes()
    whole = HostDescriptor(x, (100, 64), (64, 1)), HostDescriptor(out, (100, 64), (64, 1))
    with pytest.raises(VirtualGpuError, match="the program ends with 1 TMA stores under way"):
        copy_boxes(without_lines(text, lambda line: "store_wait" in line), *whole)


def test_too_many_arrivals() -> None:
    text, x, out = boxes()
    whole = HostDescriptor(x, (100, 64), (64, 1)), HostDescriptor(out, (100, 64), (64, 1))
    line = next(line for line in text.split("\n") if "ttng.barrier_expect" in line)
    with pytest.raises(VirtualGpuError, match=r"1 arrivals at .* needs 0 more of 1"):
        copy_boxes(text.replace(line, f"{line}\n{line}"), *whole)


# --- what the machine does not know -----------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "unknown", "message"),
    [
        ("math.exp2", "math.tan_squared", "operation math.tan_squared is not supported"),
        ("tt.make_range {", "tt.make_range {step = 2 : i32, ", "attribute step of tt.make_range"),
        ("tensor<64xf32", "tensor<64xf6E2M3FN", "values of type f6E2M3FN are not supported"),
    ],
)
def test_unknown_things_are_named_with_their_line(known: str, unknown: str, message: str) -> None:
    x, out = torch.randn(128), torch.empty(20, 128)
    size = 64
    text = ttgir(80, kernels.floats, x, x, out, size)
    values = arguments(text, x_ptr=x, y_ptr=x, out_ptr=out)
    broken = text.replace(known, unknown)
    found = finding(broken, values)
    assert found.kind is FindingKind.UNSUPPORTED
    assert message in found.message
    assert unknown.split(" {")[0] in broken.split("\n")[found.line - 1]


def test_a_device_assertion() -> None:
    x, out = torch.rand(64), torch.empty(64)
    launch(80, kernels.checked, (1,), x, out, 2.0, 64, debug=True)
    assert torch.equal(out, x)
    with pytest.raises(VirtualGpuError, match=r"assertion.*x is below its limit"):
        launch(80, kernels.checked, (1,), x, out, 0.25, 64, debug=True)
