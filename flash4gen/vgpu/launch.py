"""Makes a TTGIR text ready and runs a grid of its programs as plain functions of CPU tensors."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.contract import contract
from flash4gen.vgpu.cta import Cta
from flash4gen.vgpu.descriptor import Descriptor
from flash4gen.vgpu.dtypes import torch_dtype, wrapper
from flash4gen.vgpu.engines import PendingDot
from flash4gen.vgpu.errors import FaultError, Finding, FindingKind, VirtualGpuError, finding_at
from flash4gen.vgpu.memory import GlobalMemory
from flash4gen.vgpu.parse import parse_ttgir
from flash4gen.vgpu.parse.tree import (
    BlockArgument,
    DescriptorType,
    Function,
    Location,
    PointerType,
    ScalarType,
)
from flash4gen.vgpu.split import ctas_of
from flash4gen.vgpu.transpile import operation_at, transpile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Grid = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class HostDescriptor:
    """A host-side TMA descriptor as a launch argument; sizes in elements, outermost first."""

    base: Tensor
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    nan_fill: bool = field(default=False, kw_only=True)


def copied(argument: Any) -> Any:
    """Return a launch argument with memory of its own."""
    match argument:
        case Tensor():
            return argument.clone()
        case HostDescriptor():
            return replace(argument, base=argument.base.clone())
    return argument


@dataclass(frozen=True, slots=True)
class Program:
    """A TTGIR text made ready to run: its kernel as data, and as a function of a `Cta`."""

    kernel: Function
    run: Callable[..., Any]


@lru_cache(maxsize=32)
def prepare(text: str, *, fused: bool = True) -> Program:
    """Parse and transpile a TTGIR text; remembered by text.

    Args:
        text: of a module with one public function.
        fused: whether products are fused into sums, as in what the text is compiled to.

    Raises:
        TtgirSyntaxError: the text is not TTGIR.
        VirtualGpuError: it uses what this machine does not know.
    """
    module = parse_ttgir(text)
    if ctas_of(module) != 1:
        message = f"programs of {ctas_of(module)} CTAs run on the checked machine only"
        raise VirtualGpuError(Finding(kind=FindingKind.UNSUPPORTED, message=message))
    return Program(module.kernel, transpile(contract(module) if fused else module))


# What only the checked machine knows.
_CONCURRENT = (
    " ttg.warp_specialize",
    "ttng.clc_",
    "ttng.async_copy_mbarrier_arrive",
    "_barrier_named ",
)


def is_concurrent(text: str) -> bool:
    """Whether a text has what plain functions cannot run: partitions, clusters, some engines."""
    one = '"ttg.num-ctas" = 1 ' in text or "ttg.num-ctas" not in text
    return not one or any(name in text for name in _CONCURRENT)


def execute(program: Program, arguments: Sequence[Any], grid: Grid, scratch: Tensor | None) -> None:
    """Run all programs of a grid, one after the other; raises the first finding."""
    memory = GlobalMemory()
    values = bind_arguments(memory, program.kernel, arguments)
    base = memory.bind(scratch, "global scratch") if scratch is not None else 0
    share = 0 if scratch is None else scratch.numel() // max(1, grid[0] * grid[1] * grid[2])
    with exact_arithmetic():
        for z, y, x in itertools.product(*(range(extent) for extent in reversed(grid))):
            linear = x + grid[0] * (y + grid[1] * z)
            cta = Cta(memory, (x, y, z), grid, base + linear * share)
            _run_one(program, cta, values)


def bind_arguments(memory: GlobalMemory, kernel: Function, arguments: Sequence[Any]) -> list[Any]:
    """Return what a kernel sees of a launch's arguments, each bound to its memory."""
    wanted = kernel.arguments
    if len(wanted) != len(arguments):
        message = f"{kernel.name} takes {len(wanted)} arguments, not {len(arguments)}"
        raise VirtualGpuError(Finding(kind=FindingKind.INTERNAL, message=message))
    try:
        return [_bind(memory, w, a) for w, a in zip(wanted, arguments, strict=True)]
    except FaultError as fault:
        raise VirtualGpuError(Finding(kind=fault.kind, message=fault.message)) from fault


def _run_one(program: Program, cta: Cta, values: list[Any]) -> None:
    try:
        program.run(cta, *values)
        cta.close()
    except VirtualGpuError:
        raise
    except FaultError as fault:
        raise _located(fault, fault.kind, fault.message, cta) from fault
    except Exception as error:
        kind, message = explain(error)
        raise _located(error, kind, message, cta) from error


def _located(error: BaseException, kind: FindingKind, message: str, cta: Cta) -> VirtualGpuError:
    operation = operation_at(error)
    if operation is not None:
        return finding_at(operation, kind, message, cta.program)
    finding = Finding(kind=kind, message=message, location=Location(), program=cta.program)
    return VirtualGpuError(finding)


def explain(error: Exception) -> tuple[FindingKind, str]:
    """Return kind and message of the finding that an exception inside a program is."""
    if PendingDot.__name__ in str(error):
        return (
            FindingKind.IN_FLIGHT,
            "the result of an asynchronous wgmma is used before a wait covers it",
        )
    return FindingKind.INTERNAL, f"the virtual GPU failed: {type(error).__name__}: {error}"


def _bind(memory: GlobalMemory, argument: BlockArgument, value: Any) -> Any:
    """Return what the kernel sees of one launch argument."""
    kind, name = argument.type, argument.name
    if isinstance(kind, PointerType):
        if value is None:
            return 0
        if not isinstance(value, Tensor) or value.device.type != "cpu":
            raise FaultError(FindingKind.INTERNAL, f"argument {name} must be a CPU tensor")
        return memory.bind(value, name)
    if isinstance(kind, DescriptorType):
        descriptor = Descriptor(
            address=memory.bind(value.base, name),
            shape=tuple(value.shape),
            strides=tuple(value.strides),
            dtype=torch_dtype(kind),
            nan_fill=value.nan_fill,
            name=name,
        )
        descriptor.check(memory)
        return descriptor
    if isinstance(kind, ScalarType):
        dtype = torch_dtype(kind)
        if dtype.is_floating_point:
            return torch.tensor(value, dtype=dtype).item()
        return wrapper(kind)(int(value))
    raise FaultError(FindingKind.UNSUPPORTED, f"argument {name} of type {kind}")


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Keep torch from lowering the precision of fp32 products, and from starting threads."""
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    grad = torch.is_grad_enabled()
    torch.set_float32_matmul_precision("highest")
    torch.set_num_threads(1)
    torch.set_grad_enabled(mode=False)
    try:
        yield
    finally:
        torch.set_grad_enabled(mode=grad)
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
