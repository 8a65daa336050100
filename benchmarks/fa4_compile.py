"""Compiles FlashAttention-4's forward kernel without a GPU; a child of `fa4_static`.

Runs in an environment of its own, which needs nothing of this project. Takes `causal`, `softcap` or
neither; the target and where the cubin goes are set by FlashAttention-4's and CuTe DSL's own
environment variables, see `fa4_static`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

SHAPE = (2, 4096, 32, 128)
"""[batch, seq, heads, head_dim] of q, k and v: sizes of batch and sequence are not compiled in."""

SOFTCAP = 30.0


class TargetInfo:
    """Stands in for CuTe DSL's view of the GPU, which asks a driver that need not be here.

    All that a compile wants to know is the number of multiprocessors.
    """

    def __init__(self, device_id: int = 0) -> None:
        self.device_id = device_id

    def get_device_multiprocessor_count(self) -> int:
        """Return the number that FlashAttention-4 was told."""
        return int(os.environ["FLASH_ATTENTION_NUM_SMS"])


def main(words: list[str]) -> None:
    """Compile one kernel, on tensors that have shapes and no data."""
    torch = import_module("torch")
    for name in ("cutlass.utils", "cutlass.utils.hardware_info"):
        module: Any = import_module(name)
        module.HardwareInfo = TargetInfo
    # Only now: it takes the class from where it is.
    forward = import_module("flash_attn.cute.interface")._flash_attn_fwd
    with import_module("torch._subclasses.fake_tensor").FakeTensorMode():
        q, k, v = (torch.empty(SHAPE, dtype=torch.bfloat16, device="cuda") for _ in range(3))
        softcap = SOFTCAP if "softcap" in words else None
        forward(q, k, v, causal="causal" in words, softcap=softcap)


if __name__ == "__main__":
    main(sys.argv[1:])
