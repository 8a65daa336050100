"""What compiled backward kernels need: registers, spills, shared memory, as ``facts.csv`` has it.

``benchmarks/backward_facts.py`` makes the table, in bfloat16, for one target of each generation, of
the variants of ``Variant``: what a variant lacks leaves registers for larger tiles.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from flash4gen.ir.hardware import Arch, Hardware
from flash4gen.schedule.backward.model import LoopShape
from flash4gen.schedule.backward.space import Kernel
from flash4gen.schedule.model import Load

FACTS = Path(__file__).with_name("facts.csv")
"""The measured table."""


class Variant(StrEnum):
    """What a fact was compiled for, the most demanding first."""

    CAPPED = "capped"
    """A softcap and a causal window; two query heads share keys and values, and a slope of each has
    the gradients of keys go through them one after the other (``HeadLoop.APART``)."""
    PLAIN = "plain"
    """The same without a softcap."""
    TOGETHER = "together"
    """A softcap and a causal window; both heads are in one loop."""
    BARE = "bare"
    """A causal mask alone, and each query head has keys and values of its own."""


Key = tuple[Arch, Kernel, int, int, LoopShape, Variant, Load]


COLUMNS = (
    "arch", "kernel", "head_dim", "value_dim", "variant", "load",
    "tile_q", "tile_k", "warps", "stages", "registers", "stack", "smem", "tmem",
)  # fmt: skip
"""Of the table."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What ptxas, or LLVM for AMD, made of one kernel with one shape.

    Attributes:
        arch: compute capability or AMD's processor, as Triton writes it.
        kernel: which kernel.
        head_dim, value_dim: widths of the heads.
        shape: its shape.
        variant: what it was compiled for.
        load: how tiles came in.
        registers: per thread.
        stack: bytes of spilled registers per thread.
        smem: bytes of shared memory of a block, AMD's LDS.
        tmem: columns of tensor memory of a block.
    """

    arch: Arch
    kernel: Kernel
    head_dim: int
    value_dim: int
    shape: LoopShape
    variant: Variant
    load: Load
    registers: int
    stack: int
    smem: int
    tmem: int

    @property
    def key(self) -> Key:
        """What was compiled."""
        widths = self.head_dim, self.value_dim
        return self.arch, self.kernel, *widths, self.shape, self.variant, self.load

    @property
    def row(self) -> tuple[object, ...]:
        """The row of the table."""
        shape = self.shape
        sides = shape.tile_q, shape.tile_k, shape.warps, shape.stages
        found = self.registers, self.stack, self.smem, self.tmem
        which = self.arch, self.kernel.value, self.head_dim, self.value_dim, self.variant.value
        return (*which, self.load.value, *sides, *found)

    def fits(self, hardware: Hardware) -> bool:
        """Whether the kernel neither spills nor asks for more than a block may have."""
        return (
            self.stack == 0
            and self.smem <= hardware.smem_per_block
            and self.tmem <= hardware.tmem_columns
        )


@cache
def read_facts() -> tuple[Fact, ...]:
    """Read the table."""
    if not FACTS.exists():
        return ()
    with FACTS.open(newline="", encoding="utf-8") as file:
        return tuple(
            Fact(
                int(row["arch"]) if row["arch"].isdigit() else row["arch"],
                Kernel(row["kernel"]),
                int(row["head_dim"]),
                int(row["value_dim"]),
                LoopShape(*(int(row[name]) for name in ("tile_q", "tile_k", "warps", "stages"))),
                Variant(row["variant"]),
                Load(row["load"]),
                *(int(row[name]) for name in ("registers", "stack", "smem", "tmem")),
            )
            for row in csv.DictReader(file)
        )
