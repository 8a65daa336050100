"""The schedule of the warp-specialised backward kernel as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from flash4gen.digest import WHERE_SET
from flash4gen.schedule.backward.model import LoopShape
from flash4gen.schedule.model import Family

PART = 128
"""The widest part of a head that one product multiplies: an instruction has as many lanes."""

RESTING = 24
"""Registers of a thread of the role that does nothing: the fewest that there are."""


class KeyOrder(StrEnum):
    """In which order programs walk the key tiles.

    KEY_TILES_FIRST: consecutive programs take consecutive key tiles of one head, which share its
    queries in L2. LONGEST_FIRST: heads vary fastest, and key tiles go from the first on, which
    most queries see under a mask whose work grows. SHORTEST_FIRST: the same from the last on, so
    that a program finds what programs before it have added where it begins.
    """

    KEY_TILES_FIRST = "key_tiles_first"
    LONGEST_FIRST = "longest_first"
    SHORTEST_FIRST = "shortest_first"


class QuerySum(StrEnum):
    """How the gradients of queries are summed over the key tiles of other programs.

    ATOMIC: in float32 in global memory, by the copy engine, in the order in which programs come.
    ORDERED: likewise, but key tile after key tile: each waits for its turn at every query tile.
    """

    ATOMIC = "atomic"
    ORDERED = "ordered"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSchedule:
    """The choices of the pipeline (FlashAttention-4, section 3.2).

    Attributes:
        hardware: name of the hardware item it was chosen for.
        tile_q: queries of a step, the columns of a transposed score tile.
        tile_k: keys of a program, the lanes of tensor memory.
        compute_roles: groups of four warps that share a score tile, each some of its queries.
        query_stages: query tiles in shared memory.
        out_stages: tiles of the output's gradient there.
        dq_columns: columns of the queries' gradient that have a buffer on their way to global
            memory.
        dq_slots: buffers of so many columns.
        head_pad: head_dim, up to what a tile of q or k is wide.
        value_pad: the same for value_dim.
        compute_registers: per thread of the compute roles.
        reduce_registers: per thread of the role that sends the queries' gradient away.
        other_registers: per thread of the roles mma and load.
        order: of the key tiles.
        query_sum: how the gradients of queries are summed.
        rows: queries per program of the kernel that goes before it.
        argument_bytes: addresses, strides and sizes of input tensors on their way to the roles.
        row_bytes: what is read of input tensors for each query, beside lse and delta.
        ctas: 1 or 2 CTAs of a cluster that share every product; of a pair, each has half of the
            keys.
        normalised: whether weights are those of a softmax, whose rows have an lse and a mean
            gradient. Those of a sigmoid have the gradient of their total.
        packed: whether sequences lie one behind the other, so that a program finds its own.
    """

    hardware: str
    tile_q: int
    tile_k: int
    compute_roles: int
    query_stages: int
    out_stages: int
    dq_columns: int
    dq_slots: int
    head_pad: int
    value_pad: int
    compute_registers: int
    reduce_registers: int
    other_registers: int
    order: KeyOrder
    query_sum: QuerySum
    rows: int
    argument_bytes: int = field(default=0, metadata=WHERE_SET)
    row_bytes: int = field(default=0, metadata=WHERE_SET)
    ctas: int = field(default=1, metadata=WHERE_SET)
    normalised: bool = field(default=True, metadata=WHERE_SET)
    packed: bool = field(default=False, metadata=WHERE_SET)

    @property
    def family(self) -> Family:
        """The family of its kernels."""
        return Family.BLACKWELL

    @property
    def share(self) -> int:
        """Queries of a step that one compute role takes."""
        return self.tile_q // self.compute_roles

    @property
    def row_stages(self) -> int:
        """Query tiles whose lse and delta lie in shared memory."""
        return 2 * self.query_stages if self.ctas > 1 else self.query_stages

    @property
    def rows_copied(self) -> bool:
        """Whether lse and delta come by TMA: in whole tiles of a batch, and nothing beside them."""
        return self.first_rests and self.normalised and not (self.packed or self.row_bytes)

    @property
    def first_rests(self) -> bool:
        """Whether the first role does nothing.

        What the first role and another one need LLVM computes before roles part (MachineCSE), and
        it lives on through all roles, or is spilled. Pairs of CTAs and heads in two parts have no
        registers for four warps more.
        """
        return self.ctas == 1 and not self.rest

    @property
    def groups(self) -> int:
        """Groups of four warps: those that compute, one each for dq, mma and load, and to rest."""
        return self.compute_roles + 2 + self.first_rests

    @property
    def rest(self) -> int:
        """Columns of heads that are multiplied by themselves: what lies beyond the first 128."""
        return max(self.head_pad - PART, 0)

    @property
    def keys(self) -> LoopShape:
        """Its loop, which walks the queries that see a key tile."""
        return LoopShape(self.tile_q, self.tile_k, 4 * self.groups, self.query_stages)

    @property
    def text(self) -> str:
        """The choices that matter most, on one line."""
        return (
            f"pipeline {self.tile_q} × {self.tile_k}, {self.compute_roles} compute roles, "
            f"{self.query_stages} stages of q, {self.out_stages} of its output's gradient, "
            f"{self.query_sum} sums of dq" + (", a pair of CTAs" if self.ctas > 1 else "")
        )
