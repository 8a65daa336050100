"""Tile classes: is a rectangle of queries and keys empty, full or partial under a mask.

In: a mask and a tile. Out: a ``TileClass``. It shares no reasoning about rows with the loop bounds,
so that either checks the other; tile statistics come from here, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from flash4gen.ir.expr import Expr, Var, variables
from flash4gen.ir.masks.ranges import Range, TileClass, truth
from flash4gen.ir.semantics import evaluate

DEEPEST = 8
"""How often an undecided tile is halved by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """Queries × keys, and where they are.

    Attributes:
        q: query positions.
        k: key positions.
        seq_q: query length, or a range of lengths.
        seq_k: key length, or a range of lengths.
        h: query head, or a range of heads.
        hkv: key/value head, or a range.
        b: batch entry, or a range.

    Raises:
        ValueError: on construction, if a range is empty or has steps.
    """

    q: range
    k: range
    seq_q: int | range
    seq_k: int | range
    h: int | range = 0
    hkv: int | range = 0
    b: int | range = 0

    def __post_init__(self) -> None:
        for name in ("q", "k", "seq_q", "seq_k", "h", "hkv", "b"):
            value = getattr(self, name)
            if isinstance(value, range) and (len(value) == 0 or value.step != 1):
                raise ValueError(f"{name} must be a range of at least one integer, not {value}")

    def box(self) -> dict[Var, Range]:
        """Return the values of every variable."""
        return {
            Var.Q: _range(self.q),
            Var.K: _range(self.k),
            Var.SEQ_Q: _range(self.seq_q),
            Var.SEQ_K: _range(self.seq_k),
            Var.H: _range(self.h),
            Var.HKV: _range(self.hkv),
            Var.B: _range(self.b),
        }


def classify(mask: Expr, tile: Tile, *, deepest: int = DEEPEST) -> TileClass:
    """Return the class of a tile: EMPTY and FULL are proven, PARTIAL is anything else.

    Interval arithmetic decides first. A tile that it leaves open is partial as soon as its corners
    disagree, else it is halved, up to ``deepest`` times. Single elements are decided exactly,
    so that a tile of at most ``2 ** deepest`` elements is, if one head and length are given and
    the mask has no floats and no divisor that may be zero.
    """
    verdict = truth(mask, tile.box())
    if verdict is not TileClass.PARTIAL or deepest == 0 or _corners_disagree(mask, tile):
        return verdict
    halves = _halved(mask, tile)
    if halves is None:
        return verdict
    first = classify(mask, halves[0], deepest=deepest - 1)
    if first is TileClass.PARTIAL:
        return first
    second = classify(mask, halves[1], deepest=deepest - 1)
    return first if first is second else TileClass.PARTIAL


def _range(values: int | range) -> Range:
    if isinstance(values, int):
        return Range(values, values)
    return Range(values[0], values[-1])


def _corners_disagree(mask: Expr, tile: Tile) -> bool:
    """Whether some corner is visible and another is not."""
    box = tile.box()
    fixed = {var: values.least for var, values in box.items()}
    corners = product(
        {box[Var.Q].least, box[Var.Q].greatest}, {box[Var.K].least, box[Var.K].greatest}
    )
    try:
        seen = {bool(evaluate(mask, fixed | {Var.Q: q, Var.K: k})) for q, k in corners}
    except (ArithmeticError, ValueError):
        return False  # undefined there; only interval arithmetic may decide
    return len(seen) > 1


def _halved(mask: Expr, tile: Tile) -> tuple[Tile, Tile] | None:
    """Halve the longer side that the mask reads; None if neither can be."""
    read = variables(mask)
    rows = len(tile.q) if Var.Q in read else 1
    keys = len(tile.k) if Var.K in read else 1
    if max(rows, keys) < 2:
        return None
    if rows >= keys:
        half = rows // 2
        return replace(tile, q=tile.q[:half]), replace(tile, q=tile.q[half:])
    half = keys // 2
    return replace(tile, k=tile.k[:half]), replace(tile, k=tile.k[half:])
