"""Look-ups that name an element of their tensor by heads, positions and numbers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Extent, Literal, Var, Variable

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr, Lookup

_OWN = {
    Extent.HEADS: Var.H,
    Extent.KV_HEADS: Var.HKV,
    Extent.BATCH: Var.B,
    Extent.SEQ_Q: Var.Q,
    Extent.SEQ_K: Var.K,
}


def is_plain(lookup: Lookup) -> bool:
    """Whether each axis is indexed by its own variable, or by a number inside of it."""
    seen: set[Expr] = set()
    for index, extent in zip(lookup.indices, lookup.tensor.axes, strict=True):
        if isinstance(index, Literal):
            if not (isinstance(extent, int) and 0 <= index.value < extent):
                return False
        elif isinstance(extent, int) or index != Variable(_OWN[extent]) or index in seen:
            return False
        seen.add(index)
    return not {Variable(Var.H), Variable(Var.HKV)} <= seen
