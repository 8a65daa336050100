"""Cases of clusters whose CTAs send elements and signals to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tests.vgpu.gluon import kernels_exchange, kernels_pair_gradient
from tests.vgpu.gluon.case import Case, Values, random, tensor_of, tiled

if TYPE_CHECKING:
    from torch import Tensor

ROWS, COLS, TILES = 64, 32, 3
QUERIES, KEYS, DIM = 128, 256, 64


def _tiles() -> Values:
    x = random(TILES, ROWS, COLS).float()
    return {
        "x_ptr": x, "out_ptr": torch.zeros_like(x), "tiles": TILES, "ROWS": ROWS, "COLS": COLS,
    }  # fmt: skip


def _matrix() -> Values:
    # Small whole numbers: their sums are exact in any order.
    x = torch.randint(-8, 9, (ROWS, COLS), generator=torch.Generator().manual_seed(0)).float()
    return {
        "x_ptr": x, "sum_ptr": torch.zeros(COLS), "count_ptr": torch.zeros(1, dtype=torch.int32),
        "ROWS": ROWS, "COLS": COLS,
    }  # fmt: skip


def _sums(values: Values) -> dict[str, Tensor]:
    x = values["x_ptr"]
    return {"sum_ptr": x.sum(0) + x.sum(), "count_ptr": torch.ones(1, dtype=torch.int32)}


def _heads() -> Values:
    q, k = random(TILES * QUERIES, DIM, seed=0), random(KEYS, DIM, seed=1)
    by_rows, by_columns = {"cga_layout": [(1, 0)]}, {"cga_layout": [(0, 1)]}
    return {
        "q_desc": tiled(q, QUERIES, DIM, **by_rows), "k_desc": tiled(k, KEYS, DIM, **by_rows),
        "columns_desc": tiled(k, KEYS, DIM, **by_columns),
        "out_desc": tiled(torch.zeros_like(q), QUERIES, DIM, **by_rows), "tiles": TILES,
    }  # fmt: skip


def _query_gradient(values: Values) -> dict[str, Tensor]:
    q, k = tensor_of(values["q_desc"]).float(), tensor_of(values["k_desc"]).float()
    return {"out_desc": (q @ k.T / 32).half().float() @ k}


RESPLIT_STORES = Case(
    name="resplit_stores", arch=90, kernel=kernels_exchange.resplit_stores, values=_tiles,
    reference=lambda values: {"out_ptr": values["x_ptr"] + 1}, options={"num_ctas": 2},
)  # fmt: skip
RESPLIT_REGISTERS = Case(
    name="resplit_registers", arch=90, kernel=kernels_exchange.resplit_registers, values=_matrix,
    reference=_sums, options={"num_ctas": 2},
)  # fmt: skip
SKEWED_TURNS = Case(
    name="skewed_turns", arch=90, kernel=kernels_exchange.skewed_turns,
    values=lambda: {"out_ptr": torch.zeros(1)},
    reference=lambda _values: {"out_ptr": torch.ones(1)}, options={"num_ctas": 2},
)  # fmt: skip
RESPLIT_LOADS = Case(
    name="resplit_loads", arch=90, kernel=kernels_exchange.resplit_loads, values=_tiles,
    reference=lambda values: {"out_ptr": values["x_ptr"] + 0.5 + 0.5}, options={"num_ctas": 2},
)  # fmt: skip
PAIR_GRADIENT = Case(
    name="pair_query_gradient", arch=100, kernel=kernels_pair_gradient.pair_query_gradient,
    values=_heads, reference=_query_gradient, tolerance=2e-2, options={"num_ctas": 2},
)  # fmt: skip
CASES = (PAIR_GRADIENT, RESPLIT_LOADS, RESPLIT_STORES, RESPLIT_REGISTERS, SKEWED_TURNS)
