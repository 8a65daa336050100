"""Cases of the copying kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from tests.vgpu.gluon import kernels_copy
from tests.vgpu.gluon.case import Case, Values, random, tensor_of, tiled

if TYPE_CHECKING:
    from torch import Tensor

ROWS, COLS, TILES = 32, 64, 5


def _tma() -> Values:
    x, out = random(2 * TILES * ROWS, COLS), torch.zeros(2 * TILES * ROWS, COLS).half()
    return {
        "x_desc": tiled(x, ROWS, COLS), "out_desc": tiled(out, ROWS, COLS),
        "tiles": TILES, "STAGES": 2,
    }  # fmt: skip


def _cp_async() -> Values:
    x, out = random(2 * TILES * ROWS, COLS), torch.zeros(2 * TILES * ROWS, COLS).half()
    return {"x_ptr": x, "out_ptr": out, "tiles": TILES, "ROWS": ROWS, "COLS": COLS, "STAGES": 3}


def _ring() -> Values:
    x, out = random(2 * TILES * ROWS, COLS), torch.zeros(2 * TILES * ROWS, COLS).half()
    return {"x_desc": tiled(x, ROWS, COLS), "out_ptr": out, "tiles": TILES, "STAGES": 2}


def _plus_one(values: Values) -> dict[str, Tensor]:
    source = next(name for name in values if name.startswith("x_"))
    target = next(name for name in values if name.startswith("out_"))
    return {target: tensor_of(values[source]) + 1}


TMA_COPY = Case(
    name="tma_copy", arch=90, kernel=kernels_copy.tma_copy,
    values=_tma, reference=_plus_one, grid=(2,),
)  # fmt: skip
CP_ASYNC_COPY = Case(
    name="cp_async_copy", arch=80, kernel=kernels_copy.cp_async_copy,
    values=_cp_async, reference=_plus_one, grid=(2,),
)  # fmt: skip
RING_COPY = Case(
    name="ring_copy", arch=90, kernel=kernels_copy.ring_copy,
    values=_ring, reference=_plus_one, grid=(2,),
)  # fmt: skip
RING_COPY_100 = Case(
    name="ring_copy_100", arch=100, kernel=kernels_copy.ring_copy,
    values=_ring, reference=_plus_one, grid=(2,),
)  # fmt: skip
CASES = (TMA_COPY, CP_ASYNC_COPY, RING_COPY, RING_COPY_100)
