"""What would change in a file, for people: unified, in colour on a terminal."""

from __future__ import annotations

import difflib
import sys

from flash4gen.cli.output import colored

_COLOURS = {"+": "32", "-": "31", "@": "36"}


def print_difference(name: str, before: str, after: str) -> None:
    """Print what changes between two versions of a file, in the unified format."""
    colour = colored(sys.stdout)
    for one in difflib.unified_diff(
        before.splitlines(), after.splitlines(), name, f"{name}, formatted", lineterm=""
    ):
        shade = _COLOURS.get(one[:1]) if colour else None
        print(f"\x1b[{shade}m{one}\x1b[0m" if shade else one)
