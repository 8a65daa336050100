"""The constants of a module, each with the reason for its value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.ir.expr import SCORE
from flash4gen.ir.hardware import Feature
from flash4gen.ir.nodes import DType
from flash4gen.render.context import Constant, Constants, Option
from flash4gen.schedule.folding import fold
from flash4gen.schedule.model import Load, as_portable
from flash4gen.schedule.units import MFMA_ROWS, ONES

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import Choice

TORCH_DTYPE = {
    DType.FP16: "torch.float16",
    DType.BF16: "torch.bfloat16",
    DType.FP8_E4M3: "torch.float8_e4m3fn",
}

SHIFT = 8
"""Power of two that weights of 8 bits are scaled by: they reach 256 of e4m3's 448, which leaves
room for their rounding, and weights down to 2^-14 of the largest keep their four bits (the offset
of FlashAttention-4's fp8 kernels)."""


def constants(attention: Attention, hardware: Hardware, choice: Choice) -> Constants:
    """Return all constants, those of the variant first."""
    options = (*_options(choice), *(_wave_options() if hardware.has(Feature.MFMA) else ()))
    capped = as_portable(choice.schedule).capped
    variant = _capped(attention) if capped else exponent(attention)
    ragged = attention.packed and as_portable(choice.schedule).load is Load.TMA
    schedule = (*_schedule(choice), *(FAR if ragged else ()))
    return Constants((*described(attention, hardware), *variant), schedule, options)


def described(attention: Attention, hardware: Hardware) -> tuple[Constant, ...]:
    """Return the constants that say what is computed, and for what."""
    written = attention.field_source("scale")
    return (
        Constant("TARGET", _target(hardware), hardware.doc),
        Constant("DTYPE", TORCH_DTYPE[attention.dtype], ""),
        *_out_dtype(attention),
        integer("HEADS", attention.heads),
        integer("KV_HEADS", attention.kv_heads),
        integer("GROUP", attention.group, "query heads per key/value head"),
        integer("HEAD_DIM", attention.head_dim),
        integer("VALUE_DIM", attention.value_dim),
        decimal("SCALE", attention.scale, written.text if written else "rsqrt(head_dim)"),
        *_blocks(attention),
    )


def _blocks(attention: Attention) -> tuple[Constant, ...]:
    if attention.block_size is None:
        return ()
    return (integer("BLOCK_SIZE", attention.block_size, "keys and values in a block"),)


def _target(hardware: Hardware) -> str:
    arch = hardware.arch if isinstance(hardware.arch, int) else f'"{hardware.arch}"'
    return f'("{hardware.backend}", {arch})'


def _capped(attention: Attention) -> tuple[Constant, ...]:
    """Return the constants of A · tanh(x) in base 2, of products that are not scaled."""
    folded, log2_e = fold(attention.score, attention.scale), math.log2(math.e)
    share = "" if folded.factor == 1 else f"{folded.factor:g} · "
    return (
        decimal("CAP", folded.factor * log2_e, f"{share}log2(e): weights lie within 2^±CAP"),
        *([_natural()] if attention.differentiable else []),
        decimal(
            "RISE", 2 * folded.prescale * log2_e, "2^(RISE · s) = e^2x, x the argument of tanh"
        ),
    )


def _natural() -> Constant:
    """Return what the backward pass turns scores by, which it recomputes with their derivative."""
    return decimal("TO_LOG2", math.log2(math.e), "log2(e): gradients go by scores in base e")


def exponent(attention: Attention) -> tuple[Constant, ...]:
    """Return the constants by which scores become powers of two."""
    factor = attention.scale if attention.score == SCORE else 1.0
    return (
        decimal(
            "TO_LOG2",
            factor * math.log2(math.e),
            "SCALE · log2(e): e^(SCALE · s) = 2^(TO_LOG2 · s), one multiply-add before exp2"
            if attention.score == SCORE
            else "log2(e): e^x = 2^(TO_LOG2 · x), one multiply-add before exp2",
        ),
        *weights(attention),
        *_dropout(attention),
    )


def _out_dtype(attention: Attention) -> tuple[Constant, ...]:
    if attention.output is attention.dtype:
        return ()
    return (Constant("OUT_DTYPE", TORCH_DTYPE[attention.output], ""),)


def weights(attention: Attention) -> tuple[Constant, ...]:
    """Return what 8-bit weights are scaled by on their way to the values."""
    if attention.dtype is not DType.FP8_E4M3:
        return ()
    if not attention.normalised:
        return (decimal("UNIT", 2.0**SHIFT, f"a weight of 1: {_ROOM}"),)
    return (decimal("SHIFT", float(SHIFT), f"the largest weight is 2^SHIFT: {_ROOM}"),)


def _dropout(attention: Attention) -> tuple[Constant, ...]:
    if not attention.dropout:
        return ()
    share = f"a weight's word of 2^32 decides: {attention.dropout!r} of them are dropped"
    return (
        integer("DROPPED_BELOW", attention.dropped_below, share),
        decimal("DROPOUT_SCALE", attention.dropout_scale, "what weights that stay count"),
    )


_ROOM = "e4m3 ends at 448, and is coarse below 2^-6"


def _schedule(choice: Choice) -> tuple[Constant, ...]:
    schedule = choice.schedule
    reasons = {decision.field: decision.reason for decision in choice.decisions}
    return (
        integer("TILE_Q", schedule.tile_q, reasons.get("tile_q", "")),
        integer("TILE_K", schedule.tile_k, reasons.get("tile_k", "")),
        integer("STAGES", schedule.stages, reasons.get("stages", "")),
        *_sums(choice),
        integer("HEAD_PAD", schedule.head_pad, "HEAD_DIM, up to the power of two tl.dot needs"),
        integer("VALUE_PAD", schedule.value_pad, "VALUE_DIM, likewise"),
    )


def _sums(choice: Choice) -> tuple[Constant, ...]:
    schedule = as_portable(choice.schedule)
    why = next((it.reason for it in choice.decisions if it.field == "sum_parts"), "")
    found = [integer("SUM_PARTS", schedule.sum_parts, why)] if schedule.sum_parts > 1 else []
    if schedule.capped:
        found.append(integer("ONES", ONES, "columns of the product that sums rounded weights"))
    return tuple(found)


def _options(choice: Choice) -> tuple[Option, ...]:
    return (
        Option("num_warps", str(as_portable(choice.schedule).warps)),
        Option("num_stages", "STAGES.value"),
        Option("num_ctas", "1"),
        Option("enable_fp_fusion", "True"),
    )


def _wave_options() -> tuple[Option, ...]:
    """Return the options that Triton has for AMD alone."""
    return (
        Option("matrix_instr_nonkdim", str(MFMA_ROWS), "rows of an MFMA instruction"),
        Option("waves_per_eu", "0", "as many as the registers leave room for"),
        Option("kpack", "1"),
        Option("allow_flush_denorm", "False"),
    )


def integer(name: str, value: int, reason: str = "") -> Constant:
    """Return a compile-time integer."""
    return Constant(name, f"tl.constexpr({value})", reason)


def decimal(name: str, value: float, reason: str) -> Constant:
    """Return a compile-time number."""
    return Constant(name, f"tl.constexpr({value!r})", reason)


FAR = (integer("FAR", 1 << 30, "where rows end for the copy engine, whatever they are cut to"),)
"""What addresses of packed sequences are formed with."""
