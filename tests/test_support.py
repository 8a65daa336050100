"""What works where: recorded by tests, shown by a page and a command, and the three agree.

``pytest tests/test_support.py --slow --record-support`` runs what is not recorded, or was recorded
of another text, and writes the record; it can be interrupted. With ``-n 2`` it takes the better
part of an hour. Then ``--update-golden`` writes the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.cli.support import Cell, Status, cells_text, read_cells, rows, tables
from flash4gen.cli.support_page import support_page
from tests.cli.running import flash4gen
from tests.project import ROOT
from tests.support import KEYS, few_cases, found, locked_cells, planned, text_digest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.golden_files import Golden

CELLS = {cell.key: cell for cell in read_cells()}
SAMPLE = [*CELLS][:: max(1, len(CELLS) // 12)]


@pytest.mark.slow
@pytest.mark.parametrize(("section", "name", "target"), KEYS)
def test_what_is_recorded_is_so(
    section: str, name: str, target: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    recording = request.config.getoption("--record-support")
    plan = planned(section, name, target, tmp_path)
    known = CELLS.get((section, name, target))
    if isinstance(plan, Cell):
        cell = plan
    elif recording and known and known.status is Status.PROVEN and _fresh(known, plan, tmp_path):
        cell = known
    else:
        cell = found(plan, section, name, tmp_path)
    if recording:
        with locked_cells() as cells:
            cells[cell.key] = cell
    else:
        assert cell == known
    assert cell.status is not Status.FAILED, cell.note


def _fresh(known: Cell, plan: object, folder: Path) -> bool:
    from flash4gen.driver import Plan

    return isinstance(plan, Plan) and known.text == text_digest(plan, folder)


def test_nothing_that_is_recorded_failed() -> None:
    assert not [cell for cell in CELLS.values() if cell.status is Status.FAILED]


@pytest.mark.slow
def test_everything_is_recorded() -> None:
    assert [*CELLS] == KEYS, "run `pytest tests/test_support.py --slow --record-support`"


def test_every_refusal_has_a_code_and_says_what_to_do() -> None:
    for cell in CELLS.values():
        if cell.status is Status.REFUSED:
            assert cell.note.startswith("F4G"), cell
            assert len(cell.note) > 30, cell


@pytest.mark.parametrize(("section", "name", "target"), SAMPLE)
def test_the_record_is_of_the_modules_of_today(
    section: str, name: str, target: str, tmp_path: Path
) -> None:
    known = CELLS[section, name, target]
    plan = planned(section, name, target, tmp_path)
    if isinstance(plan, Cell):
        assert plan == known
    else:
        assert known.text == text_digest(plan, tmp_path), (
            "run `pytest tests/test_support.py --slow --record-support`"
        )
        assert len(few_cases(plan).cases) > 2


def test_the_page_is_what_is_recorded(golden: Golden) -> None:
    golden(ROOT / "docs" / "support.md", support_page(read_cells()))


def test_the_command_prints_what_is_recorded() -> None:
    printed = flash4gen("list", "support").stdout
    made, targets, notes = tables(read_cells())
    for section, table in made.items():
        assert section in printed
        for name, _, *signs in table:
            assert len(signs) == len(targets)
            assert name in printed
    for note in notes:
        assert note in printed
    listed = flash4gen("list", "support", "--format", "json").document["support"]
    assert listed == rows()
    assert sum(len(row["targets"]) for row in listed) == len(CELLS)


def test_cells_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    section, name, target = KEYS[0]
    cell = Cell(
        section=section, name=name, spec="x = 1", target=target, status=Status.PROVEN, spills=8
    )
    with locked_cells(path) as cells:
        cells[cell.key] = cell
    assert read_cells(path) == (cell,)
    with locked_cells(path) as cells:
        assert cells == {cell.key: cell}
    assert path.read_text() == cells_text([cell])


def test_a_table_numbers_its_notes() -> None:
    def cell(name: str, target: str, status: Status, **more: object) -> Cell:
        return Cell(section="s", name=name, spec="", target=target, status=status, **more)  # type: ignore[arg-type]

    made, targets, notes = tables(
        [
            cell("a", "x", Status.PROVEN, family="portable"),
            cell("a", "y", Status.PROVEN, family="blackwell", spills=4),
            cell("b", "x", Status.REFUSED, note="F4G1: no"),
            cell("b", "y", Status.FAILED, note="F4G1: no"),
            cell("c", "y", Status.REFUSED, note="F4G2: no"),
        ]
    )
    assert targets == ["x", "y"]
    assert made["s"] == [
        ["a", "", "P", "B [1]"],
        ["b", "", "– [2]", "✗ [2]"],
        ["c", "", "", "– [3]"],
    ]
    spilled = "loops of the kernel have 4 loads and stores of spilled registers"
    assert notes == [spilled, "F4G1: no", "F4G2: no"]
