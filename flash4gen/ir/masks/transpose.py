"""Which queries see a key: the bounds analysis with queries and keys in each other's place.

The gradients of keys and values are computed per key tile, over the query tiles that see it. A mask
with its two positions and its two lengths exchanged says the same of the transposed matrix, so that
all that is known about the keys of a query tile is known about the queries of a key tile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.expr import Apply, Expr, Lookup, Var, Variable
from flash4gen.ir.masks.bounds import bounds

if TYPE_CHECKING:
    from flash4gen.ir.masks.bounds import KeyBounds

_EXCHANGED = {Var.Q: Var.K, Var.K: Var.Q, Var.SEQ_Q: Var.SEQ_K, Var.SEQ_K: Var.SEQ_Q}


def transposed(expr: Expr) -> Expr:
    """Return an expression with queries for keys and keys for queries.

    Look-ups keep their tensor and have their indices exchanged: what they hold is opaque anyway.
    """
    match expr:
        case Variable(var=var):
            return Variable(_EXCHANGED.get(var, var), expr.span)
        case Apply(op=op, args=args):
            return Apply(op, tuple(map(transposed, args)), expr.span)
        case Lookup(tensor=tensor, indices=indices):
            return Lookup(tensor, tuple(map(transposed, indices)), expr.span)
    return expr


def query_bounds(mask: Expr) -> KeyBounds:
    """Return the loop bounds of a mask over queries, for the keys of a key tile.

    All of ``KeyBounds`` reads with the two exchanged: its rows are keys, its ``seq_k`` is the
    number of queries, and its ranges are ranges of queries.
    """
    return bounds(transposed(mask))
