"""Memory of a training step beyond inputs, outputs and gradients, as generated modules allocate it.

`python -m benchmarks.training_memory` prints a table for a module of each family and a few lengths.
Forward and backward run with kernels that do nothing: what the host code allocates is what a GPU
would, as kernels allocate nothing. Every tensor that is made counts, whether or not an earlier one
was freed, so that a step's peak is at most what is printed.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.jit import JITFunction

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.lower import analyse
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice
from flash4gen.source import SourceFile
from flash4gen.validate.oracle import TORCH_DTYPES
from flash4gen.vgpu import virtual_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from flash4gen.ir.nodes import Attention

SPEC = """\
attention trained {
    dtype    = bf16
    heads    = 16
    kv_heads = 4
    head_dim = 128
    mask     = causal(align = end)
    passes   = forward, backward
}
"""
TARGETS = ("h100", "b200")
"""One whose module is portable, one whose module is a pipeline."""

LENGTHS = (1024, 4096, 16384)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one training step.

    Attributes:
        given: of inputs, outputs and gradients: q, k, v, out and the gradients of all four.
        kept: of what the forward pass saves that is neither an input nor ``out``: the LSE.
        workspace: of what either pass allocates besides; the backward pass frees it at its end.
    """

    given: int
    kept: int
    workspace: int

    @property
    def beyond(self) -> int:
        """Of all that a step needs besides inputs, outputs and gradients."""
        return self.kept + self.workspace


class Made(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Remembers the memory that operations allocate; it stays alive until the end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tensors: list[Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and keep its results."""
        result = func(*args, **(kwargs or {}))
        self.tensors += [
            x for x in torch.utils._pytree.tree_leaves(result) if isinstance(x, Tensor)
        ]
        return result


def storages(tensors: Sequence[Tensor]) -> dict[int, int]:
    """Return the bytes of each piece of memory that tensors lie in, by its address."""
    pieces = (x.untyped_storage() for x in tensors)
    return {piece.data_ptr(): piece.nbytes() for piece in pieces if piece.nbytes()}


def step_memory(module: ModuleType, attention: Attention, seq: int, batch: int = 1) -> Memory:
    """Return the memory of a training step with queries and keys of one length.

    To be called where the module launches: on a virtual GPU. The launchers are called as the
    operators call them, because operations inside of an operator cannot be watched from outside.

    Args:
        module: a generated module with a backward pass and no inputs besides q, k and v.
        attention: what it computes.
        seq: queries, and keys.
        batch: entries of the batch.
    """
    dtype = TORCH_DTYPES[attention.dtype]

    def empty(heads: int, dim: int) -> Tensor:
        return torch.empty(batch, seq, heads, dim, dtype=dtype)

    q = empty(attention.heads, attention.head_dim)
    k = empty(attention.kv_heads, attention.head_dim)
    v = empty(attention.kv_heads, attention.value_dim)
    with Made() as forward:
        out, _ = module._launch(q, k, v)
    # What autograd keeps is asked of autograd.
    saved: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(_into(saved), lambda x: x):
        leaves = [x.requires_grad_() for x in (q, k, v)]
        own, second = getattr(module, attention.name)(*leaves)
    grad_out, grad_second = torch.empty_like(out), torch.zeros_like(second)
    with torch.no_grad(), Made() as backward:
        gradients = module._launch_backward(grad_out, grad_second, *saved, [True] * 3)
    given = storages([q, k, v, own, out, grad_out, *gradients])
    kept = {at: size for at, size in storages(saved).items() if at not in given}
    scratch = storages(forward.tensors) | storages(backward.tensors)
    # The forward pass ran twice: its LSE is counted as what autograd has kept of the other run.
    workspace = sum(size for at, size in scratch.items() if at not in given) - sum(kept.values())
    return Memory(sum(given.values()) - own.nbytes, sum(kept.values()), workspace)


def _into(saved: list[Tensor]) -> Callable[[Tensor], Tensor]:
    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor.detach())
        return tensor

    return keep


class _Idle:
    """A kernel that does nothing."""

    def __getitem__(self, _grid: object) -> Callable[..., None]:
        return lambda *_, **__: None


def idle_module(target: str, folder: Path, text: str = SPEC) -> tuple[ModuleType, Attention]:
    """Return the module of a spec for a target, with kernels that do nothing."""
    found = analyse(SourceFile("trained.attn", text))
    (attention,) = found.attentions
    hardware = library.target(target)
    choice = choose(attention, hardware)
    assert isinstance(choice, Choice), choice
    path = folder / f"{target}.py"
    path.write_text(render(attention, hardware, choice).text, encoding="utf-8")
    module = load_module(path)
    for name, value in vars(module).items():
        if isinstance(value, JITFunction) and name.endswith("_kernel"):
            setattr(module, name, _Idle())
    return module, attention


def table(folder: Path) -> tuple[Table, bool]:
    """Return the table, and whether memory grows no faster than the length everywhere."""
    shown = Table("target", "seq", "in, out, gradients", "LSE", "workspace", "per token", "share")
    linear = True
    for target in TARGETS:
        module, attention = idle_module(target, folder)
        with virtual_gpu(library.target(target).arch, execute=False):
            steps = {seq: step_memory(module, attention, seq) for seq in LENGTHS}
        for seq, step in steps.items():
            row = [target, f"{seq:,}", mib(step.given), mib(step.kept), mib(step.workspace)]
            shown.add_row(*row, f"{step.beyond / seq:,.0f} B", f"{step.beyond / step.given:.1%}")
        linear &= all(
            steps[longer].beyond * shorter <= steps[shorter].beyond * longer
            for shorter, longer in pairwise(LENGTHS)
        )
    return shown, linear


def mib(size: int) -> str:
    """Return bytes in MiB."""
    return f"{size / 2**20:,.2f} MiB"


def main() -> int:
    """Print the table; 1 if anything grows faster than the length."""
    with tempfile.TemporaryDirectory(prefix="flash4gen-memory-") as folder:
        shown, linear = table(Path(folder))
    Console(width=120).print(shown)
    print("O(seq): the bytes per token do not grow" if linear else "grows faster than the length")
    return int(not linear)


if __name__ == "__main__":
    sys.exit(main())
