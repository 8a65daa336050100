"""Times one attention kernel on the virtual GPU or in Triton's interpreter; a child of `numbers`.

Takes the way and the file of a generated module, prints seconds, one per repetition. Each way has a
process of its own, because Triton decides when it is imported whether it interprets.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

WAYS = ("virtual", "interpreter")
LENGTH = 1024
SHAPE = (1, LENGTH, 1, 128)
"""[batch, seq, heads, head_dim] of q, k and v."""


def main(way: str, file: str, repetitions: int) -> None:
    """Print the time of every repetition; the first launch, which compiles, is not among them."""
    if way == "interpreter":
        os.environ["TRITON_INTERPRET"] = "1"
    import torch

    from flash4gen.build.load import load_module

    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = load_module(Path(file))
    q, k, v = (torch.randn(SHAPE, dtype=torch.float16) for _ in range(3))
    scores = q[0, :, 0].double() @ k[0, :, 0].double().T / SHAPE[-1] ** 0.5
    expected = scores.softmax(-1) @ v[0, :, 0].double()
    with _device(way, module.TARGET[1]):
        for n in range(repetitions + 1):
            start = time.perf_counter()
            out, _ = module._launch(q, k, v)
            if n:
                print(time.perf_counter() - start)
    # Fast and wrong would not count.
    torch.testing.assert_close(out[0, :, 0].double(), expected, rtol=0, atol=2e-3)


def _device(way: str, arch: int) -> AbstractContextManager[object]:
    if way == "interpreter":
        return contextlib.nullcontext()
    from flash4gen.vgpu import virtual_gpu

    return virtual_gpu(arch)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
