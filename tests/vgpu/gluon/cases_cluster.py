"""Cases of the kernels on clusters, and of cluster launch control."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from triton.experimental.gluon.language import NVMMASharedLayout
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from tests.vgpu.gluon import kernels_cluster, kernels_wgmma_cluster
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


def _wgmma() -> Values:
    rows = 128
    a, b = random(rows, STEPS * TILE_K, seed=0), random(STEPS * TILE_K, TILE_N, seed=1)
    c = torch.zeros(rows, TILE_N).half()
    return {
        "a_desc": tiled(a, rows, TILE_K, cga_layout=[(1, 0)]),
        "b_desc": tiled(b, TILE_K, TILE_N, cga_layout=[(0, 0)]),
        "c_desc": tiled(c, rows, TILE_N, cga_layout=[(1, 0)]),
        "steps": STEPS, "STAGES": 2,
    }  # fmt: skip


def _started(*, two_ctas: bool) -> Values:
    rows = 256 if two_ctas else 128
    by_rows = {"cga_layout": [(1, 0)]} if two_ctas else {}
    by_cols = {"cga_layout": [(0, 1)]} if two_ctas else {}
    start = random(rows, TILE_N, seed=2).float()
    in_words = NVMMASharedLayout(128, 32, rank=2, **by_rows)
    return {
        "a_desc": tiled(random(rows, TILE_K, seed=0), rows, TILE_K, **by_rows),
        "b_desc": tiled(random(TILE_K, TILE_N, seed=1), TILE_K, TILE_N, **by_cols),
        "c_desc": tiled(torch.zeros(rows, TILE_N).half(), rows, TILE_N, **by_rows),
        "start_desc": TensorDescriptor.from_tensor(start, [rows, TILE_N], in_words),
        "TWO_CTAS": two_ctas,
    }


def _product_on_start(values: Values) -> dict[str, Tensor]:
    return {"c_desc": _product(values)["c_desc"] + tensor_of(values["start_desc"])}


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
CLC_CLUSTER = Case(
    name="clc_copy_cluster", arch=100, kernel=kernels_cluster.clc_copy_cluster, grid=(PROGRAMS,),
    values=_vectors, reference=lambda values: {"out_ptr": values["x_ptr"] + 1},
    options={"num_ctas": 2},
)  # fmt: skip
WGMMA_CLUSTER = Case(
    name="matmul_wgmma_cluster", arch=90, kernel=kernels_wgmma_cluster.matmul_wgmma_cluster,
    values=_wgmma, reference=_product, tolerance=1e-2, options={"num_ctas": 2},
)  # fmt: skip
COPIED_START = Case(
    name="copied_start", arch=100, kernel=kernels_cluster.copied_start,
    values=lambda: _started(two_ctas=False), reference=_product_on_start, tolerance=1e-2,
)  # fmt: skip
COPIED_START_PAIR = Case(
    name="copied_start_pair", arch=100, kernel=kernels_cluster.copied_start,
    values=lambda: _started(two_ctas=True), reference=_product_on_start, tolerance=1e-2,
    options={"num_ctas": 2},
)  # fmt: skip
CASES = (
    CLC_COPY, TWO_CTAS, MULTICAST, CLC_CLUSTER, WGMMA_CLUSTER, COPIED_START, COPIED_START_PAIR,
)  # fmt: skip
