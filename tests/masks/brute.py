"""Masks by brute force: every element by the oracle, every tile by looking at its elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flash4gen.ir.expr import Var
from flash4gen.ir.masks import QueryTile, query_tiles, visited_tiles
from flash4gen.validate.evaluate import NO_TENSORS, evaluate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from flash4gen.ir.expr import Expr
    from flash4gen.ir.masks import KeyBounds

torch.set_num_threads(1)


def elements(
    mask: Expr, place: QueryTile, tensors: Mapping[str, torch.Tensor] = NO_TENSORS
) -> NDArray[np.bool_]:
    """Return the mask, [seq_q, seq_k], of the head and lengths of ``place``."""
    env = {var: torch.tensor(place.value(var)) for var in (Var.H, Var.HKV, Var.B)}
    env |= {var: torch.tensor(place.value(var)) for var in (Var.SEQ_Q, Var.SEQ_K)}
    env |= {
        Var.Q: torch.arange(place.seq_q)[:, None],
        Var.K: torch.arange(place.seq_k)[None, :],
    }
    found = evaluate(mask, env, tensors=tensors).expand(place.seq_q, place.seq_k)
    visible: NDArray[np.bool_] = found.numpy()
    return visible


def place(seq_q: int, seq_k: int, h: int = 0) -> QueryTile:
    """Return a head and its lengths; the rows are for ``query_tiles`` to fill in."""
    return QueryTile(first=0, last=0, seq_q=seq_q, seq_k=seq_k, h=h, hkv=h, b=0)


def tiles(
    mask: Expr,
    bounds: KeyBounds,
    where: QueryTile,
    tile_q: int,
    tile_k: int,
    tensors: Mapping[str, torch.Tensor] = NO_TENSORS,
) -> Iterator[tuple[str, str]]:
    """Yield for every tile what it is and what the loops do with it.

    The first is ``empty``, ``partial`` or ``full``, the second ``skipped``, ``masked`` or
    ``plain``. A tile cut by the end of the keys counts as partial unless it is empty.
    """
    visible = elements(mask, where, tensors)
    count = -(-where.seq_k // tile_k)
    for at in query_tiles(where, tile_q):
        visits = visited_tiles(bounds, at, tile_k)
        visited = {visit.tile: "masked" if visit.masked else "plain" for visit in visits}
        assert len(visited) == len(visits), "a tile is visited twice"
        assert all(0 <= tile < count for tile in visited), "a tile beyond the keys is visited"
        rows = visible[at.first : at.last + 1]
        for tile in range(count):
            block = rows[:, tile * tile_k : (tile + 1) * tile_k]
            whole = bool(block.all()) and block.shape[1] == tile_k
            kind = "full" if whole else "partial" if block.any() else "empty"
            yield kind, visited.get(tile, "skipped")
