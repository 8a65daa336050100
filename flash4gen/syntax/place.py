"""Where the grammar refused a text: the token, its surroundings, what could stand there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lark.exceptions import UnexpectedCharacters, UnexpectedToken

from flash4gen.syntax.scan import Piece, scan

if TYPE_CHECKING:
    from lark.exceptions import UnexpectedInput

    from flash4gen.source import SourceFile, Span


@dataclass(frozen=True, slots=True)
class Place:
    """A refused token, and what stands around it.

    Attributes:
        source: the file.
        text: the token, empty at the end of the file.
        start: its offset.
        accepts: names of the terminals that could stand here; empty where no token could be made.
        pieces: all pieces of the text.
        index: the token's place among them; their number at the end of the file.
    """

    source: SourceFile
    text: str
    start: int
    accepts: frozenset[str]
    pieces: list[Piece]
    index: int

    @property
    def span(self) -> Span:
        """The token's own place."""
        return self.source.span(self.start, self.start + len(self.text))

    @property
    def open(self) -> list[Piece]:
        """Brackets that are open here, outermost first."""
        if self.index < len(self.pieces):
            return [self.pieces[at] for at in self.pieces[self.index].open]
        if not self.pieces:
            return []
        last = self.pieces[-1]
        opened = [self.pieces[at] for at in last.open]
        if last.text in ("(", "[", "{"):
            return [*opened, last]
        return opened[:-1] if last.text in (")", "]", "}") else opened

    def before(self, steps: int) -> Piece | None:
        """Return the piece that many steps before the token."""
        at = self.index - steps
        return self.pieces[at] if 0 <= at < len(self.pieces) else None

    def span_of(self, piece: Piece) -> Span:
        """Return the place of a piece."""
        return self.source.span(piece.start, piece.end)


def find_place(source: SourceFile, text: str, problem: UnexpectedInput) -> Place:
    """Return where Lark stopped, with the text that it was given: earlier errors blanked out."""
    pieces = scan(text)
    accepts: frozenset[str] = frozenset()
    start = pieces[-1].end if pieces else 0
    if isinstance(problem, UnexpectedToken):
        accepts = frozenset(problem.accepts or problem.expected)
        if problem.token.type != "$END":
            start = problem.token.start_pos or 0
    elif isinstance(problem, UnexpectedCharacters):
        start = problem.pos_in_stream or 0
    index = next((i for i, piece in enumerate(pieces) if piece.end > start), len(pieces))
    found = "" if index == len(pieces) else pieces[index].text
    if index < len(pieces) and pieces[index].start < start:
        found = found[start - pieces[index].start :]
    return Place(source, found, start, accepts, pieces, index)
