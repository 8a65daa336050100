"""Notes of a recorded run → steps of the clock, for operations on barriers, engines and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.clock.program import (
    Arrive,
    Commit,
    Mma,
    Operand,
    Step,
    TmaLoad,
    TmaStore,
    TmemLoad,
    TmemStore,
    Wait,
)
from flash4gen.simulate.costs import bits_of, bytes_of
from flash4gen.vgpu.parse.tree import DescriptorType, MemDescType, TensorType

if TYPE_CHECKING:
    from flash4gen.simulate.naming import Names
    from flash4gen.vgpu.parse.tree import Operation
    from flash4gen.vgpu.record import Note

K_BYTES = 32
"""Bytes of K of one instruction of the tensor core."""

WAIT = "ttng.wait_barrier"
ARRIVE = "ttng.arrive_barrier"
EXPECT = "ttng.barrier_expect"
COMMIT = "ttng.tc_gen5_commit"
MMA = "ttng.tc_gen5_mma"
DOT = "ttng.warp_group_dot"
TMA_LOADS = ("ttng.async_tma_copy_global_to_local", "ttng.async_tma_gather")
TMA_STORES = (
    "ttng.async_tma_copy_local_to_global",
    "ttng.async_tma_reduce",
    "ttng.async_tma_scatter",
)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose steps are made: names for people, the warps of the role, the CTAs of a program."""

    names: Names
    warps: int
    ctas: int = 1

    def barrier(self, name: str) -> str:
        """Return what a barrier is called."""
        return self.names.barriers.get(name, name)


def waited(note: Note, place: Place) -> list[Step]:
    """Return the wait of a note, none if its predicate kept it from happening."""
    if not note.acted:
        return []
    name = place.barrier(note.barriers[0])
    line = place.names.line(note.op)
    return [Wait(barrier=name, use=note.phase, label=name, line=line)]


def arrived(note: Note, place: Place) -> list[Step]:
    """Return the arrival of a note; bytes that are announced arrive with the copy."""
    if not note.acted or note.op.name == EXPECT:
        return []
    name = place.barrier(note.barriers[0])
    count = times(note.op)
    remote = name in place.names.shared
    line = place.names.line(note.op)
    return [Arrive(barrier=name, count=count, remote=remote, label=name, line=line)]


def times(op: Operation) -> int:
    """Return how often an arrival arrives."""
    return max(1, next((n for n in op.operands if isinstance(n, int)), 1))


def committed(note: Note, place: Place) -> list[Step]:
    """Return an arrival for each barrier that a note's products arrive at."""
    line = place.names.line(note.op)
    names = [place.barrier(name) for name in note.barriers]
    return [Commit(barrier=name, label=name, line=line) for name in names]


def product(note: Note, place: Place) -> list[Step]:
    """Return the instructions of a tcgen05 product."""
    left, right = note.op.operand_types[:2]
    if not note.acted or not isinstance(left, MemDescType) or not isinstance(right, MemDescType):
        return []
    return [
        Mma(
            m=left.shape[-2],
            n=right.shape[-1],
            count=max(1, left.shape[-1] * bits_of(left.element) // 8 // K_BYTES),
            a_from=Operand.TMEM if left.space == "tmem" else Operand.SMEM,
            ctas=2 if note.op.attributes.get("two_ctas") else 1,
            label="product",
            line=place.names.line(note.op),
        )
    ]


def dot(op: Operation, place: Place, gives: str) -> list[Step]:
    """Return the instructions of a wgmma product, for all warp groups of the role together."""
    left, right = op.operand_types[:2]
    if not isinstance(left, MemDescType | TensorType) or not isinstance(right, MemDescType):
        return []
    groups = max(1, place.warps // 4)
    return [
        Mma(
            m=64,
            n=right.shape[-1],
            count=max(1, left.shape[-2] // 64 // groups)
            * max(1, left.shape[-1] * bits_of(left.element) // 8 // K_BYTES),
            a_from=Operand.SMEM if isinstance(left, MemDescType) else Operand.REGISTERS,
            label="product",
            line=place.names.line(op),
            gives=gives,
        )
    ]


def tma_loaded(note: Note, place: Place) -> list[Step]:
    """Return the TMA load of a note."""
    box = note.op.operand_types[0]
    if not note.acted or not isinstance(box, DescriptorType):
        return []
    _, inner = box_bytes(box)
    return [
        TmaLoad(
            bytes=note.bytes,
            barrier=place.barrier(note.barriers[0]),
            inner_bytes=inner,
            label="load",
            line=place.names.line(note.op),
            elected=True,
        )
    ]


def tma_stored(note: Note, place: Place, gives: str) -> list[Step]:
    """Return the TMA store of a note."""
    box = note.op.operand_types[0]
    if not isinstance(box, DescriptorType):
        return []
    size = box_bytes(box)[0] // place.ctas
    line = place.names.line(note.op)
    return [TmaStore(bytes=size, gives=gives, label="store", line=line, elected=True)]


def box_bytes(box: DescriptorType) -> tuple[int, int]:
    """Return the bytes of a TMA box, and of one row of it."""
    width = bits_of(box.element) // 8
    total = width
    for extent in box.shape:
        total *= extent
    return total, box.shape[-1] * width


def tmem_loaded(note: Note, place: Place, gives: str) -> list[Step]:
    """Return the load of a note from tensor memory."""
    size = bytes_of(note.op.result_types[0]) // place.ctas
    return [TmemLoad(bytes=size, gives=gives, label="tmem load", line=place.names.line(note.op))]


def tmem_stored(note: Note, place: Place) -> list[Step]:
    """Return the store of a note to tensor memory."""
    size = bytes_of(note.op.operand_types[0]) // place.ctas
    return [TmemStore(bytes=size, label="tmem store", line=place.names.line(note.op))]
