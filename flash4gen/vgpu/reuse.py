"""What was made of parts of a text, for other texts that have those parts in common.

`parse_ttgir` hands out the very same blocks and regions for texts that differ in a line or two, as
mutants do. What is made of such a part, and of nothing else, is remembered here by its identity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_Part = TypeVar("_Part")
_Made = TypeVar("_Made")


class Reuse:
    """Remembers, and keeps alive, what was made of parts.

    Args:
        most: parts after which all are forgotten.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._made: dict[tuple[Hashable, int], tuple[Any, Any]] = {}

    def __call__(self, part: _Part, make: Callable[[_Part], _Made], kind: Hashable) -> _Made:
        """Return what `make` makes of a part; `kind` tells it from what others make."""
        key = kind, id(part)
        known = self._made.get(key)
        if known is None:
            if len(self._made) >= self._most:
                self._made.clear()
            known = self._made[key] = part, make(part)
        made: _Made = known[1]
        return made
