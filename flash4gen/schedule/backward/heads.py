"""Whether the gradients of keys are summed over the heads of a group in one loop.

In: an ``Attention``. Out: how its heads go, and why. Between two loops both gradients pass through
registers, where Triton 3.9 keeps them a second time: at head_dim 128 larger tiles then spill.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from flash4gen.ir.expr import Type, Var, lookups, variables
from flash4gen.schedule.model import Load

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention


class HeadLoop(StrEnum):
    """How a program visits the query heads that share its keys.

    APART: one after the other, each with a loop over its tiles. TOGETHER: one loop over the tiles,
    at each of which all heads follow.
    """

    APART = "apart"
    TOGETHER = "together"


REASONS = {
    HeadLoop.TOGETHER: "one loop over the query tiles of all heads of a group: dk and dv need not "
    "pass through registers between heads, which leaves room for larger tiles",
}


def head_loop(attention: Attention, load: Load = Load.POINTER) -> HeadLoop:
    """Return how heads go: apart where something belongs to one head from first to last.

    That is what is read of a tensor for a head, a gradient summed per key and head, a range of keys
    that depends on the head, and dropout's counter. Where tiles come by TMA there are registers to
    read a number for a head, or a query's, in each step.
    """
    read = [(it, variables(it)) for it in lookups(attention.score, attention.mask)]
    if load is Load.TMA:
        read = [(it, names) for it, names in read if Var.K in names and Var.Q not in names]
    of_heads = any(Var.H in names for _, names in read)
    of_keys = any(it.type is Type.FLOAT and Var.K in names for it, names in read)
    ranges = Var.H in variables(attention.mask)
    apart = attention.group == 1 or attention.dropout or of_heads or of_keys or ranges
    return HeadLoop.APART if apart else HeadLoop.TOGETHER
