"""The virtual GPU: executes the TTGIR that Triton compiled for a target, on CPU tensors.

`virtual_gpu(arch)` makes it Triton's active device, so that a module's own launcher runs unchanged;
`run_ttgir` executes a text directly. Findings are raised as `VirtualGpuError`.
"""

from __future__ import annotations

from flash4gen.vgpu.driver import Launch, VirtualDriver, VirtualGpu, virtual_gpu
from flash4gen.vgpu.errors import Finding, FindingKind, VirtualGpuError
from flash4gen.vgpu.launch import HostDescriptor, run_ttgir
from flash4gen.vgpu.ops.elementwise import register_asm, register_libdevice
from flash4gen.vgpu.parse import TtgirSyntaxError, parse_ttgir

__all__ = [
    "Finding",
    "FindingKind",
    "HostDescriptor",
    "Launch",
    "TtgirSyntaxError",
    "VirtualDriver",
    "VirtualGpu",
    "VirtualGpuError",
    "parse_ttgir",
    "register_asm",
    "register_libdevice",
    "run_ttgir",
    "virtual_gpu",
]
