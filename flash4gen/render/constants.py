"""The constants of a module, each with the reason for its value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from flash4gen.ir.expr import SCORE
from flash4gen.ir.nodes import DType
from flash4gen.render.context import Constant, Constants, Option
from flash4gen.schedule.model import as_portable

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.model import Choice

TORCH_DTYPE = {DType.FP16: "torch.float16", DType.BF16: "torch.bfloat16"}


def constants(attention: Attention, hardware: Hardware, choice: Choice) -> Constants:
    """Return all constants, those of the variant first."""
    return Constants(_variant(attention, hardware), _schedule(choice), _options(choice))


def described(attention: Attention, hardware: Hardware) -> tuple[Constant, ...]:
    """Return the constants that say what is computed, and for what."""
    written = attention.field_source("scale")
    return (
        Constant("TARGET", f'("{hardware.backend}", {hardware.arch})', hardware.doc),
        Constant("DTYPE", TORCH_DTYPE[attention.dtype], ""),
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


def _variant(attention: Attention, hardware: Hardware) -> tuple[Constant, ...]:
    exponent = attention.scale if attention.score == SCORE else 1.0
    return (
        *described(attention, hardware),
        decimal(
            "TO_LOG2",
            exponent * math.log2(math.e),
            "SCALE · log2(e): e^(SCALE · s) = 2^(TO_LOG2 · s), one multiply-add before exp2"
            if attention.score == SCORE
            else "log2(e): e^x = 2^(TO_LOG2 · x), one multiply-add before exp2",
        ),
    )


def _schedule(choice: Choice) -> tuple[Constant, ...]:
    schedule = choice.schedule
    reasons = {decision.field: decision.reason for decision in choice.decisions}
    return (
        integer("TILE_Q", schedule.tile_q, reasons.get("tile_q", "")),
        integer("TILE_K", schedule.tile_k, reasons.get("tile_k", "")),
        integer("STAGES", schedule.stages, reasons.get("stages", "")),
        integer("HEAD_PAD", schedule.head_pad, "HEAD_DIM, up to the power of two tl.dot needs"),
        integer("VALUE_PAD", schedule.value_pad, "VALUE_DIM, likewise"),
    )


def _options(choice: Choice) -> tuple[Option, ...]:
    return (
        Option("num_warps", str(as_portable(choice.schedule).warps)),
        Option("num_stages", "STAGES.value"),
        Option("num_ctas", "1"),
        Option("enable_fp_fusion", "True"),
    )


def integer(name: str, value: int, reason: str = "") -> Constant:
    """Return a compile-time integer."""
    return Constant(name, f"tl.constexpr({value})", reason)


def decimal(name: str, value: float, reason: str) -> Constant:
    """Return a compile-time number."""
    return Constant(name, f"tl.constexpr({value!r})", reason)
