"""Edits of TTGIR text by line: where operations stand, and how one is removed, moved or changed.

Triton prints an operation a line, so that text and parse tree are matched by line numbers. Names
are unique within a scope and its nested regions, which is as far as an edit here reaches.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from flash4gen.vgpu.parse import parse_ttgir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from flash4gen.vgpu.parse.tree import Block, Operation

TERMINATORS = frozenset(
    {
        "scf.yield",
        "scf.condition",
        "ttg.warp_yield",
        "ttg.warp_return",
        "tt.return",
        "cf.br",
        "cf.cond_br",
    }
)


_STORE = re.compile(r"\btt\.(?:store|atomic_\w+) ")
_POINTEE = re.compile(r"!tt\.ptr<(\w+)>")

# Operations whose only result is a token.
_TOKENS = frozenset({"ttg.async_wait", "ttg.async_commit_group"})


@dataclass(frozen=True, slots=True)
class Site:
    """An operation in its place: the block that holds it, and its index there."""

    block: Block
    index: int

    @property
    def operation(self) -> Operation:
        """The operation itself."""
        return self.block.operations[self.index]

    @property
    def before(self) -> Sequence[Operation]:
        """What precedes it in its block."""
        return self.block.operations[: self.index]

    @property
    def after(self) -> Sequence[Operation]:
        """What follows it in its block, the terminator excluded."""
        rest = self.block.operations[self.index + 1 :]
        return rest[:-1] if rest and rest[-1].name in TERMINATORS else rest


def sites(text: str) -> Iterator[Site]:
    """Return every operation of a module with its place, in the order of the text."""
    for function in parse_ttgir(text).functions:
        for block in function.body.blocks:
            yield from _sites(block)


def _sites(block: Block) -> Iterator[Site]:
    for index, operation in enumerate(block.operations):
        yield Site(block, index)
        for region in operation.regions:
            for inner in region.blocks:
                yield from _sites(inner)


def last_line(operation: Operation, lines: Sequence[str]) -> int:
    """Return the 1-based line an operation ends at, its regions included."""
    if not operation.regions:
        return operation.line
    nested = [
        last_line(inner, lines)
        for region in operation.regions
        for block in region.blocks
        for inner in block.operations
    ]
    line = max(nested, default=operation.line) + 1
    # Closing lines such as `} else {` open the next region; an empty one follows at once.
    while re.match(r"\s*\}", lines[line - 1]) is None or lines[line - 1].rstrip().endswith("{"):
        line += 1
    return line


@dataclass(frozen=True)
class Editor:
    """The lines of a text; each edit returns a new text and leaves the editor as it is."""

    lines: list[str]

    @cached_property
    def written(self) -> frozenset[str]:
        """The element types of pointers in lines that write to global memory."""
        lines = (line for line in self.lines if _STORE.search(line))
        return frozenset(name for line in lines for name in _POINTEE.findall(line))

    @classmethod
    def of(cls, text: str) -> Editor:
        """Return the editor of a text."""
        return cls(text.split("\n"))

    def line(self, operation: Operation) -> str:
        """Return the text of an operation without regions."""
        return self.lines[operation.line - 1]

    def replaced(self, operation: Operation, text: str) -> str:
        """Return the text with an operation's line replaced; empty text removes it."""
        at = operation.line - 1
        middle = [text] if text else []
        return "\n".join([*self.lines[:at], *middle, *self.lines[at + 1 :]])

    def substituted(self, operation: Operation, pattern: str, by: str) -> str | None:
        """Return the text with the first match in an operation's line replaced, if there is one."""
        line, count = re.subn(pattern, by, self.line(operation), count=1)
        return self.replaced(operation, line) if count else None

    def without(self, site: Site) -> str | None:
        """Return the text without an operation.

        Uses of its results get its operands instead, one for one; a token, which carries no data,
        is replaced by any that the operation takes. None if there are uses and no such operands.
        """
        operation = site.operation
        end = last_line(site.block.operations[-1], self.lines)
        body = self.lines[operation.line : end]
        names = [name for name in operation.results if _used(name, body)]
        operands = list(_uses(operation))
        if operation.name in _TOKENS:
            operands = operands[:1]
        if names and len(operands) != len(operation.results):
            return None
        for result, operand in zip(operation.results, operands, strict=False):
            body = [_renamed(line, result, str(operand)) for line in body]
        return "\n".join([*self.lines[: operation.line - 1], *body, *self.lines[end:]])

    def moved_down(self, site: Site, passed: Sequence[Operation]) -> str:
        """Return the text with an operation moved behind those that follow it."""
        operation, last = site.operation, passed[-1]
        end = last_line(last, self.lines)
        head, tail = self.lines[: operation.line - 1], self.lines[end:]
        return "\n".join([*head, *self.lines[operation.line : end], self.line(operation), *tail])

    def moved_up(
        self, site: Site, pure: frozenset[str], idle: Callable[[Operation], bool]
    ) -> str | None:
        """Return the text with an operation moved up its block, as far as its operands allow.

        Pure operations that it needs go with it. None if it cannot pass anything but pure and
        `idle` ones.
        """
        operation = site.operation
        needed = {str(operand).partition("#")[0] for operand in _uses(operation)}
        taken: list[Operation] = [operation]
        stop = 0
        for i in range(site.index - 1, -1, -1):
            other = site.block.operations[i]
            if not needed.intersection(name.partition("#")[0] for name in other.results):
                continue
            if other.name not in pure or other.regions:
                stop = i + 1
                break
            taken.append(other)
            needed.update(str(operand).partition("#")[0] for operand in _uses(other))
        passed = [other for other in site.block.operations[stop : site.index] if other not in taken]
        if all(other.name in pure or idle(other) for other in passed):
            return None
        first = site.block.operations[stop].line - 1
        lines = sorted(other.line - 1 for other in taken)
        between = [self.lines[i] for i in range(first, operation.line) if i not in lines]
        moved = [self.lines[i] for i in lines]
        return "\n".join([*self.lines[:first], *moved, *between, *self.lines[operation.line :]])


def _uses(operation: Operation) -> Iterator[object]:
    """Return all values an operation without regions uses, however they are written."""
    yield from operation.operands
    for values in (*operation.subscripts.values(), *operation.groups):
        yield from values
    for values in operation.labelled.values():
        yield from values


def _pattern(name: str) -> str:
    # `%r:2` is used as `%r#0`; the tree calls its results `r#0` and `r#1` already.
    return rf"%{re.escape(name)}(?![\w$.#-]|:\d)"


def _used(name: str, lines: Sequence[str]) -> bool:
    return any(re.search(_pattern(name), line) for line in lines)


def _renamed(line: str, old: str, new: str) -> str:
    return re.sub(_pattern(old), f"%{new}", line)
