"""Cases of the kernels on clusters, and of cluster launch control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tests.vgpu.gluon import kernels_cluster
from tests.vgpu.gluon.case import Case, Values, random, tensor_of, tiled

if TYPE_CHECKING:
    from torch import Tensor

TILE_M, TILE_N, TILE_K, STEPS, TILE, PROGRAMS = 256, 64, 64, 5, 256, 5


def _operands(*, two_ctas: bool) -> Values:
    a, b = random(TILE_M, STEPS * TILE_K, seed=0), random(STEPS * TILE_K, TILE_N, seed=1)
    c = torch.zeros(TILE_M, TILE_N).half()
    halves = [(0, 1)] if two_ctas else [(0, 0)]
    return {
        "a_desc": tiled(a, TILE_M, TILE_K, cga_layout=[(1, 0)]),
        "b_desc": tiled(b, TILE_K, TILE_N, cga_layout=halves),
        "c_desc": tiled(c, TILE_M, TILE_N, cga_layout=[(1, 0)]),
        "steps": STEPS, "STAGES": 2, "TWO_CTAS": two_ctas, "MULTICAST": not two_ctas,
    }  # fmt: skip


def _product(values: Values) -> dict[str, Tensor]:
    a, b = tensor_of(values["a_desc"]).float(), tensor_of(values["b_desc"]).float()
    return {"c_desc": a @ b}


def _vectors() -> Values:
    x = random(PROGRAMS * TILE)
    return {"x_ptr": x, "out_ptr": torch.zeros_like(x), "TILE": TILE}


TWO_CTAS = Case(
    name="matmul_two_ctas", arch=100, kernel=kernels_cluster.matmul_cluster,
    values=lambda: _operands(two_ctas=True), reference=_product, tolerance=1e-2,
    options={"num_ctas": 2},
)  # fmt: skip
MULTICAST = Case(
    name="matmul_multicast", arch=100, kernel=kernels_cluster.matmul_cluster,
    values=lambda: _operands(two_ctas=False), reference=_product, tolerance=1e-2,
    options={"num_ctas": 2},
)  # fmt: skip
CLC_COPY = Case(
    name="clc_copy", arch=100, kernel=kernels_cluster.clc_copy, grid=(PROGRAMS,),
    values=_vectors, reference=lambda values: {"out_ptr": values["x_ptr"] + 1},
)  # fmt: skip
CASES = (CLC_COPY, TWO_CTAS, MULTICAST)
