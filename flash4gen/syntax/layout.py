"""Canonical text: takes a file that follows the grammar, gives the one way to lay it out.

Same tokens, same comments, in the same order; only blanks and line ends change. A token's place
depends on tokens alone, except where the writer has a say: blank lines between fields and items are
kept (one at most), a block that was written on one line stays there if it fits, and what has a
comment in its middle keeps its lines.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lark import Tree

from flash4gen.syntax.parser import grammar
from flash4gen.syntax.tokens import STEP, WIDTH, Comment, Piece, Tokens, line, tokenise, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lark import ParseTree


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch that is laid out as one: an item, an entry of a block, or a comment on its own.

    Attributes:
        start: offset of its first character.
        end: offset after its last one.
        inner: the entries of a block; None for what is no block.
        remark: the comment, where it is one.
    """

    start: int
    end: int
    inner: tuple[Part, ...] | None = None
    remark: Comment | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A part as lines, before what stands in columns is aligned.

    ``cells`` are a single line in up to three columns: name, value, source.
    """

    lines: tuple[str, ...]
    cells: tuple[str, ...] = ()
    blank: bool = False
    comment: str = ""
    is_remark: bool = False
    is_block: bool = False


def layout(text: str) -> str:
    """Return a text that the grammar accepts in its canonical form."""
    made = _Layout(tokenise(text)).file(grammar().parse(text))
    after, before = tokenise(made), tokenise(text)
    same = [piece.text for piece in after.pieces] == [piece.text for piece in before.pieces]
    kept = [one.text for one in after.comments] == [one.text for one in before.comments]
    if not (same and kept):
        raise RuntimeError("syntax.layout: the formatted text is not the same spec")
    return made


class _Layout:
    """Lays out one file."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens

    def file(self, tree: ParseTree) -> str:
        parts = self._with_remarks(
            [self._part(item) for item in tree.children if isinstance(item, Tree)],
            0,
            len(self._tokens.text),
        )
        entries = [self._entry(part, 0) for part in parts]
        lines: list[str] = []
        for i, entry in enumerate(entries):
            if i and (entry.blank or _apart(entries[i - 1], entry)):
                lines.append("")
            lines += _beside(entry.lines, entry.comment)
        return "".join(f"{one}\n" for one in lines)

    def _part(self, tree: ParseTree) -> Part:
        start, end = tree.meta.start_pos, tree.meta.end_pos
        brace = next((p for p in self._tokens.between(start, end) if p.kind == "LBRACE"), None)
        if brace is None:
            return Part(start, end)
        children = [child for child in tree.children if isinstance(child, Tree)]
        inner = self._with_remarks([self._part(child) for child in children], brace.end, end)
        return Part(start, end, tuple(inner))

    def _with_remarks(self, parts: list[Part], start: int, end: int) -> list[Part]:
        """Put the comments that stand on lines of their own between the parts of a block."""
        alone = [
            Part(one.start, one.start + len(one.text), None, one)
            for one in self._tokens.remarks(start, end)
            if not one.trailing and not _inside(one, parts)
        ]
        return sorted([*parts, *alone], key=lambda part: part.start)

    def _entry(self, part: Part, indent: int) -> Entry:
        blank = self._blank_before(part.start)
        if part.remark is not None:
            return Entry((part.remark.text,), (), blank, is_remark=True)
        comment = self._comment_after(part.end)
        pieces = self._tokens.between(part.start, part.end)
        if part.inner is not None:
            lines = self._block(part, part.inner, pieces, indent)
            return Entry(lines, (), blank, comment, is_block=True)
        if self._tokens.commented(pieces):
            return Entry(self._as_written(part), (), blank, comment)
        return Entry(*_set(pieces, indent), blank, comment)

    def _block(
        self, part: Part, inner: tuple[Part, ...], pieces: tuple[Piece, ...], indent: int
    ) -> tuple[str, ...]:
        brace = next(i for i, piece in enumerate(pieces) if piece.kind == "LBRACE")
        header = pieces[: brace + 1]
        if "\n" not in self._tokens.text[part.start : part.end]:
            one_line = self._on_one_line(part)
            if indent + len(one_line) <= WIDTH:
                return (one_line,)
        head = line(header)
        if self._tokens.commented(header):
            start, end = header[0].start, header[-1].end
            *rest, head = self._as_written(Part(start, end))
        else:
            rest = []
        lines = [*rest, *_beside((head,), self._comment_after(header[-1].end))]
        entries = [self._entry(one, indent + STEP) for one in inner]
        lines += [" " * STEP * bool(one) + one for one in _aligned(entries)]
        return (*lines, "}")

    def _on_one_line(self, part: Part) -> str:
        """Return a part on one line, where it stands on one."""
        pieces = self._tokens.between(part.start, part.end)
        if part.inner is None:
            return line(pieces)
        brace = next(i for i, piece in enumerate(pieces) if piece.kind == "LBRACE")
        inner = "  ".join(self._on_one_line(one) for one in part.inner)
        return " ".join(text for text in (line(pieces[: brace + 1]), inner, "}") if text)

    def _as_written(self, part: Part) -> tuple[str, ...]:
        """Return lines with their breaks; those after the first are moved as a whole."""
        first, *more = self._tokens.text[part.start : part.end].split("\n")
        texts = [one.strip() for one in more]
        depths = [_depth(one) for one in more]
        least = min((depth for depth, one in zip(depths, texts, strict=True) if one), default=0)
        moved = [first.rstrip()]
        for depth, one in zip(depths, texts, strict=True):
            if one or moved[-1]:  # one blank line at most
                moved.append(" " * (STEP + depth - least) * bool(one) + one)
        return tuple(moved)

    def _blank_before(self, start: int) -> bool:
        text = self._tokens.text
        at = start
        while at and text[at - 1].isspace():
            at -= 1
        return text.count("\n", at, start) > 1

    def _comment_after(self, end: int) -> str:
        line_end = self._tokens.text.find("\n", end) % (len(self._tokens.text) + 1)
        for one in self._tokens.remarks(end, line_end):
            between = self._tokens.text[end : one.start]
            return "" if between.strip() else one.text
        return ""


def _inside(remark: Comment, parts: list[Part]) -> bool:
    """Whether a comment stands inside one of some parts, which are in order."""
    at = bisect_right(parts, remark.start, key=lambda part: part.start)
    return at > 0 and remark.start < parts[at - 1].end


def _set(pieces: Sequence[Piece], indent: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return an entry's lines, and its columns where it is a field on one line."""
    equal = next((i for i, piece in enumerate(pieces) if piece.kind == "EQUAL"), None)
    if pieces[0].kind == "DEF":
        return _definition(pieces), ()
    if equal is None or equal > 2:
        return tuple(_indented(wrapped(pieces, indent, indent + STEP))), ()
    source = next((i for i, piece in enumerate(pieces) if piece.kind == "FROM"), len(pieces))
    name, value = line(pieces[:equal]), line(pieces[equal + 1 : source])
    origin = line(pieces[source:])
    if origin and pieces[equal + 1].kind == "LSQB":
        lines = wrapped(pieces[:source], indent, indent + STEP)
        return tuple(_indented([*lines, origin])), ()
    if indent + len(f"{name} = {value}") <= WIDTH:
        cells = (name, value, origin) if origin else (name, value)
        return (f"{name} = {value} {origin}".rstrip(),), cells
    return tuple(_indented(wrapped(pieces, indent, indent + STEP))), ()


def _definition(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """Return a `def`: on one line, or with its body on lines of its own."""
    whole = line(pieces)
    if len(whole) <= WIDTH:
        return (whole,)
    depth, sign = 0, 0
    for i, piece in enumerate(pieces):
        depth += (piece.kind == "LPAR") - (piece.kind == "RPAR")
        if piece.kind == "EQUAL" and depth == 0:
            sign = i
            break
    head = _indented(wrapped(pieces[: sign + 1], 0, STEP))
    body = wrapped(pieces[sign + 1 :], STEP, STEP)
    return (*head, *(" " * STEP + one for one in body))


def _indented(lines: list[str]) -> list[str]:
    first, *more = lines
    return [first, *(" " * STEP + one for one in more)]


def _beside(lines: Sequence[str], comment: str) -> list[str]:
    """Put a comment at the end of the last line."""
    *more, last = lines
    return [*more, f"{last}  {comment}" if comment else last]


def _apart(before: Entry, here: Entry) -> bool:
    """Whether a blank line stands between two items, though none was written."""
    if before.is_remark:
        return False
    return len(before.lines) > 1 or (len(here.lines) > 1 and not here.is_remark)


def _aligned(entries: list[Entry]) -> list[str]:
    """Return the entries of a block as lines.

    Names, values and sources stand in columns over the whole block, those of fields with a source
    apart from the others. Comments stand in columns from one blank line to the next.
    """
    columns = {cells: _columns(entries, cells) for cells in (2, 3)}
    lines: list[str] = []
    section: list[tuple[str, str]] = []
    for i, entry in enumerate(entries):
        several = len(entry.lines) > 1 or entry.is_block
        if several or entry.blank:
            lines += _commented(section)
            section = []
        if i and entry.blank:
            lines.append("")
        if several:
            lines += _beside(entry.lines, entry.comment)
        else:
            section.append((_in_columns(entry, columns), entry.comment))
    return lines + _commented(section)


def _columns(entries: list[Entry], cells: int) -> tuple[int, ...]:
    rows = [entry.cells for entry in entries if len(entry.cells) == cells]
    return tuple(max(map(len, column)) for column in zip(*rows, strict=True))


def _in_columns(entry: Entry, columns: dict[int, tuple[int, ...]]) -> str:
    match entry.cells:
        case (name, value, source):
            names, values, _ = columns[3]
            return f"{name:<{names}} = {value:<{values}} {source}"
        case (name, value):
            return f"{name:<{columns[2][0]}} = {value}"
        case _:
            return entry.lines[0]


def _commented(section: list[tuple[str, str]]) -> list[str]:
    width = max((len(text) for text, comment in section if comment), default=0)
    return [f"{text:<{width}}  {comment}" if comment else text for text, comment in section]


def _depth(text: str) -> int:
    """Return the columns of blanks at the start of a line."""
    blanks = text[: len(text) - len(text.lstrip())]
    return len(blanks.expandtabs(STEP))
