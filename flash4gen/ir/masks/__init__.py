"""What the compiler knows about a mask: tile classes, and loop bounds that a kernel evaluates."""

from __future__ import annotations

from flash4gen.ir.masks.bounds import KeyBounds, Segment, always_true, bounds, never_true
from flash4gen.ir.masks.minimal import minimal
from flash4gen.ir.masks.plan import (
    Keys,
    Loop,
    Visit,
    evaluate_bounds,
    loops,
    query_tiles,
    visited_tiles,
)
from flash4gen.ir.masks.ranges import TileClass
from flash4gen.ir.masks.scalar import (
    Compute,
    QueryTile,
    Row,
    RowPosition,
    Scalar,
    evaluate_scalar,
)
from flash4gen.ir.masks.tiles import Tile, classify
from flash4gen.ir.masks.turns import Turns, turns

__all__ = [
    "Compute",
    "KeyBounds",
    "Keys",
    "Loop",
    "QueryTile",
    "Row",
    "RowPosition",
    "Scalar",
    "Segment",
    "Tile",
    "TileClass",
    "Turns",
    "Visit",
    "always_true",
    "bounds",
    "classify",
    "evaluate_bounds",
    "evaluate_scalar",
    "loops",
    "minimal",
    "never_true",
    "query_tiles",
    "turns",
    "visited_tiles",
]
