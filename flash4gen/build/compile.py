"""Module file → binary for its target, on a machine that need not have a GPU.

The module's own launcher is what asks Triton for the kernel, so what is compiled here is, option
for option, what a GPU would run.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from flash4gen.build.ahead import compile_ahead, in_threads
from flash4gen.build.amdgcn import read_wave_facts
from flash4gen.build.artefact import Artefact
from flash4gen.build.facts import disassemble, read_facts, spilled_bytes
from flash4gen.build.load import load_module
from flash4gen.ir.core import core
from flash4gen.ir.expr import InputDType
from flash4gen.render.gradients import gradients
from flash4gen.render.inputs import arguments
from flash4gen.render.module import lean
from flash4gen.vgpu import virtual_gpu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.vgpu import Launch


INPUT_DTYPES = {
    InputDType.F32: torch.float32,
    InputDType.BF16: torch.bfloat16,
    InputDType.FP16: torch.float16,
    InputDType.I32: torch.int32,
    InputDType.I64: torch.int64,
}
"""Element types of input tensors, in PyTorch's words."""
MANY_QUERIES = 257
"""More than a query tile of any family has rows: a module may have another kernel for fewer."""


class CompileError(Exception):
    """Triton refused a kernel.

    Attributes:
        log: what Triton printed, for a bug report.
    """

    def __init__(self, reason: str, log: str) -> None:
        super().__init__(reason)
        self.log = log


def compile_module(
    path: Path, attention: Attention, hardware: Hardware, *, listed: bool = True
) -> Artefact:
    """Compile a module's kernels: that of long queries, of short ones, and those of gradients.

    Args:
        path: the module file.
        attention: the variant, for the shapes that its launcher accepts.
        hardware: the target.
        listed: disassemble kernels that do not spill as well, for the facts that are counted in
            instructions.

    Raises:
        CompileError: Triton cannot compile it.
    """
    long, short, *backward = _captured(load_module(path), attention, hardware)
    others = [] if short.asm["ttgir"] == long.asm["ttgir"] else [short]

    def made(launch: Launch) -> Artefact:
        return artefact_of(launch, hardware, listed=listed)

    main, *more = in_threads(made, [long, *others, *backward])
    return replace(main, short=more[0] if others else None, backward=tuple(more[len(others) :]))


def artefact_of(launch: Launch, hardware: Hardware, *, listed: bool = True) -> Artefact:
    """Return a kernel that was compiled for a launch, and what is known about it."""
    if "hsaco" in launch.asm:
        return _wave_artefact(launch, hardware)
    cubin: bytes = launch.asm["cubin"]
    sass = disassemble(cubin) if listed or spilled_bytes(cubin) else ""
    return Artefact(
        kernel=launch.name,
        target=hardware.name,
        ttgir=launch.asm["ttgir"],
        ptx=launch.asm["ptx"],
        sass=sass,
        cubin=cubin,
        facts=read_facts(cubin, sass, launch.metadata),
    )


def _wave_artefact(launch: Launch, hardware: Hardware) -> Artefact:
    amdgcn = launch.asm["amdgcn"]
    return Artefact(
        kernel=launch.name,
        target=hardware.name,
        ttgir=launch.asm["ttgir"],
        ptx="",
        sass="",
        cubin=launch.asm["hsaco"],
        facts=read_wave_facts(amdgcn, launch.metadata),
        amdgcn=amdgcn,
    )


def _captured(module: ModuleType, attention: Attention, hardware: Hardware) -> list[Launch]:
    """Call the module's function on many queries, and on one, with launches switched off.

    Then its backward pass, where it has one.
    """
    log = io.StringIO()

    def launch() -> None:
        for length in (MANY_QUERIES, 1):
            arguments, tensors = _arguments(module, attention, length)
            getattr(module, attention.name)(*arguments, **tensors)
        if attention.differentiable:
            module._launch_backward(*backward_arguments(module, core(attention)))

    with virtual_gpu(hardware.arch, execute=False) as gpu:
        try:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                compile_ahead(launch)
                launch()
        except Exception as error:
            chain = list(_causes(error))
            printed = "\n".join([*map(str, chain), log.getvalue()])
            raise CompileError(_reason(chain[-1]), printed) from error
    return gpu.launches


def _arguments(
    module: ModuleType, attention: Attention, length: int
) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
    dtype: Any = module.DTYPE
    sizes = (length,) if attention.packed else (1, length)
    size = attention.block_size
    blocks = -(-length // size) if size else 0
    rows = (blocks, size) if size else sizes
    shapes = (
        (*sizes, attention.heads, attention.head_dim),
        (*rows, attention.kv_heads, attention.head_dim),
        (*rows, attention.kv_heads, attention.value_dim),
    )
    tensors = {
        tensor.name: torch.zeros(
            attention.shape_of(tensor, 1, length, length), dtype=INPUT_DTYPES[tensor.dtype]
        )
        for tensor in attention.inputs
    }
    one = torch.tensor([0, length], dtype=torch.int32)
    known = {
        "cu_seqlens_q": one,
        "cu_seqlens_k": one,
        "block_table": torch.arange(blocks, dtype=torch.int32)[None],
        "seqused_k": one[1:],
    }
    tensors |= {name: known[name] for name in attention.length_tensors}
    return [torch.zeros(shape, dtype=dtype) for shape in shapes], tensors


def backward_arguments(module: ModuleType, attention: Attention) -> list[Any]:
    """Return arguments for the launcher of a module's backward kernels, of many queries."""
    (q, k, v), tensors = _arguments(module, attention, MANY_QUERIES)
    out = q.new_zeros(*q.shape[:-1], attention.value_dim)
    rows = (attention.heads, q.shape[-3])
    second = torch.zeros(rows if attention.packed else (q.shape[0], *rows))
    given = [tensors[argument.name] for argument in arguments(attention)]
    # Everything that can have a gradient is asked for it: as many as there are at most.
    count = len(gradients(lean(attention)).inputs)
    return [out, second, q, k, v, *given, out, second, [True] * (3 + count)]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it: Triton wraps one error per inlined function."""
    while error is not None:
        yield error
        error = error.__cause__


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" ^")]
    return lines[-1] if lines else type(error).__name__
