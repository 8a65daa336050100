"""Input tensors in the backward pipeline: who reads them, and which of their gradients it can sum.

A compute thread has a key. What depends on the head, the batch entry or the key is read once per
walk over queries, into registers; what depends on the query comes with its tile, as lse does. A
gradient is summed in one of two places:

* in the thread of a key, over the queries of a walk, where the derivative does not read the score;
* for a factor on the score, ``s · f``, from dQ: Σ dx · s over the keys is the product of q and
  Σ dx · k, which is dQ before it is multiplied by f.

In: an ``Attention``. Out: look-ups by place; or, as text, what no place can sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.derivative import ZERO, derivative
from flash4gen.ir.expr import SCORE, Apply, InputDType, Lookup, Type, Var, lookups, variables
from flash4gen.ir.printer import format_expr
from flash4gen.ir.simplify import simplify

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention

_DOUBLE = (InputDType.I64,)


def unread(attention: Attention) -> str:
    """Return what the pipeline cannot read or sum of an attention's inputs, or an empty text."""
    for lookup in lookups(attention.score, attention.mask):
        if {Var.Q, Var.K} <= variables(lookup):
            return (
                "its backward pipeline reads tensors by query or by key, and this attention reads "
                f"`{format_expr(lookup)}` for each score"
            )
    for lookup, by in moving(attention):
        if Var.K in variables(by_score(attention)) and reads_score(by):
            return _unsummed(lookup)
        if reads_score(by) and not is_factor(attention, lookup):
            return _unsummed(lookup)
        if Var.Q in variables(lookup) and not reads_score(by):
            return _unsummed(lookup)
        if Var.S in variables(by_score(attention)):
            return _unsummed(lookup)
        if reads_score(by) and attention.packed:
            return (
                f"its backward pipeline has the gradient of `{format_expr(lookup)}` from sums over "
                "all queries of a batch, and these lie packed"
            )
        if reads_score(by) and not attention.normalised:
            return (
                f"its backward pipeline has the gradient of `{format_expr(lookup)}` from products "
                "of 16-bit numbers: with sigmoid weights it is exacter in float32"
            )
    return ""


def _unsummed(lookup: Lookup) -> str:
    return (
        f"its backward pipeline does not sum the gradient of `{format_expr(lookup)}`: it sums what "
        "is added to scores by head or by key, and what multiplies them by head or by query"
    )


def moving(attention: Attention) -> tuple[tuple[Lookup, Expr], ...]:
    """Return the float look-ups that the score moves with, and its derivatives by them."""
    score = simplify(attention.score)
    pairs = ((it, derivative(score, it)) for it in lookups(score) if it.type is Type.FLOAT)
    return tuple((lookup, by) for lookup, by in pairs if by != ZERO)


def by_score(attention: Attention) -> Expr:
    """Return the derivative of the score by the scaled product."""
    return derivative(simplify(attention.score), SCORE)


def reads_score(by: Expr) -> bool:
    """Whether a derivative differs with the score."""
    return Var.S in variables(by)


def is_factor(attention: Attention, lookup: Lookup) -> bool:
    """Whether a look-up is in a factor of the score that is the same for all keys of a query."""
    by = derivative(simplify(attention.score), lookup)
    slope = derivative(by, SCORE)
    # What is left where the score is 0: nothing, if the derivative is the score times a factor.
    rest = simplify(_without_score(by))
    alike = not {Var.S, Var.K} & (variables(slope) | variables(by_score(attention)))
    return alike and rest == ZERO


def factors(attention: Attention) -> tuple[Lookup, ...]:
    """Return the look-ups whose gradients come from dQ."""
    return tuple(lookup for lookup, by in moving(attention) if reads_score(by))


def row_lookups(attention: Attention) -> tuple[Lookup, ...]:
    """Return the look-ups of score and mask that differ from query to query."""
    own: dict[Lookup, None] = {}
    nodes = [simplify(attention.score), attention.mask]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Lookup):
            own[node] = None
        elif isinstance(node, Apply):
            nodes.extend(node.args)
    return tuple(
        lookup
        for lookup in lookups(attention.score, attention.mask)
        if lookup in own and Var.Q in variables(lookup)
    )


def row_bytes(attention: Attention) -> int:
    """Return the bytes of a query's values, beside its lse and delta."""
    found = row_lookups(attention)
    return sum(8 if lookup.tensor.dtype in _DOUBLE else 4 for lookup in found)


def argument_bytes(attention: Attention) -> int:
    """Return the bytes that roles are handed for tensors: addresses, strides, sizes.

    A warp-specialised kernel hands them on in shared memory. A pointer or stride has 8 bytes;
    a sum that a thread takes has a pointer of its own.
    """
    read = {lookup.tensor for lookup in lookups(attention.score, attention.mask)}
    return 16 * sum(len(tensor.axes) for tensor in read) + 8 * len(moving(attention))


def _without_score(expr: Expr) -> Expr:
    """Return an expression with 0 in the place of the score."""
    if expr == SCORE:
        return ZERO
    if not isinstance(expr, Apply):
        return expr
    return Apply(expr.op, tuple(map(_without_score, expr.args)), expr.span)
