"""What follows from the element type in a portable module, as text for the templates.

Scores of 8-bit elements count by factors that are known at run time, and their weights are scaled
to fill the range of their type; what is constant for other elements is a variable there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.ir.expr import SCORE
from flash4gen.ir.nodes import DType
from flash4gen.render import expressions
from flash4gen.render.constants import TORCH_DTYPE
from flash4gen.render.context import Attend, Epilogue, LoadText, Score, Softmax
from flash4gen.render.dropout import kept
from flash4gen.render.expressions import in_kernel, sink
from flash4gen.render.rows import product_factor
from flash4gen.schedule.model import Load

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import Schedule

ROW_BYTES = 16
"""What the widest load of a thread reads."""

MOST_SUMMED = 128
"""Products of a score that are summed in one go where tensor cores sum coarsely."""


def softmax(attention: Attention, schedule: Schedule, sigmoid: str = "sigmoid") -> Softmax:
    """Return how scores become weights; ``sigmoid``: the file of those not normalised."""
    name = "capped" if schedule.capped else "online" if attention.normalised else sigmoid
    parts = schedule.sum_parts > 1
    return Softmax(
        impl=f"{name}_8_bit" if _eight(attention) else name,
        parts=parts,
        sums="[TILE_Q, SUM_PARTS]" if parts else "[TILE_Q]",
    )


def score(attention: Attention, schedule: Schedule, *, asm: bool) -> Score:
    """Return the score concern; ``asm``: a reciprocal is an instruction in assembly."""
    plain = expressions.score(attention)
    if not schedule.capped:
        return plain
    power = "1.0 + tl.exp2(s * RISE)"
    share = f"_reciprocal({power})" if asm else f"libdevice.fast_dividef(1.0, {power})"
    impl = "capped_pairs" if in_pairs(schedule) else "capped"
    return replace(plain, impl=impl, share=share, asm=asm)


def in_pairs(schedule: Schedule) -> bool:
    """Whether float32 numbers are multiplied and added two at a time.

    The instruction came with sm_100 (PTX ISA, fma.rn.f32x2), as tensor memory did.
    """
    return schedule.tmem_columns > 0


def load(attention: Attention, schedule: Schedule, purpose: str) -> LoadText:
    """Return how tiles come in."""
    name = schedule.load.value
    if attention.paged:
        name = "paged"
    elif attention.packed and schedule.load is Load.TMA:
        name = "ragged"
    return LoadText(name, purpose, ROW_BYTES // schedule.element)


def factors(attention: Attention) -> tuple[str, ...]:
    """Return the kernel's lines that compute what scores count by; none where it is a constant."""
    if not _eight(attention):
        return ()
    factor = attention.score_factor
    if factor is None:
        return ("to_log2 = TO_LOG2",)
    text = in_kernel(attention, factor)
    if attention.score == SCORE:
        return (f"to_log2 = TO_LOG2 * ({text})",)
    return ("to_log2 = TO_LOG2", f"scale = SCALE * ({text})")


def attend(attention: Attention, schedule: Schedule, names: tuple[str, ...]) -> Attend:
    """Return the key loop; ``names`` is what its expressions read."""
    scales = attention.score != SCORE
    runtime = scales and attention.score_factor is not None
    own = ("to_log2", *(("scale",) if runtime else ())) if _eight(attention) else ()
    scale = "" if schedule.capped or not scales else "scale" if runtime else "SCALE"
    factor = product_factor(attention, scale)
    coarse = schedule.promotes and schedule.head_pad > MOST_SUMMED
    return Attend(
        parameters=(*own, *names),
        arguments=(*own, *names),
        scales=bool(factor),
        factor=factor,
        score_sum=f", max_num_imprecise_acc={MOST_SUMMED}" if coarse else "",
        promotes=schedule.promotes,
        rescales=attention.normalised and not schedule.capped,
        parts=schedule.sum_parts > 1,
        rounded=schedule.capped,
        kept=kept(attention, "q_first", "TILE_Q", "start", "TILE_K", upright=True),
    )


def epilogue(attention: Attention, schedule: Schedule, empty_value: str) -> Epilogue:
    """Return what becomes of the sums when all keys are visited."""
    eight, logit = _eight(attention), sink(attention)
    factor = attention.value_factor
    value = "" if factor is None else in_kernel(attention, factor)
    top = _log_max(attention, schedule)
    known = () if schedule.capped else ("row_max",)
    more = [("rounded_sum", "rounded_sum")] if schedule.capped else []
    more += [("sink", logit)] if logit else []
    more += [("to_log2", "to_log2")] if eight else []
    more += [("descale", value)] if value else []
    exact = schedule.value_pad == attention.value_dim
    unit = f"({value} / UNIT)" if value else "(1.0 / UNIT)"
    return Epilogue(
        empty_text="0" if empty_value == "0.0" else "NaN",
        empty_factor=empty_value,
        empty_value=empty_value,
        store_mask="row < rows_left" if exact else "(row < rows_left) & (column < VALUE_DIM)",
        sink=logit,
        parameters=("acc", *known, "row_sum", *(name for name, _ in more)),
        arguments=("acc", *known, "row_sum", *(text for _, text in more)),
        divisor="rounded_sum" if schedule.capped else "row_sum",
        log_max=top,
        log_sum=f"({top} + tl.log2(row_sum))" if top else "tl.log2(row_sum)",
        unit="descale" if value else "1.0",
        value_factor="descale" if value else "",
        out=f"acc * {unit}" if eight and not attention.normalised else "acc",
        total="row_sum / UNIT" if eight and not attention.normalised else "row_sum",
        normalises=attention.normalised,
        dropout_scale="DROPOUT_SCALE" if attention.dropout else "",
        first_row="q_start.to(tl.int64) + q_first"
        if attention.packed
        else "b.to(tl.int64) * seq_q + q_first",
        second_row="h.to(tl.int64) * total_q + q_start"
        if attention.packed
        else "(b * HEADS + h).to(tl.int64) * seq_q",
    )


def _log_max(attention: Attention, schedule: Schedule) -> str:
    if schedule.capped:
        return ""
    return "row_max * to_log2 - SHIFT" if _eight(attention) else "row_max * TO_LOG2"


def out_option(attention: Attention) -> str:
    """Return the output's element type as an argument; nothing where it is that of q."""
    return "" if attention.output is attention.dtype else ", dtype=OUT_DTYPE"


def out_dtype(attention: Attention) -> str:
    """Return the output's element type in PyTorch's words."""
    return TORCH_DTYPE[attention.output].removeprefix("torch.")


def _eight(attention: Attention) -> bool:
    return attention.dtype is DType.FP8_E4M3
