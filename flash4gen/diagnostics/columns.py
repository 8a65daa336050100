"""One line of source as a terminal shows it: tabs, wide letters, control characters, great length.

What is printed is safe: no escape sequence of a junk file reaches the terminal. Every character
knows its column there.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

TAB = 4
MAX_WIDTH = 160
_BEFORE = 40
"""Characters kept before the first mark of a line that is too long."""

_UNPRINTABLE = "�"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A line made printable.

    Attributes:
        text: what to print.
        starts: display column of every character of the line, and of its end.
    """

    text: str
    starts: tuple[int, ...]

    def column(self, character: int) -> int:
        """Return the 0-based display column of a 0-based character, clipped to what is shown."""
        return self.starts[max(0, min(character, len(self.starts) - 1))]


def excerpt(line: str, first: int) -> Excerpt:
    """Return a line made printable, cut around character ``first`` where it is very long."""
    skipped = max(0, first - _BEFORE) if len(line) > MAX_WIDTH else 0
    shown = line[skipped : skipped + MAX_WIDTH]
    text = "…" if skipped else ""
    starts = [0] * skipped
    width = len(text)
    for char in shown:
        starts.append(width)
        printed, columns = _printed(char)
        text += printed
        width += columns
    cut = len(line) - skipped - len(shown)
    starts += [width] * (cut + 1)
    return Excerpt(text + "…" * (cut > 0), tuple(starts))


def _printed(char: str) -> tuple[str, int]:
    """Return what to print for a character, and how many columns it takes."""
    if char == "\t":
        return " " * TAB, TAB
    category = unicodedata.category(char)
    # Format characters can turn the direction of a line around; they are shown, not obeyed.
    if category[0] == "C" or category in ("Zl", "Zp"):
        return _UNPRINTABLE, 1
    if category in ("Mn", "Me"):
        return char, 0
    return char, 2 if unicodedata.east_asian_width(char) in "WF" else 1
