"""What the choice of a ``blackwell`` schedule reads of an attention, and which attentions it takes.

In: an ``Attention``. Out: ``Traits``; and why the family cannot compute it, if it cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.ir.expr import SCORE, Apply, Op, Type, Var, lookups, variables, walk
from flash4gen.ir.masks import always_true, bounds, turns
from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.backward.pipeline.pair_choice import pins_pair
from flash4gen.schedule.blackwell.memory import TILE
from flash4gen.schedule.blackwell.model import KeyLoops
from flash4gen.schedule.monotone import rises
from flash4gen.schedule.space import pad
from flash4gen.schedule.workload import workload

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention

NARROW = 128
"""The widest heads that two query tiles of 128 rows, with their accumulators, have room for."""

WIDE = (192, 128)
"""The one wider pair of widths that they have room for: q and k lie in shared memory only."""

LEAST_8_BIT = 32
"""8-bit products take 32 elements along K (PTX ISA, tcgen05.mma, kind::f8f6f4)."""

WIDEST = (256, 256)
"""Widths at which one query tile fills tensor memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """The facts.

    Attributes:
        head_dim: width of q and k.
        value_dim: width of v and out.
        group: query heads per key/value head.
        unmasked: every query sees every key.
        grows: late query tiles visit more keys than early ones.
        identity: the score is the scaled product itself.
        monotone: the score expression rises with the score, and reads nothing else.
        tanh: the score has a hyperbolic tangent.
        per_head: which keys a query sees depends on its head.
        normalised: weights are those of a softmax, not of a sigmoid.
        packed: sequences lie one behind the other, and the host does not know where.
        reads_keys: input tensors are read for every key.
        key_loops: the loops over key tiles that some length and some query tile give a turn.
        integers: operations of the score on positions, conversions to floats among them.
        element: bytes of an element of q, k and v, and of a weight.
        trained: there is a backward pass, too; ``paired``: of pairs of CTAs.
        equal: there are as many keys as queries.
    """

    head_dim: int
    value_dim: int
    group: int
    unmasked: bool
    grows: bool
    identity: bool
    monotone: bool
    tanh: bool
    per_head: bool
    normalised: bool = True
    packed: bool = False
    reads_keys: bool = False
    key_loops: KeyLoops = KeyLoops.MASKED_FULL
    integers: int = 0
    element: int = 2
    trained: bool = False
    paired: bool = False
    equal: bool = False

    @property
    def head_pad(self) -> int:
        """Padded width of q and k: 192 stays; others are those of v too, which share a ring."""
        if self.head_dim == WIDE[0]:
            return self.head_dim
        least = LEAST_8_BIT if self.element == 1 else 0
        return max(pad(max(self.head_dim, self.value_dim)), least)

    @property
    def value_pad(self) -> int:
        """Padded width of v and out."""
        return pad(self.value_dim) if self.head_dim == WIDE[0] else self.head_pad

    @property
    def widest(self) -> bool:
        """Whether one query tile fills tensor memory."""
        return (self.head_dim, self.value_dim) == WIDEST


def traits(attention: Attention) -> Traits:
    """Return the facts of an attention."""
    return Traits(
        head_dim=attention.head_dim,
        value_dim=attention.value_dim,
        group=attention.group,
        unmasked=always_true(attention.mask),
        grows=workload(attention).grows(),
        identity=attention.score == SCORE,
        # Alone: the largest product of a row is mapped without knowing which row it is.
        monotone=_alone(attention.score) and rises(attention.score),
        tanh=any(isinstance(node, Apply) and node.op is Op.TANH for node in walk(attention.score)),
        per_head=Var.H in variables(attention.mask),
        normalised=attention.normalised,
        packed=attention.packed,
        reads_keys=any(
            Var.K in variables(lookup) for lookup in lookups(attention.score, attention.mask)
        ),
        key_loops=_key_loops(attention),
        integers=_integers(attention.score),
        element=attention.dtype.bytes,
        trained=attention.differentiable,
        paired=pins_pair(attention),
        equal=attention.lengths is Lengths.EQUAL,
    )


def _integers(score: Expr) -> int:
    """Return the integer operations and conversions of a score that differ from key to key."""
    return sum(
        isinstance(node, Apply)
        and {Var.Q, Var.K} <= variables(node)
        and (node.type is Type.INT or node.op is Op.TO_FLOAT)
        for node in set(walk(score))
    )


def _key_loops(attention: Attention) -> KeyLoops:
    found = turns(bounds(attention.mask), TILE)
    if found.before:
        return KeyLoops.MASKED_FULL_MASKED
    return KeyLoops.MASKED_FULL if found.full else KeyLoops.MASKED


def _alone(score: Expr) -> bool:
    """Whether a score expression reads the score and nothing else, no tensor either."""
    return variables(score) == {Var.S} and not lookups(score)


def unsupported(attention: Attention) -> str:
    """Return why the family cannot compute an attention, or an empty text."""
    if attention.dropout:
        return "it draws no random numbers, and this attention drops weights"
    if attention.dtype.bytes == 1 and not attention.normalised:
        return f"its sigmoid weights have 16 bits, and those of {attention.dtype} have 8"
    if attention.paged:
        return "its keys and values lie one behind the other, not in blocks that a table names"
    if attention.norm_weights:
        return "it takes queries and keys as they are, and this attention normalises them"
    if attention.epilogue is not None:
        return "it stores the output as it is, and this attention changes it"
    widths = attention.head_dim, attention.value_dim
    if attention.dtype.bytes == 1 and max(widths) > NARROW:
        return (
            f"head_dim {widths[0]} with value_dim {widths[1]} has no memory plan for elements of "
            f"{attention.dtype}: it takes widths up to {NARROW} of those"
        )
    if max(widths) <= NARROW or widths in (WIDE, WIDEST):
        return ""
    return (
        f"head_dim {widths[0]} with value_dim {widths[1]} has no memory plan: it takes widths up "
        f"to {NARROW}, {WIDE[0]} with {WIDE[1]}, and {WIDEST[0]} with {WIDEST[1]}"
    )
