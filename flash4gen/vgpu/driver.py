"""A Triton driver whose device is the virtual GPU, and the context that makes it the active one.

A kernel is specialised and compiled for the target as on a machine that has it; only the last
step, the launch, runs the TTGIR of the compiled kernel on the CPU tensors it was called with.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.backends.driver import DriverBase
from triton.compiler import CompiledKernel
from triton.runtime import _allocation
from triton.runtime.cache import get_cache_manager

from flash4gen.vgpu.allocation import SHARED_BYTES
from flash4gen.vgpu.arguments import flatten_arguments
from flash4gen.vgpu.check import Check, check_ttgir, prepare_checked
from flash4gen.vgpu.launch import copied, is_concurrent, prepare
from flash4gen.vgpu.run import run_ttgir

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from flash4gen.vgpu.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One launch that went through the driver.

    Attributes:
        name: the kernel's name.
        grid: extents.
        asm: every level of IR and the binary, by its file extension.
        metadata: what Triton knows of the compiled kernel: `shared`, `num_warps`, ...
        seconds: time of executing it; 0 if it was not executed.
        executed: whether it was.
        arguments: what `run_ttgir` and `check_ttgir` take, to execute it later: if it was not
            executed, or as copies from before it was if the device keeps them.
    """

    name: str
    grid: tuple[int, int, int]
    asm: Mapping[str, Any] = field(repr=False)
    metadata: Any = field(repr=False)
    seconds: float = 0.0
    executed: bool = True
    arguments: tuple[Any, ...] = field(default=(), repr=False)


@dataclass(eq=False)
class VirtualGpu:
    """A virtual GPU in use; `launches`, and `reports` if it checks, grow with every launch.

    `most` bounds how many programs of a launch are executed, of kernels with partitions; `keep` has
    launches hold their arguments although they were executed; kernels in `idle` are not executed.
    """

    target: GPUTarget
    execute: bool = True
    check: Check | None = None
    most: int | None = None
    keep: bool = False
    idle: Collection[str] = ()
    launches: list[Launch] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)


class _Launcher:
    """What Triton calls to launch a compiled kernel; finds the virtual GPU that is active then."""

    def __init__(self, source: Any, metadata: Any) -> None:
        group = get_cache_manager(metadata.hash).get_group(f"{source.name[:150]}.json")
        if group is None:
            raise RuntimeError(f"the compiled files of {source.name} are not in Triton's cache")
        self._compiled = CompiledKernel(source, group, metadata.hash)
        self._source = source

    def __call__(self, *call: Any) -> None:
        """Launch: three extents, stream, function, metadata, hooks, then the kernel's arguments."""
        *extents, stream, _function, packed, launch_metadata, enter, leave = call[:9]
        if enter is not None:
            enter(launch_metadata)
        grid = (int(extents[0]), int(extents[1]), int(extents[2]))
        self._launch(grid, stream, call[9:])
        if leave is not None:
            leave(launch_metadata)
        del packed

    def _launch(self, grid: tuple[int, int, int], stream: int, arguments: Sequence[Any]) -> None:
        driver = triton.runtime.driver.active
        if not isinstance(driver, VirtualDriver):
            raise RuntimeError("a kernel of the virtual GPU was launched while it is not active")
        metadata = self._compiled.metadata
        seconds = 0.0
        flat = flatten_arguments(self._source.signature, metadata, arguments)
        executed = driver.gpu.execute and metadata.name not in driver.gpu.idle
        kept = tuple(flat)
        if driver.gpu.execute:
            kept = tuple(map(copied, flat)) if driver.gpu.keep else ()
        if executed:
            limit = SHARED_BYTES.get(driver.gpu.target.arch, 101_376)
            if metadata.shared > limit:
                raise triton.OutOfResources(metadata.shared, limit, "shared memory")
            if "ttgir" not in self._compiled.asm:
                raise RuntimeError("Triton stores binaries only; unset TRITON_STORE_BINARY_ONLY")
            scratch = self._scratch(grid, stream)
            fused = bool(metadata.enable_fp_fusion)
            start = _run(driver.gpu, self._compiled.asm["ttgir"], flat, grid, scratch, fused)
            seconds = time.perf_counter() - start
        driver.gpu.launches.append(
            Launch(
                name=metadata.name,
                grid=grid,
                asm=self._compiled.asm,
                metadata=metadata,
                seconds=seconds,
                executed=executed,
                arguments=kept,
            )
        )

    def _scratch(self, grid: tuple[int, int, int], stream: int) -> torch.Tensor | None:
        """Ask the allocator that the launching module set, as a real driver does."""
        metadata = self._compiled.metadata
        size = metadata.global_scratch_size
        if not size:
            return None
        total = size * grid[0] * grid[1] * grid[2] * metadata.num_ctas
        allocate = _allocation._allocator.get()
        buffer: Any = allocate(total, metadata.global_scratch_align, stream)
        bytes_: torch.Tensor = buffer.view(torch.uint8).reshape(-1)
        return bytes_


def _run(
    gpu: VirtualGpu,
    text: str,
    arguments: Sequence[Any],
    grid: tuple[int, int, int],
    scratch: torch.Tensor | None,
    fused: bool,
) -> float:
    """Run a launch and return when it began; making the text ready is not part of it."""
    check = gpu.check
    if check is None:
        (prepare_checked if is_concurrent(text) else prepare)(text, fused=fused)
        start = time.perf_counter()
        run_ttgir(text, arguments, grid, scratch=scratch, most=gpu.most, fused=fused)
        return start
    start = time.perf_counter()
    report = check_ttgir(
        text,
        arguments,
        grid,
        policy=check.policy,
        order=check.order,
        seed=check.seed,
        step_limit=check.step_limit,
        scratch=scratch,
        fused=fused,
    )
    gpu.reports.append(report)
    return start


class _Utils:
    """The part of a driver that loads binaries and knows the device's limits."""

    def __init__(self, target: GPUTarget) -> None:
        self._target = target

    def get_device_properties(self, _device: str) -> dict[str, int]:
        return {
            # The launcher knows the limit, and enforces it only where a kernel is to run.
            "max_shared_mem": 2**31,
            "multiprocessor_count": 132,
            "max_num_regs": 65_536,
            "warpSize": self._target.warp_size,
            "sm_clock_rate": 1_700_000,
            "mem_clock_rate": 2_600_000,
            "mem_bus_width": 5_120,
        }

    def load_binary(
        self, name: str, _binary: bytes, _shared: int, _device: str
    ) -> tuple[None, str, int, int, int]:
        """Return module, function, registers, spills and the most threads of a block.

        There is no module: Triton would unload it when the kernel is collected, whatever driver
        is active by then.
        """
        return None, name, 0, 0, 1024

    def unload_module(self, module: Any) -> None:
        """Nothing was loaded."""


class _Event:
    """An event on the one stream: work before it is done when it is recorded."""

    def __init__(self, **_options: Any) -> None:
        self._time = 0.0

    def record(self) -> None:
        self._time = time.perf_counter()

    def elapsed_time(self, end: _Event) -> float:
        return (end._time - self._time) * 1e3


class _DeviceInterface:
    """Stands in for `torch.cuda`."""

    Event = _Event

    @staticmethod
    def synchronize() -> None:
        """Launches are synchronous."""


class VirtualDriver(DriverBase):  # type: ignore[misc, unused-ignore]
    """Triton's view of a virtual GPU."""

    def __init__(self, gpu: VirtualGpu) -> None:
        super().__init__()
        self.gpu = gpu
        self.utils = _Utils(gpu.target)
        self.launcher_cls = _Launcher
        # Triton keeps compiled kernels per device: one device per target keeps them apart.
        self._device = f"vgpu-{gpu.target.backend}-{gpu.target.arch}"

    @classmethod
    def is_active(cls) -> bool:
        """Whether Triton may choose this driver by itself: never."""
        return False

    def get_current_target(self) -> GPUTarget:
        """Return the target that kernels are compiled for."""
        return self.gpu.target

    def get_current_device(self) -> str:
        """Return the key of the device."""
        return self._device

    def set_current_device(self, device: str) -> None:
        """Accept the one device there is."""

    def get_device_capability(self, _device: Any = None) -> tuple[int, int]:
        """Return the compute capability, or what PyTorch says of AMD's: 9.4 of gfx942."""
        arch = self.gpu.target.arch
        if isinstance(arch, str):
            return int(arch[3:-2]), int(arch[-2], 16)
        major, minor = divmod(int(arch), 10)
        return major, minor

    def get_current_stream(self, _device: Any = None) -> int:
        """Return the one stream there is."""
        return 0

    def get_active_torch_device(self) -> torch.device:
        """Return the device whose tensors kernels take."""
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        """Return what Triton's benchmarks need of `torch.cuda`: events and a synchronisation."""
        return _DeviceInterface

    def map_python_to_cpp_type(self, ty: str) -> str:
        """Return the type name itself: no C++ launcher is built."""
        return ty

    def get_empty_cache_for_benchmark(self) -> torch.Tensor:
        """Return a buffer to clear between runs; there is no cache to displace."""
        return torch.empty(1, dtype=torch.int32)

    def clear_cache(self, cache: torch.Tensor) -> None:
        """Clear that buffer."""
        cache.zero_()

    def get_benchmarker(self) -> Callable[..., Sequence[float]]:
        """Return a benchmark that runs once and gives wall-clock milliseconds."""

        def bench(
            kernel_call: Callable[[], Any], *, quantiles: Sequence[float], **_: Any
        ) -> Sequence[float]:
            start = time.perf_counter()
            kernel_call()
            milliseconds = (time.perf_counter() - start) * 1e3
            return [milliseconds] * len(quantiles)

        return bench


def target_of(arch: int | str) -> GPUTarget:
    """Return what Triton compiles for; AMD's architectures are names, with waves of 64 lanes."""
    return GPUTarget("hip", arch, 64) if isinstance(arch, str) else GPUTarget("cuda", arch, 32)


@contextmanager
def virtual_gpu(
    target_arch: int | str,
    *,
    execute: bool = True,
    check: Check | None = None,
    most: int | None = None,
    keep: bool = False,
    idle: Collection[str] = (),
) -> Iterator[VirtualGpu]:
    """Make a virtual GPU Triton's active device, and restore what was active before.

    Args:
        target_arch: as Triton writes it: compute capabilities 80, 90, 100, 120, ... of NVIDIA's
            GPUs; gfx942, gfx950 of AMD's.
        execute: run launches on the CPU tensors; False compiles and records them only.
        check: run them with all concurrency checks on; findings are collected, not raised.
        most: of kernels with partitions, execute no more programs of a launch than this.
        keep: copy the arguments of launches, to execute them again.
        idle: names of kernels whose launches are recorded and not executed.

    Yields:
        The device; its `launches` holds a record of every launch, its `reports` what checks found.

    Raises:
        VirtualGpuError: from a launch inside, at the first finding, unless `check` collects them.
    """
    gpu = VirtualGpu(
        target_of(target_arch), execute=execute, check=check, most=most, keep=keep, idle=idle
    )
    config = triton.runtime.driver
    before = config._active
    config.set_active(VirtualDriver(gpu))
    try:
        yield gpu
    finally:
        config.set_active(before)
