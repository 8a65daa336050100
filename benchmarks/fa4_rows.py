"""What is read off two kernels, ours and FlashAttention-4's, and the limits that ours has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.build.sass.kinds import Kind
from flash4gen.build.sass.model import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flash4gen.build.sass.model import KernelSass, LoopSass

HEAD_DIM = 128
EARLY_COLUMNS = 96
"""Columns of P, of 128, that both kernels hand to the tensor cores before the rest is computed."""

_WEIGHTS_STORED = 8
"""Registers; a smaller store to tensor memory holds a factor or a maximum of a row."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that a measured one may reach, or, if strict, must stay below."""

    number: float
    strict: bool = False

    def holds(self, measured: float) -> bool:
        """Whether a measured number keeps it."""
        return measured < self.number if self.strict else measured <= self.number

    def __str__(self) -> str:
        return f"{'<' if self.strict else '≤'} {self.number:g}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: is measured.
        variant: of whose kernels.
        measure: reads it off a kernel; None where the kernel has no such loop.
        required, aim: what ours is held to, and what would be better than FlashAttention-4; a row
            without them is there to understand others by.
    """

    what: str
    variant: str
    measure: Callable[[KernelSass], float | None]
    required: Limit | None = None
    aim: Limit | None = None


def verdict(measured: float | None, required: Limit | None, aim: Limit | None) -> str:
    """Return whether limits are reached, in words; nothing where there are none."""
    if aim is None:
        return ""
    if measured is None:
        return "not measured"
    if required is not None and not required.holds(measured):
        return "not reached"
    if aim.holds(measured):
        return "aim reached" if required is None else "reached, the aim too"
    return "aim not reached" if required is None else "reached"


def slots(kernel: KernelSass, *, masked: bool) -> float | None:
    """Return issue slots per element of the softmax loop; of the slowest, if there are several."""
    return max(
        (
            loop.instructions / loop.elements
            for loop in kernel.main_loops(Role.SOFTMAX)
            if loop.masked is masked and loop.elements
        ),
        default=None,
    )


def exp2(kernel: KernelSass) -> float | None:
    """Return exp2 instructions of the softmax loop; what is missing to the elements is software."""
    loops = [loop for loop in kernel.main_loops(Role.SOFTMAX) if not loop.masked]
    return max((loop.count(Kind.EXP2) for loop in loops), default=None)


def exp2_at_release(kernel: KernelSass) -> float | None:
    """Return how many exp2 are issued before the store that completes the early columns of P."""
    loops = [loop for loop in kernel.main_loops(Role.SOFTMAX) if not loop.masked]
    return max((issued for loop in loops if (issued := _at_release(loop))), default=None)


def _at_release(loop: LoopSass) -> int | None:
    columns = 0
    for registers, issued in loop.exp2_at_store:
        if registers >= _WEIGHTS_STORED:
            columns += 2 * registers  # two 16-bit weights in one register
        if columns >= EARLY_COLUMNS:
            return issued
    return None


def correction(kernel: KernelSass, *, rescales: bool) -> float | None:
    """Return instructions of the correction warps per step, for both query tiles."""
    return max(
        (
            _turns(loop) * (loop.instructions if rescales else loop.least_instructions)
            for loop in kernel.main_loops(Role.CORRECTION)
        ),
        default=None,
    )


def _turns(loop: LoopSass) -> int:
    """Return the turns of a correction loop that rescale two rows of the accumulator."""
    rescaled = 2 * loop.count(Kind.MUL2) + loop.count(Kind.MUL)
    return max(1, round(2 * HEAD_DIM / rescaled)) if rescaled else 1


def mma_warp(kernel: KernelSass) -> float | None:
    """Return instructions of the MMA warp per 32 of its matrix multiplications."""
    return max(
        (32 * loop.instructions / loop.count(Kind.MMA) for loop in kernel.main_loops(Role.MMA)),
        default=None,
    )


def spills(kernel: KernelSass) -> float:
    """Return all instructions that spill or fill registers."""
    return kernel.spill_stores + kernel.spill_loads


def _everywhere(variant: str) -> tuple[Row, ...]:
    return (
        Row(
            "spill instructions in loops over keys",
            variant,
            lambda kernel: kernel.loop_spills,
            Limit(0),
            Limit(0),
        ),
        Row("spill instructions in the whole kernel", variant, spills, None, Limit(0)),
    )


def _roles(variant: str) -> tuple[Row, ...]:
    return (
        Row(
            "correction, both tiles, nothing to rescale: instructions per step",
            variant,
            lambda kernel: correction(kernel, rescales=False),
            Limit(45),
            Limit(25),
        ),
        Row(
            "correction, both tiles, rescaling: instructions per step",
            variant,
            lambda kernel: correction(kernel, rescales=True),
            Limit(205),
            Limit(180),
        ),
        Row("MMA warp: instructions per 32 MMAs", variant, mma_warp, Limit(210), Limit(200, True)),
    )


def _exp2(variant: str) -> Row:
    return Row("softmax, unmasked loop: exp2 instructions, one of them for the row", variant, exp2)


def _slots(variant: str, kind: str, required: float, aim: float) -> Row:
    return Row(
        f"softmax, {kind} loop: issue slots per element",
        variant,
        lambda kernel: slots(kernel, masked=kind == "masked"),
        Limit(required),
        Limit(aim, strict=True),
    )


# Required: at or just above FlashAttention-4's own figures, where hand-written Gluon kernels get.
# Aims: better than it. Both are for bf16 and head_dim 128, and goals of this project.
ROWS: tuple[Row, ...] = (
    *_everywhere("full"),
    _slots("full", "unmasked", 4.2, 4.1),
    _exp2("full"),
    Row(
        "softmax: exp2 issued when 96 of 128 columns of P are stored",
        "full",
        exp2_at_release,
        Limit(83),
        Limit(74),
    ),
    *_roles("full"),
    *_everywhere("causal"),
    _slots("causal", "unmasked", 4.0, 3.8),
    _exp2("causal"),
    _slots("causal", "masked", 5.5, 5.2),
    *_roles("causal"),
    *_everywhere("softcap"),
    _slots("softcap", "unmasked", 5.5, 5.0),
    _exp2("softcap"),
    *_everywhere("full_b300"),
    _slots("full_b300", "unmasked", 2.95, 2.8),
    _exp2("full_b300"),
)
COMPILE_REQUIRED, COMPILE_AIM = Limit(1.25), Limit(1, strict=True)
"""Our cold compile of the causal kernel, whole process, against FlashAttention-4's."""


def measured(rows: tuple[Row, ...], kernels: Mapping[str, KernelSass]) -> list[float | None]:
    """Return what each row measures; None too where its kernel is not there."""
    return [row.measure(kernels[row.variant]) if row.variant in kernels else None for row in rows]
