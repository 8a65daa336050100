"""Source text and positions in it: the leaf that every message and every IR node points at."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, eq=False)
class SourceFile:
    r"""A named text. Two files are the same only if they are the same object.

    Args:
        name: what messages print before the line number, as the user wrote it.
        text: the whole text, with ``\n`` line ends.
    """

    name: str
    text: str

    @cached_property
    def line_starts(self) -> tuple[int, ...]:
        """Offset of the first character of every line."""
        return (0, *(i + 1 for i, char in enumerate(self.text) if char == "\n"))

    def position(self, offset: int) -> tuple[int, int]:
        """Return the 1-based (line, column) of a character offset."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """Return the text of a 1-based line, without its end."""
        return self.text.split("\n")[number - 1]

    def span(self, start: int, end: int) -> Span:
        """Return the span of the characters ``start`` up to, not including, ``end``."""
        return Span(self, start, end)


@dataclass(frozen=True, slots=True)
class Span:
    """A range of characters ``[start, end)`` of one source file."""

    source: SourceFile = field(repr=False)
    start: int
    end: int

    @property
    def line(self) -> int:
        """1-based line of the first character."""
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        """1-based column of the first character."""
        return self.source.position(self.start)[1]

    @property
    def text(self) -> str:
        """The characters themselves."""
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"
