"""Cases of the matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tests.vgpu.gluon import kernels_matmul
from tests.vgpu.gluon.case import Case, Values, random, tensor_of, tiled

if TYPE_CHECKING:
    from torch import Tensor

TILES, STEPS, TILE_K = 3, 5, 64


def _operands(tile_m: int, tile_n: int) -> Values:
    a = random(TILES * tile_m, STEPS * TILE_K, seed=0)
    b = random(STEPS * TILE_K, tile_n, seed=1)
    c = torch.zeros(TILES * tile_m, tile_n).half()
    return {
        "a_desc": tiled(a, tile_m, TILE_K), "b_desc": tiled(b, TILE_K, tile_n),
        "c_desc": tiled(c, tile_m, tile_n), "tiles": TILES, "steps": STEPS, "STAGES": 2,
    }  # fmt: skip


def _product(values: Values) -> dict[str, Tensor]:
    a, b = tensor_of(values["a_desc"]).float(), tensor_of(values["b_desc"]).float()
    return {"c_desc": a @ b}


MATMUL_TCGEN05 = Case(
    name="matmul_tcgen05", arch=100, kernel=kernels_matmul.matmul_tcgen05,
    values=lambda: _operands(128, 64), reference=_product, tolerance=1e-2,
)  # fmt: skip
MATMUL_WGMMA = Case(
    name="matmul_wgmma", arch=90, kernel=kernels_matmul.matmul_wgmma,
    values=lambda: _operands(64, 64), reference=_product, tolerance=1e-2,
)  # fmt: skip
CASES = (MATMUL_TCGEN05, MATMUL_WGMMA)
