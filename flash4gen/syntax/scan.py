"""A rough look at a text that the grammar refuses: its words, brackets, and where fields start.

Used only after a syntax error, to say what is wrong and to find where to go on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

ITEM_WORDS = frozenset({"attention", "hardware", "def", "model", "use"})
_PIECE = re.compile(
    r"""(?P<skip>[ \t\r\n]+|\#[^\n]*)
      | "[^"\n]*"?
      | [A-Za-z_][A-Za-z0-9_]*
      | [0-9][0-9A-Za-z_.]*
      | \*\*|//|<=|>=|==|!=|&&|\|\|
      | .""",
    re.VERBOSE | re.DOTALL,
)
MAX_OPEN = 64
"""Brackets that a piece remembers, the outer ones: all would cost their square in memory."""

_CLOSES = {")": "(", "]": "[", "}": "{"}


class Anchor(StrEnum):
    """Where reading can start again."""

    ITEM = "item"
    FIELD = "field"
    CLOSE = "close"


@dataclass(frozen=True, slots=True)
class Piece:
    """One word or sign.

    Attributes:
        text: the characters.
        start: offset of the first one.
        column: 0-based column of it.
        first: whether it is the first of its line.
        open: the brackets open before it, outermost first, as indices into the pieces; of very
            many, the outer ones.
        anchor: what starts or ends here, if anything.
    """

    text: str
    start: int
    column: int
    first: bool
    open: tuple[int, ...]
    anchor: Anchor | None = None

    @property
    def end(self) -> int:
        """Offset after the last character."""
        return self.start + len(self.text)

    @property
    def is_word(self) -> bool:
        """Whether it looks like a name."""
        return self.text[0].isalpha() or self.text[0] == "_"


def scan(text: str) -> list[Piece]:
    """Split a text into pieces, with the brackets that are open at each and its anchors."""
    raw = [found for found in _PIECE.finditer(text) if found["skip"] is None]
    pieces: list[Piece] = []
    opened: list[int] = []
    line_end = -1
    for i, found in enumerate(raw):
        word, start = found[0], found.start()
        line_start = text.rfind("\n", 0, start) + 1
        following = raw[i + 1][0] if i + 1 < len(raw) else ""
        piece = Piece(
            word, start, start - line_start, line_start > line_end, tuple(opened[:MAX_OPEN])
        )
        anchor = _anchor(piece, following, pieces)
        if anchor is Anchor.ITEM:
            opened = []
        elif anchor is Anchor.FIELD:
            opened = [at for at in opened if pieces[at].text == "{"]
        pieces.append(Piece(word, start, piece.column, piece.first, piece.open, anchor))
        line_end = start
        _track(i, word, opened, pieces)
    return pieces


def _track(i: int, word: str, opened: list[int], pieces: list[Piece]) -> None:
    if word in _CLOSES.values():
        opened.append(i)
    elif word in _CLOSES:
        while opened and (word == "}" or pieces[opened[-1]].text != "{"):
            if pieces[opened.pop()].text == _CLOSES[word]:
                return


def _anchor(piece: Piece, following: str, before: list[Piece]) -> Anchor | None:
    opened = [before[at].text for at in piece.open]
    if piece.text == "}":
        return Anchor.CLOSE
    if not piece.is_word:
        return None
    named = following[:1].isalpha() or following[:1] == "_"
    if piece.text in ITEM_WORDS and (named or not opened) and (piece.first or not opened):
        return Anchor.ITEM
    if "{" not in opened:
        return None
    starts = (
        following == "="
        or (piece.first and following == ":" and opened[-1] == "{")
        or (piece.text == "schedule" and following == "{")
        or (piece.text == "layers" and following[:1].isdigit())
        or (piece.text == "input" and named)
    )
    if not starts or (before and before[-1].text in ("*", ",") and not piece.first):
        return None
    return Anchor.FIELD if opened[-1] == "{" or _on_own_line(piece, before) else None


def _on_own_line(piece: Piece, before: list[Piece]) -> bool:
    """Whether a name inside open parentheses is the next field after all.

    It is, where it starts a line no deeper than the field that the parentheses belong to.
    """
    fields = [other for other in before if other.anchor is Anchor.FIELD]
    return piece.first and bool(fields) and piece.column <= fields[-1].column


def stretch(pieces: list[Piece], at: int) -> tuple[int, int]:
    """Return the offsets of what to leave out for an error at an offset.

    That is the field around it; the whole item where the error is in an item's head; a closing
    brace without an opening one; or what stands between two items.
    """
    here = next((piece for piece in pieces if piece.start == at), None)
    if here is not None and here.anchor is Anchor.CLOSE and not _in_block(pieces, here):
        return here.start, here.end
    before = [piece for piece in pieces if piece.anchor and piece.start < at]
    if here is not None and here.anchor in (Anchor.ITEM, Anchor.FIELD):
        before.append(here)
    last = before[-1] if before else None
    if last is None or last.anchor is Anchor.CLOSE:
        start, inside = at, here is not None and _in_block(pieces, here)
    else:
        start, inside = last.start, last.anchor is Anchor.FIELD
    for piece in pieces:
        if piece.start <= start:
            continue
        if piece.anchor is Anchor.ITEM or (inside and piece.anchor is not None):
            return start, piece.start
        if piece.anchor is Anchor.CLOSE and len(piece.open) == 1:
            return start, piece.end
    return start, pieces[-1].end if pieces else at


def _in_block(pieces: list[Piece], piece: Piece) -> bool:
    return any(pieces[index].text == "{" for index in piece.open)
