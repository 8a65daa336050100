"""Scores that a softcap keeps in so small a range that their weights need no running maximum.

A softmax subtracts the largest score of a row so that no weight overflows. Where every score is
A · tanh(x) in base 2, weights lie between 2^-A and 2^A whatever the inputs are; if the type of the
weights has that range, and float32 has room for their sums, nothing need be subtracted, and no sum
so far be rescaled.

The largest weight of a row is then no longer 1, which rounds to itself. So that one dominant key
still gives exactly its values, the output is divided by the sum of the rounded weights, which a
product with a few columns of ones makes beside that with the values. The LSE keeps the sum of the
weights as they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.ir.expr import SCORE, Apply, Op
from flash4gen.ir.nodes import DType
from flash4gen.schedule.folding import fold
from flash4gen.schedule.units import SHARED_FACTORS

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.units import Unit

MOST_BITS = {DType.BF16: 80.0, DType.FP16: 12.0}
"""Largest exponents of weights, in base 2. With bf16, float32 is the limit: 2^80 leaves room for
2^32 keys with values of up to 2^14, and 2^-80 is far from numbers that are flushed to 0. With fp16
2^-12 still has all its bits, and 2^12 is far from its largest number, 2^16."""

_TANH = Apply(Op.TANH, (SCORE,))


def largest_exponent(score: Expr) -> float | None:
    """Return A where a score in base 2 is A · tanh(c · s); None for any other score."""
    folded = fold(score, 1.0)
    return folded.factor * math.log2(math.e) if folded.body == _TANH else None


def is_capped(attention: Attention) -> bool:
    """Whether the weights of an attention fit their type without a maximum.

    A sink is a score without a cap, and dropout takes weights out of one of the two sums alone.
    Backward kernels start from the LSE, which is the same whether a maximum was kept or not.
    """
    if not attention.normalised or attention.sink is not None or attention.dropout:
        return False
    largest = largest_exponent(attention.score)
    return largest is not None and largest <= MOST_BITS.get(attention.dtype, 0.0)


def sums_with_ones(unit: Unit) -> bool:
    """Whether a unit sums weights in a product at little cost.

    mma.sync and MFMA take both factors from registers: with those, scores keep a maximum.
    """
    return unit in SHARED_FACTORS
