"""Natural loops of a function, and the ways through one turn of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flash4gen.build.sass.cold import idle
from flash4gen.build.sass.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.build.sass.graph import Graph
    from flash4gen.build.sass.listing import Instruction


@dataclass(frozen=True, slots=True)
class Loop:
    """A natural loop: its first block, all its blocks, and those of a normal turn."""

    header: int
    body: frozenset[int]
    hot: frozenset[int]


def find_loops(graph: Graph, cold: frozenset[int]) -> tuple[Loop, ...]:
    """Return the loops that do work, by place in the listing; one per header."""
    latches: dict[int, set[int]] = {}
    for block in graph.order:
        for after in graph.successors[block]:
            if graph.dominates(after, block):
                latches.setdefault(after, set()).add(block)
    loops = []
    for header, ends in sorted(latches.items()):
        body = _body(graph, header, ends)
        hot = body - cold
        if header in hot and not _ends(graph, header, body, hot):
            hot = body  # it cannot go round without what is out of the ordinary elsewhere
        if header in hot and not all(idle(graph.blocks[block]) for block in hot):
            loops.append(Loop(header, body, hot))
    return tuple(loops)


def turn(graph: Graph, loop: Loop, *, longest: bool) -> tuple[int, ...]:
    """Return the blocks of the longest or shortest way once through a loop.

    A loop inside is gone through once.
    """
    prefer: Callable[[int, int], bool] = int.__gt__ if longest else int.__lt__
    length = {loop.header: _length(graph.blocks[loop.header])}
    before: dict[int, int] = {}
    for block in sorted(loop.hot, key=graph.rank.__getitem__):
        if block not in length:
            continue
        for after in _forward(graph, loop.hot, block):
            total = length[block] + _length(graph.blocks[after])
            if after not in length or prefer(total, length[after]):
                length[after], before[after] = total, block
    ends = _ends(graph, loop.header, loop.body, loop.hot)
    way = [max(ends, key=length.__getitem__) if longest else min(ends, key=length.__getitem__)]
    while way[-1] in before:
        way.append(before[way[-1]])
    return tuple(reversed(way))


def _body(graph: Graph, header: int, latches: set[int]) -> frozenset[int]:
    body = {header}
    left = list(latches)
    while left:
        block = left.pop()
        if block not in body:
            body.add(block)
            left += [b for b in graph.predecessors[block] if b in graph.rank]
    return frozenset(body)


def _forward(graph: Graph, hot: frozenset[int], block: int) -> list[int]:
    rank = graph.rank
    return [n for n in graph.successors[block] if n in hot and rank[n] > rank[block]]


def _ends(graph: Graph, header: int, body: frozenset[int], hot: frozenset[int]) -> tuple[int, ...]:
    """Return the hot blocks that a turn may end with, in the order of the graph."""
    reached = {header}
    left = [header]
    while left:
        new = [n for n in _forward(graph, hot, left.pop()) if n not in reached]
        reached.update(new)
        left += new
    ends = [block for block in reached if _leads_back(graph, header, body - hot, block)]
    return tuple(sorted(ends, key=graph.rank.__getitem__))


def _leads_back(graph: Graph, header: int, cold: frozenset[int], block: int) -> bool:
    """Whether the header follows a block, at once or by way of cold blocks."""
    left, seen = [block], {block}
    while left:
        for after in graph.successors[left.pop()]:
            if after == header:
                return True
            if after in cold and after not in seen:
                seen.add(after)
                left.append(after)
    return False


def _length(block: tuple[Instruction, ...]) -> int:
    return sum(instruction.kind is not Kind.NOTHING for instruction in block)
