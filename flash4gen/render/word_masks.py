"""Masks whose words hold a bit for each key, as the trees of speculative decoding have.

``words[b, q, e >> 5] >> e & 1``, where e grows by one from key to key, is said of 32 keys at a
time: what a row sees of a fragment is a word, put together of the two that its keys have bits in.
With a look-up, a shift and a comparison for each key, threads spilled 50 registers at head_dim 128.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.ir.expr import Apply, Expr, Literal, Lookup, Op, Var, Variable, lookups, variables
from flash4gen.render.blackwell_constants import FRAGMENT
from flash4gen.render.block_reads import is_step

if TYPE_CHECKING:
    from collections.abc import Iterator

_BITS = FRAGMENT.bit_length() - 1
"""Of the number of a bit in its word."""

_ONE = Literal(1)


class WordMask(NamedTuple):
    """A mask that words say.

    Attributes:
        words: the look-up of a key's word.
        at: number of the key's bit in its row of words.
        before: the key is visible, too, where it is less than one of these.
    """

    words: Lookup
    at: Expr
    before: tuple[Expr, ...]


def word_mask(mask: Expr) -> WordMask | None:
    """Return how words say a mask; None where they do not, or other tensors say something too."""
    terms = tuple(_terms(mask))
    found = [item for item in map(_bit, terms) if item is not None]
    plain = [term for term in terms if _bit(term) is None]
    before = [bound for bound in map(_before, plain) if bound is not None]
    if len(found) != 1 or len(before) != len(plain):
        return None
    words, at = found[0]
    indices = (index for index in words.indices if Var.K not in variables(index))
    if lookups(at, *before, *indices):
        return None
    return WordMask(words, at, tuple(before))


def _terms(mask: Expr) -> Iterator[Expr]:
    """Yield the conditions one of which makes a key visible."""
    if isinstance(mask, Apply) and mask.op is Op.OR:
        for arg in mask.args:
            yield from _terms(arg)
    else:
        yield mask


def _bit(term: Expr) -> tuple[Lookup, Expr] | None:
    """Return the words and the number of the bit where a condition is that this one is set."""
    match term:
        case Apply(
            op=Op.EQ,
            args=(
                Apply(
                    op=Op.BIT_AND,
                    args=(Apply(op=Op.SHIFT_RIGHT, args=(Lookup() as words, amount)), one),
                ),
                other,
            ),
        ) if one == other == _ONE and is_step(amount):
            along = [index for index in words.indices if Var.K in variables(index)]
            number = Apply(Op.SHIFT_RIGHT, (amount, Literal(_BITS)))
            return (words, amount) if along == [number] else None
    return None


def _before(term: Expr) -> Expr | None:
    """Return the key from which on a condition no longer holds, if there is one for all keys."""
    match term:
        case Apply(op=Op.LT, args=(Variable(var=Var.K), bound)) if Var.K not in variables(bound):
            return bound
    return None
