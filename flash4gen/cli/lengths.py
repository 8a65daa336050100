"""Lengths of packed sequences on a command line: ``4096,1024``, ``64x1:8192,512:4096``.

In: the text of an option. Out: queries and keys of each sequence.
"""

from __future__ import annotations

import re

import typer

MOST = 65536
"""Sequences of a launch."""

_SEQUENCE = re.compile(r"(?:(\d+)x)?(\d+)(?::(\d+))?")


def read_lengths(text: str) -> tuple[tuple[int, int], ...]:
    """Return queries and keys of each sequence; no text, no sequences.

    Args:
        text: a list with commas, each ``[TIMESx]QUERIES[:KEYS]``; keys are as many as queries where
            they are left out.

    Raises:
        typer.BadParameter: it is no such list.
    """
    found: list[tuple[int, int]] = []
    for part in filter(None, text.split(",")):
        matched = _SEQUENCE.fullmatch(part.strip())
        if matched is None:
            raise typer.BadParameter(
                f"{part!r} is no length: write 4096, or 512:4096 for other keys than queries, "
                "or 64x1:8192 for 64 such sequences"
            )
        times, queries, keys = matched.groups()
        pair = int(queries), int(keys or queries)
        if 0 in pair or times == "0":
            raise typer.BadParameter(f"{part!r}: a sequence of no queries or no keys takes no time")
        if len(found) + int(times or 1) > MOST:
            raise typer.BadParameter(f"these are more than {MOST:,} sequences")
        found += [pair] * int(times or 1)
    return tuple(found)


def checked(text: str) -> str:
    """Return the text if it can be read."""
    read_lengths(text)
    return text
