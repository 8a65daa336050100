"""Which gradients a backward pass has, and where each of them is summed.

In: an ``Attention``, simplified. Out: derivatives of its score, and a ``Summed`` for each look-up
that its score or sink moves with. The sum over all scores that read one element is taken where it
costs least: along the rows by the kernel of the queries, along the keys by that of the keys; an
input with an element per score has a kernel of its own, and so has one with an element per
distance, whose scores lie on a diagonal. Where an index is computed, the host then gives each sum
its element. None of them adds in an order that depends on timing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from flash4gen.ir.core import core, moved_around
from flash4gen.ir.derivative import ONE, ZERO, derivative
from flash4gen.ir.elements import has_gradient, is_plain
from flash4gen.ir.expr import SCORE, Expr, Literal, Lookup, Type, Var, lookups, variables
from flash4gen.render.inputs import attention_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from flash4gen.ir.expr import Input
    from flash4gen.ir.nodes import Attention

CANONICAL = (Var.B, Var.H, Var.HKV, Var.Q, Var.K)
"""The order of axes in which gradients of inputs are computed."""


class Where(StrEnum):
    """Where a gradient is summed."""

    ROWS = "rows"  # once per query and head, by the kernel of the queries
    KEYS = "keys"  # once per key and head, by the kernel of the keys
    PAIRS = "pairs"  # an element per score: a kernel of its own
    DISTANCES = "distances"  # once per distance k − q and head: a kernel of its own
    SINK = "sink"  # from what is known of each row


@dataclass(frozen=True, slots=True, kw_only=True)
class Summed:
    """The gradient of the elements that one look-up reads.

    Attributes:
        lookup: the look-up.
        name: of its value, told apart where the sink reads it.
        by: derivative of the score, or of the sink, by it.
        where: where it is summed.
        kept: the variables that index it, in canonical order.
        computed: whether indices of its tensor are more than variables and numbers: several sums
            may then belong to one element, and others to none.
    """

    lookup: Lookup
    name: str
    by: Expr
    where: Where
    kept: tuple[Var, ...]
    computed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Gradients:
    """All gradients of a variant besides those of q, k and v.

    Attributes:
        by_s: derivative of the score by s.
        summed: of the look-ups, in the order of the spec.
        refused: inputs that the score or the sink moves with, and that have no gradient here.
    """

    by_s: Expr
    summed: tuple[Summed, ...]
    refused: tuple[Input, ...]

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs with a gradient."""
        return tuple(dict.fromkeys(item.lookup.tensor for item in self.summed))

    def at(self, where: Where) -> tuple[Summed, ...]:
        """Return those that are summed in one place."""
        return tuple(item for item in self.summed if item.where is where)

    @property
    def moving(self) -> tuple[tuple[str, Expr], ...]:
        """Return the derivatives of the score that are no constants, with their names."""
        by_inputs = [(item.name, item.by) for item in self.summed if item.where is not Where.SINK]
        every = [("s", self.by_s), *by_inputs]
        return tuple((f"by_{name}", by) for name, by in every if not isinstance(by, Literal))


def gradients(attention: Attention) -> Gradients:
    """Return the gradients of a variant, simplified."""
    names = attention_names(attention)
    summed: list[Summed] = []
    refused: list[Input] = []
    parts = [(attention.score, False)]
    parts += [] if attention.sink is None else [(attention.sink, True)]
    for whole, in_sink in parts:
        for lookup in lookups(whole):
            if lookup.type is not Type.FLOAT:
                continue
            by = derivative(whole, lookup)
            if by == ZERO:
                continue
            where = _where(lookup)
            if where is None:
                refused.append(lookup.tensor)
                continue
            read = variables(lookup)
            summed.append(
                Summed(
                    lookup=lookup,
                    # The same element may be read by both, and has a sum in each.
                    name=f"{names[lookup]}_sink" if in_sink else names[lookup],
                    by=by,
                    where=Where.SINK if in_sink else where,
                    kept=tuple(var for var in CANONICAL if var in read),
                    computed=not is_plain(lookup),
                )
            )
    return Gradients(
        by_s=derivative(attention.score, SCORE),
        summed=tuple(_alike(item for item in summed if item.lookup.tensor not in refused)),
        refused=tuple(dict.fromkeys(refused)),
    )


def moved_inputs(attention: Attention) -> tuple[Input, ...]:
    """Return the inputs with a gradient, what PyTorch computes around the kernels included."""
    found = gradients(core(attention))
    moving = {*found.inputs, *moved_around(attention)} - {*found.refused}
    return tuple(it for it in attention.inputs if it in moving)


def _alike(summed: Iterable[Summed]) -> Iterator[Summed]:
    """Yield what is summed, all of an input by computed indices if some of it is."""
    found = tuple(summed)
    tensors = {item.lookup.tensor for item in found if item.computed}
    for item in found:
        computed = item.lookup.tensor in tensors and item.where is not Where.PAIRS
        yield replace(item, computed=computed)


def _where(lookup: Lookup) -> Where | None:
    """Return where the gradient of what a look-up reads is summed, None if nowhere."""
    read = variables(lookup)
    if not has_gradient(lookup):
        return None
    if not {Var.Q, Var.K} <= read:
        return Where.KEYS if Var.K in read else Where.ROWS
    return Where.PAIRS if is_plain(lookup) else Where.DISTANCES


def factor(by: Expr, name: str) -> str:
    """Return how a derivative multiplies what comes before it; nothing for 1."""
    if by == ONE:
        return ""
    return f" * {by.value!r}" if isinstance(by, Literal) else f" * by_{name}"
