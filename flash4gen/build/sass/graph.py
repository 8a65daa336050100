"""Basic blocks of a function, what follows what, and what dominates what."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flash4gen.build.sass.listing import Instruction, Listing

_TARGET = re.compile(r"`\(([^)]+)\)")
_LISTED = re.compile(r"\.L_x_\d+")
_CONDITION = re.compile(r"\b(?:U?P\d|UR?\d+)\b")
_BARRIER = re.compile(r"\bB(\d+)\b")

_ENDS = frozenset(
    {"BRA", "BRX", "BRXU", "JMP", "JMX", "JMXU", "EXIT", "RET", "KILL", "BSYNC", "CALL"}
)
_LEAVES = frozenset({"EXIT", "RET", "KILL"})
_JUMPS = frozenset({"BRA", "JMP"})
_TABLES = frozenset({"BRX", "BRXU", "JMX", "JMXU"})


@dataclass(frozen=True, slots=True)
class Graph:
    """Control flow of one function; block 0 is where it starts.

    Attributes:
        blocks: instructions of each block.
        successors, predecessors: by number of the block.
        order: reachable blocks in reverse postorder.
        rank: place of a block in that order; blocks that are not reachable have none.
        dominator: the immediate dominator of every reachable block; block 0 is its own.
    """

    blocks: tuple[tuple[Instruction, ...], ...]
    successors: tuple[tuple[int, ...], ...]
    predecessors: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    rank: dict[int, int]
    dominator: dict[int, int]

    def dominates(self, above: int, block: int) -> bool:
        """Whether every way to a block goes through another."""
        while self.rank[block] > self.rank[above]:
            block = self.dominator[block]
        return block == above


def build_graph(listing: Listing) -> Graph:
    """Return the control flow of a function."""
    blocks, labels = _blocks(listing)
    successors = _successors(blocks, labels)
    before: list[list[int]] = [[] for _ in blocks]
    for block, following in enumerate(successors):
        for after in following:
            before[after].append(block)
    predecessors = tuple(map(tuple, before))
    order = _reverse_postorder(successors)
    rank = {block: place for place, block in enumerate(order)}
    dominator = _dominators(order, rank, predecessors)
    return Graph(blocks, successors, predecessors, order, rank, dominator)


def _blocks(listing: Listing) -> tuple[tuple[tuple[Instruction, ...], ...], dict[str, int]]:
    """Return the blocks, and for each label the block that it starts."""
    marked = set(listing.labels.values())
    starts = [
        n
        for n in range(len(listing.instructions))
        if n == 0 or n in marked or listing.instructions[n - 1].base in _ENDS
    ]
    ends = [*starts[1:], len(listing.instructions)]
    number = {start: block for block, start in enumerate(starts)}
    labels = {name: number[n] for name, n in listing.labels.items() if n in number}
    blocks = tuple(listing.instructions[a:b] for a, b in zip(starts, ends, strict=True))
    return blocks, labels


def _successors(
    blocks: Sequence[Sequence[Instruction]], labels: dict[str, int]
) -> tuple[tuple[int, ...], ...]:
    """Return what may follow each block; a call comes back."""
    regions: dict[str, list[int]] = {}
    result = []
    for block, instructions in enumerate(blocks):
        for instruction in instructions:
            if instruction.base == "BSSY":
                barrier, target = _BARRIER.search(instruction.operands), _target(instruction)
                if barrier and target in labels:
                    regions.setdefault(barrier[0], []).append(labels[target])
        last = instructions[-1]
        following = _jumps(last, block, labels, regions)
        if _falls_through(last, following) and block + 1 < len(blocks):
            following.append(block + 1)
        result.append(tuple(dict.fromkeys(following)))
    return tuple(result)


def _jumps(
    last: Instruction, block: int, labels: dict[str, int], regions: dict[str, list[int]]
) -> list[int]:
    """Return where the last instruction of a block may go, apart from the next one."""
    base = last.base
    if base in _JUMPS:
        target = _target(last)
        return [labels[target]] if target in labels else []
    if base in _TABLES:
        return [labels[name] for name in _LISTED.findall(last.operands) if name in labels]
    if base == "BSYNC":
        # Threads meet again where the innermost region on this barrier ends, which is further down.
        barrier = _BARRIER.search(last.operands)
        open_ends = [end for end in regions.get(barrier[0] if barrier else "", []) if end > block]
        return open_ends[-1:]
    return []


def _falls_through(last: Instruction, jumps: Sequence[int]) -> bool:
    base = last.base
    if last.guarded:
        return True
    if base in _JUMPS:
        if last.mnemonic.startswith("BRA.DIV"):  # taken where the threads of a warp have diverged
            return True
        return _CONDITION.search(last.operands.partition("`(")[0]) is not None
    if base == "BSYNC":
        return not jumps
    return base not in _LEAVES and base not in _TABLES


def _target(instruction: Instruction) -> str:
    found = _TARGET.search(instruction.operands)
    return found[1] if found else ""


def _reverse_postorder(successors: Sequence[Sequence[int]]) -> tuple[int, ...]:
    done: list[int] = []
    seen = {0}
    stack = [(0, iter(successors[0]))]
    while stack:
        block, rest = stack[-1]
        after = next((n for n in rest if n not in seen), None)
        if after is None:
            done.append(block)
            stack.pop()
        else:
            seen.add(after)
            stack.append((after, iter(successors[after])))
    return tuple(reversed(done))


def _dominators(
    order: Sequence[int], rank: dict[int, int], predecessors: Sequence[Sequence[int]]
) -> dict[int, int]:
    """Return immediate dominators: where the ways to a block's predecessors meet, to a fixpoint."""
    dominator = {0: 0}
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            meeting: int | None = None
            for before in predecessors[block]:
                if before not in dominator:
                    continue
                meeting = before if meeting is None else _meet(before, meeting, dominator, rank)
            assert meeting is not None, "a reachable block has a predecessor earlier in the order"
            if dominator.get(block) != meeting:
                dominator[block] = meeting
                changed = True
    return dominator


def _meet(one: int, other: int, dominator: dict[int, int], rank: dict[int, int]) -> int:
    while one != other:
        if rank[one] > rank[other]:
            one = dominator[one]
        else:
            other = dominator[other]
    return one
