"""What works on which target, as the tests recorded it: rows for people, and a page.

``support.json`` is written by ``pytest tests/test_support.py --slow --record-support``, a cell for
every spec and target: compiled and run, refused with a reason, or failed. Nothing here is written
by hand.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RECORD = Path(__file__).with_name("support.json")


class Status(StrEnum):
    """What became of a spec on a target."""

    PROVEN = "proven"
    REFUSED = "refused"
    FAILED = "failed"


SIGNS = {"portable": "P", "blackwell": "B"}
"""How a kernel family is written in a table; others by their first letter."""
SPILLED = {
    "portable": "the kernel spills {} bytes per thread",
    "blackwell": "loops of the kernel have {} loads and stores of spilled registers",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One spec on one target.

    Attributes:
        section: of the table: what its rows differ in.
        name: of the row.
        spec: the fields that make the row what it is.
        target: name of the hardware item.
        status: what became of it.
        family: of the kernel; empty without one.
        text: first digits of the digest of the module's text; of the refusal, empty.
        spills: bytes per thread; of a warp-specialised kernel, instructions in its loops.
        note: why it was refused, and what works instead.
    """

    section: str
    name: str
    spec: str
    target: str
    status: Status
    family: str = ""
    text: str = ""
    spills: int = 0
    note: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from the others."""
        return self.section, self.name, self.target


def read_cells(path: Path = RECORD) -> tuple[Cell, ...]:
    """Return what is recorded; nothing if there is no record."""
    if not path.is_file():
        return ()
    listed = json.loads(path.read_text(encoding="utf-8") or "[]")
    return tuple(Cell(**{**one, "status": Status(one["status"])}) for one in listed)


def cells_text(cells: Iterable[Cell]) -> str:
    """Return the record: JSON with a cell on each line, sections and rows in the order given."""
    lines = [json.dumps(asdict(cell), ensure_ascii=False) for cell in cells]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def rows(cells: Sequence[Cell] | None = None) -> list[dict[str, Any]]:
    """Return a row for every spec: section, name, fields, and what became of it on each target."""
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in read_cells() if cells is None else cells:
        row = made.setdefault(
            cell.key[:2],
            {"section": cell.section, "name": cell.name, "spec": cell.spec, "targets": {}},
        )
        shown = {name: getattr(cell, name) for name in ("family", "spills", "note")}
        row["targets"][cell.target] = {"status": str(cell.status), **shown}
    return list(made.values())


def sign(cell: Cell, notes: list[str]) -> str:
    """Return what stands in the table for a cell; its note is numbered among ``notes``."""
    if cell.status is Status.PROVEN and not cell.spills:
        return SIGNS.get(cell.family, cell.family[:1].upper())
    note = cell.note or SPILLED.get(cell.family, "{} spilled").format(cell.spills)
    if note not in notes:
        notes.append(note)
    shown = {Status.PROVEN: SIGNS.get(cell.family, "?"), Status.REFUSED: "–", Status.FAILED: "✗"}
    return f"{shown[cell.status]} [{notes.index(note) + 1}]"


def tables(cells: Sequence[Cell]) -> tuple[dict[str, list[list[str]]], list[str], list[str]]:
    """Return a table for each section, rows of texts; the targets; and the notes."""
    notes: list[str] = []
    targets = list(dict.fromkeys(cell.target for cell in cells))
    by_key = {cell.key: cell for cell in cells}
    made: dict[str, list[list[str]]] = {}
    for section, name in dict.fromkeys(cell.key[:2] for cell in cells):
        found = [by_key.get((section, name, target)) for target in targets]
        spec = next(cell.spec for cell in found if cell)
        signs = [sign(cell, notes) if cell else "" for cell in found]
        made.setdefault(section, []).append([name, spec, *signs])
    return made, targets, notes
