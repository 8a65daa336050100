"""Cases of attention by pairs of CTAs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from triton.experimental.gluon.language import NVMMASharedLayout
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from tests.vgpu.gluon import kernels_pair
from tests.vgpu.gluon.case import Case, Values, random, tensor_of, tiled

if TYPE_CHECKING:
    from torch import Tensor

ROWS, DIM = 256, 64


def pair_values(clusters: int, tiles: int, keys: int, stages: int) -> Values:
    """Return arguments for clusters that each have one tile of queries."""
    q, k, v = (random(n, DIM, seed=i) for i, n in enumerate((clusters * ROWS, *[tiles * keys] * 2)))
    bias = random(tiles * keys, seed=3)
    out = torch.zeros_like(q)
    return {
        "q_desc": tiled(q, ROWS, DIM, cga_layout=[(1, 0)]),
        "k_desc": tiled(k, keys, DIM, cga_layout=[(1, 0)]),
        "v_desc": tiled(v, keys, DIM, cga_layout=[(0, 1)]),
        "bias_desc": TensorDescriptor.from_tensor(
            bias, [keys], NVMMASharedLayout(0, 16, rank=1, cga_layout=[[0]])
        ),
        "out_desc": tiled(out, ROWS, DIM, cga_layout=[(1, 0)]),
        "tiles": tiles, "qk_scale": math.log2(math.e) / math.sqrt(DIM), "STAGES": stages,
    }  # fmt: skip


def _attention(values: Values) -> dict[str, Tensor]:
    names = ("q_desc", "k_desc", "v_desc", "bias_desc")
    q, k, v, bias = (tensor_of(values[name]).float() for name in names)
    scores = (q @ k.T + bias) / math.sqrt(DIM)
    return {"out_desc": scores.softmax(-1) @ v}


ATTENTION_PAIR = Case(
    name="attention_pair", arch=100, kernel=kernels_pair.attention_pair, grid=(2,),
    values=lambda: pair_values(2, 4, 64, 2), reference=_attention, tolerance=1e-2,
    options={"num_ctas": 2},
)  # fmt: skip
CASES = (ATTENTION_PAIR,)
