"""Scores that a softcap keeps in so small a range that their weights need no running maximum.

A softmax subtracts the largest score of a row so that no weight overflows. Where every score is
A · tanh(x) in base 2, weights lie between 2^-A and 2^A whatever the inputs are; if the type of the
weights has that range, and float32 has room for their sums, nothing need be subtracted, and no sum
so far be rescaled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.ir.expr import SCORE, Apply, Op
from flash4gen.ir.nodes import DType
from flash4gen.schedule.folding import fold

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr

MOST_BITS = {DType.BF16: 80.0, DType.FP16: 12.0}
"""Largest exponents of weights, in base 2. With bf16, float32 is the limit: 2^80 leaves room for
2^32 keys with values of up to 2^14, and 2^-80 is far from numbers that are flushed to 0. With fp16
2^-12 still has all its bits, and 2^12 is far from its largest number, 2^16."""

_TANH = Apply(Op.TANH, (SCORE,))


def largest_exponent(score: Expr) -> float | None:
    """Return A where a score in base 2 is A · tanh(c · s); None for any other score."""
    folded = fold(score, 1.0)
    return folded.factor * math.log2(math.e) if folded.body == _TANH else None


def is_capped(score: Expr, dtype: DType) -> bool:
    """Whether the weights of a score, in its own base, fit their type without a maximum."""
    largest = largest_exponent(score)
    return largest is not None and largest <= MOST_BITS.get(dtype, 0.0)
