"""Lines that have become too long for a page, laid out again as ``ruff format`` does.

Names are told apart after templates have laid out what contains them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flash4gen.render.environment import LINE, call

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAIRS = {"(": ")", "[": "]", "{": "}"}
_QUOTES = '"""'


def fitted(text: str) -> str:
    """Return Python text whose lines have at most ``LINE`` characters, where they can be broken."""
    found: list[str] = []
    said, before = False, ""
    for line in text.split("\n"):
        says = said or _QUOTES in line or line.lstrip().startswith("#")
        said ^= line.count(_QUOTES) % 2 == 1
        if len(line) <= LINE:
            found.append(line)
        elif says:
            found += _words(line)
        else:
            found += _code(line, alone=before.endswith((*_PAIRS,)))
        before = line
    return "\n".join(found)


def _words(line: str) -> Iterator[str]:
    """Yield a line of a comment or docstring as two."""
    indent = len(line) - len(line.lstrip())
    mark = " " * indent + ("# " if line.lstrip().startswith("#") else "")
    room = line.rfind(" ", len(mark), LINE + 1)
    if room < 0:
        yield line
        return
    yield line[:room]
    yield mark + line[room + 1 :]


def _code(line: str, *, alone: bool) -> list[str]:
    """Return a line of code with a call's arguments below; each on its own where they are alone."""
    indent = len(line) - len(line.lstrip())
    code, mark, reason = line.partition("  # ")
    if mark:
        return [f"{' ' * indent}# {reason}", *fitted(code).split("\n")]
    if alone:
        return [f"{' ' * indent}{item}," for item in _items(line.strip())]
    opened = _last_opened(line)
    if opened is None:
        return [line]
    start, end = opened
    items = [*_items(line[start + 1 : end])]
    return call(items, line[: start + 1], line[end:], indent).split("\n")


def _last_opened(line: str) -> tuple[int, int] | None:
    """Return where the last bracket of a line that is in no other opens and closes, if it does."""
    found, depth, start = None, 0, 0
    for place, letter in enumerate(line):
        if letter in _PAIRS:
            start = start if depth else place
            depth += 1
        elif letter in _PAIRS.values():
            depth -= 1
            found = found if depth else (start, place)
    return found


def _items(text: str) -> Iterator[str]:
    """Yield what stands between the commas of a text that are in no bracket."""
    depth, start = 0, 0
    for place, letter in enumerate(text):
        depth += (letter in _PAIRS) - (letter in _PAIRS.values())
        if letter == "," and not depth:
            yield text[start:place].strip()
            start = place + 1
    if rest := text[start:].strip():
        yield rest
