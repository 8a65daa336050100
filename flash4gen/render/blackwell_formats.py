"""What follows from the element type in a ``blackwell`` module, as text for its templates.

Scores of 8-bit elements count by factors that are known at run time, and their weights are scaled
to fill the range of their type, as in portable modules (``formats``). The softmax warps read the
factors once per work tile; that of the values comes with the division by the row sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.ir.nodes import DType
from flash4gen.render.blackwell_kernel import tiles
from flash4gen.render.context_blackwell import TensorMemory
from flash4gen.render.expressions import in_kernel
from flash4gen.schedule.folding import fold

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.blackwell.model import BlackwellSchedule

ELEMENT = {
    DType.FP16: "gl.float16",
    DType.BF16: "gl.bfloat16",
    DType.FP8_E4M3: "gl.float8e4nv",
}

ROUNDING = {
    1: "an 8-bit weight is rounded by 6e-2",
    2: "a 16-bit weight is rounded by 2e-3 or 2.4e-4",
}
"""By bytes of a weight: half a unit in its last place, at most, relative to it."""

_COLUMN_BYTES = 4


def eight(attention: Attention) -> bool:
    """Whether weights have 8 bits."""
    return attention.dtype is DType.FP8_E4M3


def tensor_memory(schedule: BlackwellSchedule, element: str, layout: str) -> TensorMemory:
    """Return where scores and weights lie: those of 8 bits four to a column."""
    count = _COLUMN_BYTES // schedule.element
    return TensorMemory(
        impl=schedule.plan.value,
        dtype=element,
        layout=layout,
        tiles=tiles(schedule, ""),
        per_column=count,
        per_column_text={2: "two", 4: "four"}[count],
        weights_at={2: "TILE_K", 4: "2 * TILE_K"}[count],
    )


def to_log2(attention: Attention) -> tuple[str, str]:
    """Return what scores are multiplied with, and how it is handed on: not at all if constant."""
    known = attention.score_factor is None or not _identity(attention)
    return ("TO_LOG2", "") if known else ("to_log2", ", to_log2")


def prescale(attention: Attention) -> str:
    """Return what products are multiplied with to be the scores of a score expression."""
    return "PRESCALE" if attention.score_factor is None else "prescale"


def factors(attention: Attention) -> tuple[str, ...]:
    """Return the statements that compute the factor of a work tile's scores."""
    factor = attention.score_factor
    if factor is None:
        return ()
    name = "to_log2" if _identity(attention) else "prescale"
    return (f"{name} = {name.upper()} * ({in_kernel(attention, factor)})",)


def variable(attention: Attention) -> tuple[str, ...]:
    """Return what a softmax step is handed of them."""
    if attention.score_factor is None:
        return ()
    return ("to_log2",) if _identity(attention) else ("prescale",)


def log_max(attention: Attention) -> str:
    """Return the logarithm, in base 2, of what all weights of a row are smaller by."""
    product = f"row_max * {to_log2(attention)[0]}"
    return f"{product} - SHIFT" if eight(attention) else product


def value_factor(attention: Attention) -> str:
    """Return the factor of the outputs; empty where there is none."""
    factor = attention.value_factor
    return "" if factor is None else in_kernel(attention, factor)


def normaliser(attention: Attention) -> tuple[tuple[str, str], ...]:
    """Return what ``_normalised`` is handed beside maximum, sum and sink: names, and values."""
    name, given = to_log2(attention)
    value = value_factor(attention)
    return (*(((name, name),) if given else ()), *((("descale", value),) if value else ()))


def _identity(attention: Attention) -> bool:
    """Whether scores are products times a factor, which the exponent takes over."""
    return fold(attention.score, attention.scale).identity


def element_of(attention: Attention) -> str:
    """Return an expression for the element type of tensor ``x`` in Gluon's words."""
    if not eight(attention):
        return "gl.float16 if x.dtype == torch.float16 else gl.bfloat16"
    out = ELEMENT[attention.output]
    return f"{ELEMENT[attention.dtype]} if x.dtype == DTYPE else {out}"
