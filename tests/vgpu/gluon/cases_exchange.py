"""Cases of clusters whose CTAs send elements and signals to each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tests.vgpu.gluon import kernels_exchange
from tests.vgpu.gluon.case import Case, Values, random

if TYPE_CHECKING:
    from torch import Tensor

ROWS, COLS, TILES = 64, 32, 3


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
CASES = (RESPLIT_LOADS, RESPLIT_STORES, RESPLIT_REGISTERS, SKEWED_TURNS)
