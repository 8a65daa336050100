"""Which element of its tensor a look-up names, and whether that can have a gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.distance import by_distance
from flash4gen.ir.expr import Extent, Literal, Var, Variable, variables

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


def has_gradient(lookup: Lookup) -> bool:
    """Whether the scores that read one element can be summed without an order of their own.

    They lie in a row, in a column, on a diagonal, or there is one of them.
    """
    read = variables(lookup)
    if Var.S in read:
        return False
    return not {Var.Q, Var.K} <= read or is_plain(lookup) or by_distance(lookup)
