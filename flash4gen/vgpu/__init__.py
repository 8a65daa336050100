"""The virtual GPU: executes the TTGIR that Triton compiled for a target, on CPU tensors.

`virtual_gpu(arch)` makes it Triton's active device, so that a module's own launcher runs unchanged;
`run_ttgir` executes a text directly. Findings are raised as `VirtualGpuError`. `check_ttgir` runs
partitions and engines as the concurrent things they are and reports every finding.
"""

from __future__ import annotations

from flash4gen.vgpu.check import Check, Order, Policy, check_ttgir
from flash4gen.vgpu.concurrent.sites import synchronises
from flash4gen.vgpu.driver import Launch, VirtualDriver, VirtualGpu, virtual_gpu
from flash4gen.vgpu.errors import Finding, FindingKind, Other, VirtualGpuError
from flash4gen.vgpu.launch import HostDescriptor, copied
from flash4gen.vgpu.ops.elementwise import register_asm, register_libdevice
from flash4gen.vgpu.parse import TtgirSyntaxError, parse_ttgir
from flash4gen.vgpu.report import Redundant, Report
from flash4gen.vgpu.run import run_ttgir

__all__ = [
    "Check",
    "Finding",
    "FindingKind",
    "HostDescriptor",
    "Launch",
    "Order",
    "Other",
    "Policy",
    "Redundant",
    "Report",
    "TtgirSyntaxError",
    "VirtualDriver",
    "VirtualGpu",
    "VirtualGpuError",
    "check_ttgir",
    "copied",
    "parse_ttgir",
    "register_asm",
    "register_libdevice",
    "run_ttgir",
    "synchronises",
    "virtual_gpu",
]
