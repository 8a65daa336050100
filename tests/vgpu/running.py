"""What the tests of the virtual GPU share: launching, capturing TTGIR, a float64 reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu import Launch, parse_ttgir, virtual_gpu

if TYPE_CHECKING:
    from collections.abc import Callable

# Left open, Triton 3.9 warns about its coming default.
PINNED = {"enable_fp_fusion": False}


def launch(arch: int, kernel: Any, grid: tuple[int, ...], *args: Any, **options: Any) -> Launch:
    """Run a kernel on a virtual GPU and return the record of the launch."""
    with virtual_gpu(arch) as gpu:
        kernel[grid](*args, **PINNED, **options)
    return gpu.launches[-1]


def ttgir(arch: int, kernel: Any, *args: Any, **options: Any) -> str:
    """Compile a kernel for these arguments without running it, and return its TTGIR."""
    with virtual_gpu(arch, execute=False) as gpu:
        kernel[(1,)](*args, **PINNED, **options)
    return str(gpu.launches[-1].asm["ttgir"])


def arguments(text: str, **values: Any) -> list[Any]:
    """Return the values of the arguments that the compiled function still has, in its order."""
    return [values[argument.name] for argument in parse_ttgir(text).kernel.arguments]


def without_lines(text: str, unwanted: Callable[[str], bool], *, count: int = 1) -> str:
    """Return the text with the first `count` lines that are unwanted left out."""
    kept: list[str] = []
    for line in text.split("\n"):
        if count and unwanted(line):
            count -= 1
        else:
            kept.append(line)
    assert count == 0, "the text has fewer such lines"
    return "\n".join(kept)


def attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, *, causal: bool
) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp in float64; tensors are [heads, tokens, dim]."""
    q, k, v = (tensor.double() for tensor in (q, k, v))
    scores = q @ k.transpose(-1, -2) * scale
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -math.inf)
    return scores.softmax(-1) @ v, scores.logsumexp(-1)
