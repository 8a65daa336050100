"""Mutation of kernels whose synchronisation Triton's own passes wrote: pipelines, partitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from triton.tools.tensor_descriptor import TensorDescriptor

from flash4gen.vgpu import HostDescriptor
from flash4gen.vgpu.mutate import score
from tests.vgpu import kernels
from tests.vgpu.running import arguments, ttgir

HEADS, TOKENS, DIM = 2, 200, 64
SCALE = math.log2(math.e) / math.sqrt(DIM)


def attention() -> dict[str, Any]:
    torch.manual_seed(0)
    q, k, v, out = (torch.randn(HEADS, TOKENS, DIM).half() for _ in range(4))
    return {
        "q_ptr": q, "k_ptr": k, "v_ptr": v, "o_ptr": out, "lse_ptr": torch.zeros(HEADS, TOKENS),
        "stride_h": TOKENS * DIM, "stride_m": DIM, "seq": TOKENS, "scale": SCALE,
    }  # fmt: skip


@pytest.mark.parametrize("arch", [80, 90, 100])
def test_pipelined_attention(arch: int) -> None:
    text = ttgir(arch, kernels.attention_pointers, *attention().values(), True, DIM, 64, 64, 3)
    result = score(text, lambda: arguments(text, **attention()), (4, HEADS))
    assert result.missed == ()
    assert result.flagged


def test_a_loop_that_triton_specialised() -> None:
    x, steps = torch.randn(1024, 128).half(), 8
    boxes = TensorDescriptor.from_tensor(x, [128, 128])
    text = ttgir(100, kernels.specialised, boxes, torch.zeros(128, 128), steps, 128)
    assert "ttg.warp_specialize" in text
    sizes = {"shape.0": 1024, "shape.1": 128, "stride.0": 128, "stride.1": 1}

    def fresh() -> list[Any]:
        descriptor = HostDescriptor(x, (1024, 128), (128, 1))
        tail = {f"x_desc.{name}": size for name, size in sizes.items()}
        out = torch.zeros(128, 128)
        return arguments(text, x_desc=descriptor, out_ptr=out, steps=steps, **tail)

    result = score(text, fresh, (1,))
    assert result.missed == ()
    assert result.flagged
