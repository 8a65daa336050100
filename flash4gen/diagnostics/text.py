"""Diagnostics as text for people: the lines of the spec with the places underlined beneath them.

Takes diagnostics, gives one string; plain unless colour is asked for. The layout is that of rustc.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from flash4gen.diagnostics.columns import Excerpt, excerpt
from flash4gen.diagnostics.model import Diagnostic, Label, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from flash4gen.source import SourceFile


class Style(StrEnum):
    """ANSI sequences, by what they mark."""

    ERROR = "\x1b[1;31m"
    WARNING = "\x1b[1;33m"
    FRAME = "\x1b[1;34m"
    HELP = "\x1b[1;32m"
    MESSAGE = "\x1b[1m"


_RESET = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Painter:
    """Colours text, or leaves it alone."""

    color: bool

    def __call__(self, text: str, style: Style) -> str:
        """Return the text in a style."""
        return f"{style.value}{text}{_RESET}" if self.color and text.strip() else text


@dataclass(frozen=True, slots=True)
class Mark:
    """An underline on one line, in display columns, end not included."""

    start: int
    end: int
    text: str
    style: Style
    sign: str


def render_text(diagnostics: Iterable[Diagnostic], *, color: bool = False) -> str:
    """Return all diagnostics as text, a blank line after each.

    Args:
        diagnostics: what to print, in this order.
        color: whether to use ANSI colours.
    """
    return "".join(render_one(diagnostic, color=color) + "\n" for diagnostic in diagnostics)


def render_one(diagnostic: Diagnostic, *, color: bool = False) -> str:
    """Return one diagnostic as text, ending with a line end."""
    paint = Painter(color)
    main = Style.ERROR if diagnostic.severity is Severity.ERROR else Style.WARNING
    head = paint(f"{diagnostic.severity}[{diagnostic.code}]", main)
    lines = [head + paint(f": {diagnostic.message}", Style.MESSAGE)]
    labels = [diagnostic.primary] if diagnostic.primary else []
    labels += diagnostic.secondary
    width = max((len(str(label.span.line)) for label in labels), default=0)
    frame = _Frame(width, paint, main, diagnostic.primary)
    for source, arrow in _sources(labels):
        lines += frame.snippet([label for label in labels if label.span.source is source], arrow)
    remarks = [("note", note) for note in diagnostic.notes]
    remarks += [("help", text) for text in diagnostic.helps]
    if labels and remarks:
        lines.append(frame.bar(""))
    lines += [frame.remark(kind, text) for kind, text in remarks]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def summary(diagnostics: Iterable[Diagnostic]) -> str:
    """Count what was found: ``2 errors, 1 warning``; empty where there is nothing."""
    found = list(diagnostics)
    counts = [(sum(item.severity is severity for item in found), severity) for severity in Severity]
    return ", ".join(f"{count} {kind}{'s' * (count != 1)}" for count, kind in counts if count)


def _sources(labels: Sequence[Label]) -> list[tuple[SourceFile, str]]:
    """Return the files that labels point into, the primary's first, each with its arrow."""
    seen: dict[SourceFile, str] = {}
    for label in labels:
        seen.setdefault(label.span.source, ":::" if seen else "-->")
    return list(seen.items())


@dataclass(frozen=True, slots=True)
class _Frame:
    """Draws the lines of one file with the line numbers to their left."""

    width: int
    paint: Painter
    main: Style
    primary: Label | None

    def bar(self, text: str) -> str:
        """Return a line without a number."""
        edge = self.paint(" " * self.width + " |", Style.FRAME)
        return f"{edge} {text}"

    def remark(self, kind: str, text: str) -> str:
        """Return a note or a help."""
        style = Style.HELP if kind == "help" else Style.MESSAGE
        indent = " " * self.width
        text = text.replace("\n", f"\n{indent}         ")
        equals = self.paint("=", Style.FRAME)
        return f"{indent} {equals} {self.paint(kind + ':', style)} {text}"

    def snippet(self, labels: list[Label], arrow: str) -> list[str]:
        """Return the marked lines of one file."""
        by_line: dict[int, list[Label]] = {}
        for label in labels:
            by_line.setdefault(label.span.line, []).append(label)
        lines = [f"{'':{self.width}}{self.paint(arrow, Style.FRAME)} {labels[0].span}"]
        lines.append(self.bar(""))
        numbers = sorted(by_line)
        for number, following in pairwise([*numbers, 0]):
            lines += self._marked(number, by_line[number])
            if following == number + 2:
                lines.append(self._numbered(number + 1, labels[0].span.source))
            elif following > number + 2:
                lines.append(self.paint("...", Style.FRAME))
        return lines

    def _numbered(self, number: int, source: SourceFile) -> str:
        return self._line(number, excerpt(source.line(number), 0).text)

    def _line(self, number: int, text: str) -> str:
        edge = self.paint(f"{number:>{self.width}} |", Style.FRAME)
        return f"{edge} {text}"

    def _marked(self, number: int, labels: list[Label]) -> list[str]:
        source = labels[0].span.source
        shown = excerpt(source.line(number), min(label.span.column - 1 for label in labels))
        marks = [self._mark(label, shown) for label in labels]
        rows = [self._line(number, shown.text)]
        return rows + [self.bar(row) for row in annotate(marks, self.paint)]

    def _mark(self, label: Label, shown: Excerpt) -> Mark:
        first = label.span.column - 1
        start = shown.column(first)
        end = max(shown.column(first + label.span.end - label.span.start), start + 1)
        if label is self.primary:
            return Mark(start, end, label.text, self.main, "^")
        return Mark(start, end, label.text, Style.FRAME, "-")


def annotate(marks: list[Mark], paint: Painter) -> list[str]:
    """Return the rows beneath a line: underlines, then the remarks that do not fit beside them.

    The rightmost remark stands beside its underline; the others hang from theirs, one a row.
    """
    # Later marks are drawn over earlier ones: the primary one, "^", comes last.
    drawn = sorted(marks, key=lambda mark: mark.sign == "^")
    last = max(marks, key=lambda mark: (mark.end, mark.start))
    row = _draw([(m.start, m.sign * (m.end - m.start), m.style) for m in drawn], paint)
    rows = [f"{row} {paint(last.text, last.style)}" if last.text else row]
    hanging = sorted((m for m in marks if m.text and m is not last), key=lambda mark: mark.start)
    if hanging:
        rows.append(_draw([(mark.start, "|", mark.style) for mark in hanging], paint))
    while hanging:
        mark = hanging.pop()
        stems = [(other.start, "|", other.style) for other in hanging if other.start < mark.start]
        rows.append(_draw([*stems, (mark.start, mark.text, mark.style)], paint))
    return rows


def _draw(parts: list[tuple[int, str, Style]], paint: Painter) -> str:
    """Put texts at their columns; a later part covers an earlier one."""
    cells: dict[int, tuple[str, Style]] = {}
    for start, text, style in parts:
        cells.update({start + i: (char, style) for i, char in enumerate(text)})
    row = ""
    for column in range(max(cells) + 1):
        char, style = cells.get(column, (" ", Style.FRAME))
        row += paint(char, style)
    return row
