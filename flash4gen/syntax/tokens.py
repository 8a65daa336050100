"""A text as tokens and comments, and how tokens are set on lines: spaces, breaks, canonical units.

Works on what was written, token by token, so that nothing is lost that the tree does not hold:
parentheses, the spelling of numbers, the quotes of texts.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TYPE_CHECKING

from flash4gen.syntax.parser import grammar

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH = 100
STEP = 4
_COMMENT = re.compile(r"#[^\n]*")
_QUANTITY = re.compile(r"([\d_.]+) *(\D+)")
_OPENS, _CLOSES = frozenset({"LPAR", "LSQB"}), frozenset({"RPAR", "RSQB"})
_ENDS_VALUE = frozenset({"NAME", "NUMBER", "RPAR", "RSQB", "TRUE", "FALSE", "STRING", "QUANTITY"})
_STRENGTH = {
    "COMMA": 0, "OR": 1, "AND": 2, "COMPARISON": 3, "BITOR": 4, "BITXOR": 5, "BITAND": 6,
    "SHIFT": 7, "PLUS": 8, "MINUS": 8, "STAR": 9, "DIVISION": 9, "FROM": 0, "REQUIRES": 0,
}  # fmt: skip
"""How tightly an operator binds: lines are broken at the loosest one. None of the rest breaks."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A token: its terminal, its canonical text, and its place."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment: its text from ``#`` on, its place, and whether code stands before it."""

    text: str
    start: int
    trailing: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """All of a text that follows the grammar."""

    text: str
    pieces: tuple[Piece, ...]
    comments: tuple[Comment, ...]

    def between(self, start: int, end: int) -> tuple[Piece, ...]:
        """Return the tokens inside a stretch."""
        first = bisect_left(self.pieces, start, key=lambda piece: piece.start)
        return self.pieces[first : bisect_left(self.pieces, end, key=lambda piece: piece.start)]

    def commented(self, pieces: Sequence[Piece]) -> bool:
        """Whether a comment stands between the first and the last of some tokens."""
        return bool(self.remarks(pieces[0].end, pieces[-1].start))

    def remarks(self, start: int, end: int) -> tuple[Comment, ...]:
        """Return the comments that begin inside a stretch."""
        first = bisect_left(self.comments, start, key=lambda comment: comment.start)
        last = bisect_left(self.comments, end, key=lambda comment: comment.start)
        return self.comments[first:last]


def tokenise(text: str) -> Tokens:
    """Split a text that the grammar accepts."""
    pieces = tuple(
        Piece(token.type, _canonical(token.type, str(token)), token.start_pos, token.end_pos)
        for token in grammar().lex(text)
        if token.start_pos is not None and token.end_pos is not None
    )
    comments: list[Comment] = []
    ends = [0, *(piece.end for piece in pieces)]
    starts = [*(piece.start for piece in pieces), len(text)]
    for end, start in zip(ends, starts, strict=True):
        for found in _COMMENT.finditer(text, end, start):
            alone = end == 0 or "\n" in text[end : found.start()]
            comments.append(Comment(found[0].rstrip(), found.start(), not alone))
    return Tokens(text, pieces, tuple(comments))


def _canonical(kind: str, text: str) -> str:
    found = _QUANTITY.fullmatch(text) if kind == "QUANTITY" else None
    return f"{found[1].rstrip()} {found[2]}" if found else text


def line(pieces: Sequence[Piece]) -> str:
    """Return tokens on one line, with the spaces between them."""
    return "".join(_spelt(pieces)).strip(" ")


def _spelt(pieces: Sequence[Piece]) -> list[str]:
    """Return the texts of tokens, each with the space before it."""
    return [" " * _spaced(pieces, i) + piece.text for i, piece in enumerate(pieces)]


def _spaced(pieces: Sequence[Piece], i: int) -> bool:
    """Whether a space stands before a token."""
    if not i:
        return False
    before, here = pieces[i - 1].kind, pieces[i].kind
    if before in _OPENS or here in _CLOSES or here == "COMMA":
        return False
    if here in _OPENS and before == "NAME":
        return False
    return not _is_sign(pieces, i - 1)


def _is_sign(pieces: Sequence[Piece], i: int) -> bool:
    """Whether a plus or minus belongs to the value after it."""
    alone = i == 0 or pieces[i - 1].kind not in _ENDS_VALUE
    return pieces[i].kind in ("PLUS", "MINUS") and alone


@dataclass(frozen=True, slots=True)
class _Break:
    """Where a line may end: before the token ``at``; looser ones are better."""

    at: int
    looseness: tuple[int, int]


def wrapped(pieces: Sequence[Piece], first: int, rest: int) -> list[str]:
    """Break tokens into lines of at most ``WIDTH`` characters where that can be done.

    Args:
        pieces: the tokens.
        first: columns to the left of the first line.
        rest: columns to the left of the others.

    Returns:
        The lines, without what stands to their left.
    """
    texts, breaks, depths = _spelt(pieces), _breaks(pieces), _depths(pieces)
    ends = list(accumulate(map(len, texts), initial=0))
    lines: list[str] = []
    start, margin = 0, first
    while True:
        deeper = " " * STEP * bool(start and depths[start])
        room = WIDTH - margin - len(deeper)
        cut = _cut(ends, breaks, start, room + texts[start].startswith(" "))
        lines.append(deeper + "".join(texts[start:cut]).strip(" "))
        if cut == len(pieces):
            return lines
        start, margin = cut, rest


def _cut(ends: list[int], breaks: list[_Break], start: int, room: int) -> int:
    """Return where the line that begins at a token ends: at the last of the loosest that fit."""
    if ends[-1] - ends[start] <= room:
        return len(ends) - 1
    best: _Break | None = None
    for one in islice(breaks, bisect_right(breaks, start, key=lambda one: one.at), None):
        if best is not None and ends[one.at] - ends[start] > room:
            break
        if best is None or one.looseness <= best.looseness:
            best = one
    return best.at if best else len(ends) - 1


def _breaks(pieces: Sequence[Piece]) -> list[_Break]:
    depths = _depths(pieces)
    found: list[_Break] = []
    for i, piece in enumerate(pieces):
        strength = _STRENGTH.get(piece.kind)
        if strength is None or _is_sign(pieces, i):
            continue
        at = i + (piece.kind == "COMMA")  # a comma ends its line, an operator starts one
        if 0 < at < len(pieces):
            found.append(_Break(at, (depths[i], strength)))
    return found


def _depths(pieces: Sequence[Piece]) -> list[int]:
    """Return how many brackets are open around each token."""
    depths: list[int] = []
    depth = 0
    for piece in pieces:
        depth -= piece.kind in _CLOSES
        depths.append(depth)
        depth += piece.kind in _OPENS
    return depths
