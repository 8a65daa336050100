"""A disassembly → its functions and loops with their figures."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from flash4gen.build.sass.cold import cold_blocks
from flash4gen.build.sass.graph import build_graph
from flash4gen.build.sass.kinds import Kind
from flash4gen.build.sass.listing import read_listings
from flash4gen.build.sass.loops import find_loops, turn
from flash4gen.build.sass.model import FunctionSass, KernelSass, LoopSass, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from flash4gen.build.sass.graph import Graph
    from flash4gen.build.sass.listing import Instruction, Listing
    from flash4gen.build.sass.loops import Loop

_SOFTMAX_EXP2 = 8
"""Fewer exp2 in a turn are factors of rows, as a correction loop may compute, and no softmax."""

_MINUS_INFINITY = ("-INF", "0xff800000")
_NUMBER = re.compile(r"0x[0-9a-f]+")
_REPEAT = re.compile(r"\.x(\d+)")


def analyse_sass(sass: str) -> KernelSass:
    """Return what the text that nvdisasm prints says about every loop."""
    return analyse_listings(read_listings(sass))


def analyse_listings(listings: Sequence[Listing]) -> KernelSass:
    """Return what functions that were read already say about every loop."""
    return KernelSass(tuple(_function(listing) for listing in listings))


def _function(listing: Listing) -> FunctionSass:
    bases = Counter(i.base for i in listing.instructions if i.kind is Kind.SPILL)
    graph = build_graph(listing)
    loops = find_loops(graph, cold_blocks(graph))
    return FunctionSass(
        name=listing.name,
        instructions=sum(i.kind is not Kind.NOTHING for i in listing.instructions),
        spill_stores=bases["STL"],
        spill_loads=bases["LDL"],
        loops=tuple(_loop(graph, loop, loops) for loop in loops),
    )


def _loop(graph: Graph, loop: Loop, loops: Sequence[Loop]) -> LoopSass:
    longest = _instructions(graph, turn(graph, loop, longest=True))
    shortest = _instructions(graph, turn(graph, loop, longest=False))
    kinds = Counter(instruction.kind for instruction in longest)
    role = role_of(kinds)
    computes = role in (Role.SOFTMAX, Role.FUSED)
    # One instruction packs two scores that have become weights.
    elements = 2 * sum("PACK_AB" in i.mnemonic for i in longest) if computes else 0
    hot = (i for block in loop.hot for i in graph.blocks[block])
    return LoopSass(
        header=graph.blocks[loop.header][0].address,
        depth=sum(loop.body < other.body for other in loops),
        innermost=not any(other.body < loop.body for other in loops),
        role=role,
        registers=_registers(graph, loop.header),
        instructions=len(longest),
        least_instructions=len(shortest),
        histogram=tuple((kind, kinds[kind]) for kind in Kind if kinds[kind]),
        spills=sum(instruction.kind is Kind.SPILL for instruction in hot),
        elements=elements,
        masked=2 * sum(map(_hides, longest)) >= elements > 0,
        exp2_at_store=_exp2_at_store(longest) if computes else (),
    )


def role_of(kinds: Mapping[Kind, int]) -> Role:
    """Return the role of a loop from what one turn of it consists of."""
    has = {kind for kind, count in kinds.items() if count}
    if kinds.get(Kind.EXP2, 0) >= _SOFTMAX_EXP2:
        return Role.FUSED if Kind.MMA in has else Role.SOFTMAX
    if Kind.MMA in has:
        return Role.MMA
    if {Kind.TENSOR_LOAD, Kind.TENSOR_STORE} <= has:
        return Role.CORRECTION
    if has & {Kind.TILE_LOAD, Kind.COPY}:
        return Role.LOAD
    if has & {Kind.TILE_STORE, Kind.TENSOR_LOAD, Kind.GLOBAL}:
        return Role.STORE
    return Role.OTHER


def _instructions(graph: Graph, way: Sequence[int]) -> tuple[Instruction, ...]:
    return tuple(i for block in way for i in graph.blocks[block] if i.kind is not Kind.NOTHING)


def _registers(graph: Graph, block: int) -> int | None:
    """Return what the nearest request for registers on the way to a block asked for."""
    while True:
        for instruction in reversed(graph.blocks[block]):
            if instruction.kind is Kind.REGISTERS:
                found = _NUMBER.search(instruction.operands)
                return int(found[0], 16) if found else None
        if block == 0:
            return None
        block = graph.dominator[block]


def _hides(instruction: Instruction) -> bool:
    """Whether an instruction may put −∞ in place of a score, as masks do."""
    chooses = instruction.kind is Kind.SELECT or (
        instruction.kind is Kind.MOVE and instruction.guarded
    )
    return chooses and any(name in instruction.operands for name in _MINUS_INFINITY)


def _exp2_at_store(way: Sequence[Instruction]) -> tuple[tuple[int, int], ...]:
    stores = []
    issued = 0
    for instruction in way:
        issued += instruction.kind is Kind.EXP2
        if instruction.kind is Kind.TENSOR_STORE:
            repeat = _REPEAT.search(instruction.mnemonic)
            stores.append((int(repeat[1]) if repeat else 1, issued))
    return tuple(stores)
