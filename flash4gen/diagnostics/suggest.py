"""Did you mean …: the known name that is nearest to what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def nearest(written: str, known: Iterable[str]) -> str | None:
    """Return the known name nearest to ``written``, or None where nothing is near.

    Near means: at most a third of the letters differ (one letter for short names), and not all of
    them; an exchange of neighbours counts as one difference.
    """
    near = []
    for name in known:
        steps = _distance(written.lower(), name.lower())
        if steps <= max(1, len(written) // 3) and steps < max(len(written), len(name)):
            near.append((steps, name))
    return min(near)[1] if near else None


def did_you_mean(written: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return a help line that names the nearest known name, or nothing."""
    found = nearest(written, known)
    return (f"did you mean `{found}`?",) if found else ()


def one_of(choices: Iterable[str]) -> str:
    """Spell a list of choices: ``a``, ``a or b``, ``a, b or c``, each in backquotes."""
    quoted = [f"`{choice}`" for choice in choices]
    if len(quoted) < 2:
        return "".join(quoted)
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


def _distance(first: str, second: str) -> int:
    """Edit distance with exchange of neighbours (optimal string alignment)."""
    width = len(second) + 1
    rows = [list(range(width))]
    for i, a in enumerate(first, 1):
        row = [i]
        for j, b in enumerate(second, 1):
            steps = min(row[j - 1] + 1, rows[i - 1][j] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and b == first[i - 2]:
                steps = min(steps, rows[i - 2][j - 2] + 1)
            row.append(steps)
        rows.append(row)
    return rows[-1][-1]
