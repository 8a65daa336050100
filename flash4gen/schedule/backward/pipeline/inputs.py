"""Input tensors in the backward pipeline: who reads them, and which of their gradients it can sum.

A compute thread has a key. What depends on the head, the batch entry or the key is read once per
walk over queries, into registers; what depends on the query comes with its tile, as lse does; what
depends on both is read in each step, from global memory, where threads beside each other read keys
beside each other. A gradient is summed in one of three places:

* in the thread of a key, over the queries of a walk, where the derivative does not read the score;
* for a factor on the score, ``s · f``, from dQ: Σ dx · s over the keys is the product of q and
  Σ dx · k, which is dQ before it is multiplied by f;
* all others by portable kernels beside the pipeline, which recompute scores for these sums alone.

In: an ``Attention``. Out: look-ups by place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.derivative import ZERO, derivative
from flash4gen.ir.elements import has_gradient, is_plain
from flash4gen.ir.expr import SCORE, Apply, InputDType, Lookup, Type, Var, lookups, variables
from flash4gen.ir.simplify import simplify

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr, Input
    from flash4gen.ir.nodes import Attention

_DOUBLE = (InputDType.I64,)


def beside(attention: Attention) -> tuple[Lookup, ...]:
    """Return the look-ups whose gradients are summed by portable kernels beside the pipeline.

    A look-up whose tensor has no gradient anywhere is none of them.
    """
    without = _without_gradient(attention)
    return tuple(
        lookup
        for lookup, by in moving(attention)
        if lookup.tensor not in without and not _is_summed(attention, lookup, by)
    )


def kernels_beside(attention: Attention) -> tuple[str, ...]:
    """Return the kinds of kernels that sum these: by key, query, score or distance."""
    kinds = {_kernel(lookup) for lookup in beside(attention)}
    return tuple(kind for kind in ("keys", "queries", "pairs", "distances") if kind in kinds)


def _kernel(lookup: Lookup) -> str:
    if per_score(lookup):
        return "pairs" if is_plain(lookup) else "distances"
    return "keys" if Var.K in variables(lookup) else "queries"


def _is_summed(attention: Attention, lookup: Lookup, by: Expr) -> bool:
    """Whether the pipeline sums the gradient of a look-up."""
    slope = variables(by_score(attention))
    if per_score(lookup) or Var.S in slope:
        return False
    if reads_score(by):
        # From sums over all queries of a batch entry, of products of 16-bit numbers.
        whole = attention.normalised and not attention.packed
        return whole and Var.K not in slope and is_factor(attention, lookup)
    return Var.Q not in variables(lookup)


def _without_gradient(attention: Attention) -> set[Input]:
    """Return the tensors that no kernel sums a gradient of."""
    every = [lookup for lookup, _ in moving(attention)]
    every += [] if attention.sink is None else lookups(attention.sink)
    return {lookup.tensor for lookup in every if not has_gradient(lookup)}


def per_score(lookup: Lookup) -> bool:
    """Whether a look-up differs from score to score."""
    return {Var.Q, Var.K} <= variables(lookup)


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


def read_in_steps(attention: Attention) -> frozenset[Lookup]:
    """Return the look-ups whose values a step computes with: its own, and what they are read at."""
    own: set[Lookup] = set()
    nodes = [simplify(attention.score), attention.mask]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Lookup):
            own.add(node)
            nodes.extend(node.indices if per_score(node) else ())
        elif isinstance(node, Apply):
            nodes.extend(node.args)
    return frozenset(own)


def row_lookups(attention: Attention) -> tuple[Lookup, ...]:
    """Return the look-ups of score and mask that differ from query to query, not by key."""
    own = read_in_steps(attention)
    return tuple(
        lookup
        for lookup in lookups(attention.score, attention.mask)
        if lookup in own and Var.Q in variables(lookup) and not per_score(lookup)
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
    others = beside(attention)
    sums = [it for it, _ in moving(attention) if it not in others and not per_score(it)]
    return 16 * sum(len(tensor.axes) for tensor in read) + 8 * len(sums)


def _without_score(expr: Expr) -> Expr:
    """Return an expression with 0 in the place of the score."""
    if expr == SCORE:
        return ZERO
    if not isinstance(expr, Apply):
        return expr
    return Apply(expr.op, tuple(map(_without_score, expr.args)), expr.span)
