"""What compiled backward kernels need: registers, spills, shared memory, as ``facts.csv`` has it.

``benchmarks/backward_facts.py`` makes the table: a variant with a softcap and a causal window, in
bfloat16, compiled for one target of each generation; and the same without a softcap, which leaves
registers for larger tiles.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from flash4gen.schedule.backward.model import LoopShape
from flash4gen.schedule.backward.space import Kernel

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware

FACTS = Path(__file__).with_name("facts.csv")
"""The measured table."""

Key = tuple[int, Kernel, int, int, LoopShape, bool]


COLUMNS = (
    "arch", "kernel", "head_dim", "value_dim", "plain", "tile_q", "tile_k", "warps", "stages",
    "registers", "stack", "smem", "tmem",
)  # fmt: skip
"""Of the table."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What ptxas made of one kernel with one shape.

    Attributes:
        arch: compute capability, as Triton writes it.
        kernel: which kernel.
        head_dim, value_dim: widths of the heads.
        shape: its shape.
        plain: whether the score is the product of a query and a key itself.
        registers: per thread.
        stack: bytes of spilled registers per thread.
        smem: bytes of shared memory of a block.
        tmem: columns of tensor memory of a block.
    """

    arch: int
    kernel: Kernel
    head_dim: int
    value_dim: int
    shape: LoopShape
    plain: bool
    registers: int
    stack: int
    smem: int
    tmem: int

    @property
    def key(self) -> Key:
        """What was compiled."""
        return self.arch, self.kernel, self.head_dim, self.value_dim, self.shape, self.plain

    @property
    def row(self) -> tuple[object, ...]:
        """The row of the table."""
        shape = self.shape
        sides = shape.tile_q, shape.tile_k, shape.warps, shape.stages
        found = self.registers, self.stack, self.smem, self.tmem
        which = self.arch, self.kernel.value, self.head_dim, self.value_dim, int(self.plain)
        return (*which, *sides, *found)

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
                int(row["arch"]),
                Kernel(row["kernel"]),
                int(row["head_dim"]),
                int(row["value_dim"]),
                LoopShape(*(int(row[name]) for name in ("tile_q", "tile_k", "warps", "stages"))),
                row["plain"] == "1",
                *(int(row[name]) for name in ("registers", "stack", "smem", "tmem")),
            )
            for row in csv.DictReader(file)
        )
