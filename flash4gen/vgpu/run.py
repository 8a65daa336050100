"""Runs a TTGIR text for its numbers: as plain functions, or on the checked machine if it must."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flash4gen.vgpu.check import check_ttgir
from flash4gen.vgpu.errors import VirtualGpuError
from flash4gen.vgpu.launch import execute, is_concurrent, prepare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


def run_ttgir(
    text: str,
    arguments: Sequence[Any],
    grid: Sequence[int],
    *,
    scratch: Tensor | None = None,
    most: int | None = None,
    fused: bool = True,
) -> None:
    """Execute a kernel on CPU tensors, program after program in order of their ids.

    Kernels with partitions run on the checked machine, where all partitions are under way at once.

    Args:
        text: the TTGIR of a module with one public function.
        arguments: one value for each argument of that function: a tensor (or None) for a pointer,
            a number for a scalar, a `HostDescriptor` for a TMA descriptor. Tensors are written in
            place.
        grid: up to three extents.
        scratch: a byte tensor of equal parts for the programs, where the kernel needs one.
        most: on the checked machine, execute no more programs than this; see `check_ttgir`.
        fused: whether products are fused into sums; see `vgpu.contract`.

    Raises:
        VirtualGpuError: the first finding.
    """
    if is_concurrent(text):
        report = check_ttgir(
            text, arguments, grid, scratch=scratch, redundancy=False, most=most, fused=fused
        )
        if report.findings:
            raise VirtualGpuError(report.findings[0])
        return
    x, y, z = (*grid, 1, 1, 1)[:3]
    execute(prepare(text, fused=fused), arguments, (x, y, z), scratch)
