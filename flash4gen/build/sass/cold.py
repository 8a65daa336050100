"""Blocks that a warp enters only when something went slowly or wrong.

ptxas tries every mbarrier once in line and puts the loop that tries again out of line; divisions
call a slow path for rare operands; guard rails trap. None of that belongs to the cost of a loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.build.sass.kinds import IDLE, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.build.sass.graph import Graph
    from flash4gen.build.sass.listing import Instruction

_RETRY_BLOCKS = 5
"""A retry is: operands, the loop, the way back; more is another thing."""

_RETURN_INSTRUCTIONS = 4
"""After a call to a slow path its result is moved, and that is all."""


def cold_blocks(graph: Graph) -> frozenset[int]:
    """Return the blocks that are not part of the normal course of a kernel."""
    cold = {
        block
        for block in graph.order
        if _goes_wrong(graph.blocks[block]) or _calls_aside(graph, block)
    }
    for block in graph.order:
        if _tries(graph.blocks[block]) and len(graph.successors[block]) == 2:
            for way, other in (graph.successors[block], graph.successors[block][::-1]):
                cold |= _retry(graph, block, way, other)
    return frozenset(_with_returns(graph, cold))


def idle(block: Sequence[Instruction]) -> bool:
    """Whether a block does nothing that counts as work of a kernel."""
    return all(instruction.kind in IDLE for instruction in block)


def _goes_wrong(block: Sequence[Instruction]) -> bool:
    """Whether a block traps, or gathers diverged threads one by one."""
    return any(i.kind is Kind.TRAP or i.mnemonic.startswith("WARPSYNC.COLL") for i in block)


def _calls_aside(graph: Graph, block: int) -> bool:
    """Whether a block only makes a call that a branch avoids, as of the slow path of a division."""
    if graph.blocks[block][-1].base != "CALL" or not idle(graph.blocks[block]):
        return False
    after = set(graph.successors[block])
    for moves in graph.successors[block]:
        if _is_return(graph, moves):
            after.update(graph.successors[moves])
    before = graph.predecessors[block]
    return bool(before) and all(after & set(graph.successors[fork]) for fork in before)


def _is_return(graph: Graph, block: int) -> bool:
    return len(graph.blocks[block]) <= _RETURN_INSTRUCTIONS and idle(graph.blocks[block])


def _tries(block: Sequence[Instruction]) -> bool:
    return any(i.kind is Kind.WAIT and "TRYWAIT" in i.mnemonic for i in block)


def _polls(block: Sequence[Instruction]) -> bool:
    return _tries(block) or any(i.kind is Kind.SLEEP for i in block)


def _retry(graph: Graph, fork: int, start: int, back: int) -> set[int]:
    """Return the blocks of a detour that waits and comes back to where the short way goes.

    Empty if what starts there is no such detour. A loop round the fork itself is none: that one
    waits in line.
    """
    goal = _landing(graph, back)
    region: set[int] = set()
    left = [start]
    while left:
        block = left.pop()
        if block in region or block in (back, goal):
            continue
        if block == fork or len(region) == _RETRY_BLOCKS or not idle(graph.blocks[block]):
            return set()
        region.add(block)
        left += graph.successors[block]
    rank = graph.rank
    loops = any(
        after in region and rank[after] <= rank[block]
        for block in region
        for after in graph.successors[block]
    )
    leaves = all(graph.successors[block] for block in region)
    waits = any(_polls(graph.blocks[block]) for block in region)
    return region if loops and leaves and waits else set()


def _landing(graph: Graph, block: int) -> int:
    """Return where a block leads that only jumps on."""
    seen = set()
    while block not in seen:
        seen.add(block)
        real = [i for i in graph.blocks[block] if i.kind is not Kind.NOTHING]
        if len(real) != 1 or real[0].base != "BRA" or len(graph.successors[block]) != 1:
            break
        block = graph.successors[block][0]
    return block


def _with_returns(graph: Graph, cold: set[int]) -> set[int]:
    """Add the short blocks that are reached from cold blocks alone."""
    grown = set(cold)
    for block in graph.order:
        before = [b for b in graph.predecessors[block] if b in graph.rank]
        if before and _is_return(graph, block) and all(b in grown for b in before):
            grown.add(block)
    return grown
