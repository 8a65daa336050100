"""What is read from SASS: a kernel's functions, their loops, and what one turn costs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from flash4gen.build.sass.kinds import Kind


class Role(StrEnum):
    """What the warps that run a loop are there for."""

    MMA = "mma"
    LOAD = "load"
    SOFTMAX = "softmax"
    CORRECTION = "correction"
    STORE = "store"
    FUSED = "fused"
    OTHER = "other"


MAIN_ROLES = frozenset({Role.MMA, Role.LOAD, Role.SOFTMAX, Role.CORRECTION, Role.FUSED})
"""Roles whose innermost loops run over the keys; ``FUSED`` warps do products and softmax both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSass:
    """One loop. Blocks that only retry a wait, trap or call a slow path are not counted anywhere.

    Attributes:
        header: address of its first instruction.
        depth: loops around it.
        innermost: whether no other loop is in it; loops that only poll count as none.
        role: by the key instructions of one turn.
        registers: per thread, as the warps asked for; None if they never asked.
        instructions: of the longest way once through it; loops inside count one turn.
        least_instructions: of the shortest way.
        histogram: (kind, count) of the longest way.
        spills: loads and stores of spilled registers, on any way.
        elements: scores per thread and turn; 0 where no softmax is computed.
        masked: whether −∞ may take the place of elements, as where a mask is applied.
        exp2_at_store: for each store to tensor memory, on the longest way, in order: the registers
            that it stores, and the exp2 instructions issued before it.
    """

    header: int
    depth: int
    innermost: bool
    role: Role
    registers: int | None
    instructions: int
    least_instructions: int
    histogram: tuple[tuple[Kind, int], ...]
    spills: int
    elements: int
    masked: bool
    exp2_at_store: tuple[tuple[int, int], ...]

    @property
    def slots_per_element(self) -> float | None:
        """Issue slots that a warp spends on one element of each thread; None without elements."""
        return self.instructions / self.elements if self.elements else None

    def count(self, *kinds: Kind) -> int:
        """Return the instructions of some kinds on the longest way."""
        return sum(count for kind, count in self.histogram if kind in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSass:
    """One function of a cubin, with its loops by address.

    ``spill_stores`` and ``spill_loads`` count the whole function.
    """

    name: str
    instructions: int
    spill_stores: int
    spill_loads: int
    loops: tuple[LoopSass, ...]


@dataclass(frozen=True, slots=True)
class KernelSass:
    """All functions of a cubin."""

    functions: tuple[FunctionSass, ...]

    @property
    def loops(self) -> tuple[LoopSass, ...]:
        """All loops."""
        return tuple(loop for function in self.functions for loop in function.loops)

    @property
    def spill_stores(self) -> int:
        """Instructions that spill a register."""
        return sum(function.spill_stores for function in self.functions)

    @property
    def spill_loads(self) -> int:
        """Instructions that load a spilled register."""
        return sum(function.spill_loads for function in self.functions)

    @property
    def loop_spills(self) -> int:
        """Spill instructions inside the loops that run over the keys."""
        return sum(loop.spills for loop in self.loops if loop.innermost and loop.role in MAIN_ROLES)

    def main_loops(self, role: Role) -> tuple[LoopSass, ...]:
        """Return the innermost loops of a role, those with most of its key instructions.

        Where a role has several such loops, as with and without a mask, or one per warp group, all
        of them are returned, by address. A loop for a remainder, which does less, is left out.
        """
        found = [loop for loop in self.loops if loop.innermost and loop.role is role]
        most = max((loop.count(*KEYS[role]) for loop in found), default=0)
        return tuple(loop for loop in found if 2 * loop.count(*KEYS[role]) > most)


KEYS: dict[Role, tuple[Kind, ...]] = {
    Role.MMA: (Kind.MMA,),
    Role.LOAD: (Kind.TILE_LOAD, Kind.COPY),
    Role.SOFTMAX: (Kind.EXP2,),
    Role.CORRECTION: (Kind.TENSOR_LOAD,),
    Role.STORE: (Kind.TILE_STORE, Kind.GLOBAL, Kind.TENSOR_LOAD),
    Role.FUSED: (Kind.MMA,),
    Role.OTHER: (),
}
"""The instructions that each role is there for."""
