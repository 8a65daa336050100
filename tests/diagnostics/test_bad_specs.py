"""Bad specs in `tests/errors`, each with its expectations beside the mistake.

``# error: 16 F4G303 "some text"`` says: an error on this line, at column 16, with this code, whose
message holds this text. ``error+1`` speaks of the next line. There must be no other finding.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flash4gen.diagnostics import Code, Diagnostic
from flash4gen.diagnostics.machine import as_object
from flash4gen.diagnostics.text import render_text, summary
from flash4gen.driver.model import Checked
from flash4gen.driver.plan import plan_spec
from flash4gen.ir.lower import analyse
from flash4gen.source import SourceFile

if TYPE_CHECKING:
    from tests.golden_files import Golden

ERRORS = Path(__file__).parent.parent / "errors"
SPECS = sorted(ERRORS.glob("*.attn"))
EXPECTATION = re.compile(r'# (error|warning)(\+1)?: (\d+) (F4G\d{3}) "([^"]*)"')

# Codes that need a file rather than a text, or a very large one: see test_read.py, test_limits.py.
ELSEWHERE = {Code.NOT_TEXT, Code.UNREADABLE, Code.EMPTY, Code.TOO_DEEP, Code.TOO_MANY}


def findings(path: Path) -> tuple[Diagnostic, ...]:
    """Return what is wrong with a spec; where nothing is, what is wrong with its pins."""
    source = SourceFile(f"tests/errors/{path.name}", path.read_text(encoding="utf-8"))
    found = analyse(source)
    if found.diagnostics:
        return found.diagnostics
    checked = Checked(source.name, source, found.attentions, found.hardware, ())
    return plan_spec(checked)[1]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_each_mistake_is_found_at_its_place_and_nothing_else(path: Path) -> None:
    expected = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        for severity, later, column, code, text in EXPECTATION.findall(line):
            expected[(number + bool(later), int(column), severity, code)] = text
    found = {}
    for diagnostic in findings(path):
        assert diagnostic.primary is not None
        span = diagnostic.primary.span
        place = (span.line, span.column, diagnostic.severity.value, str(diagnostic.code))
        found[place] = diagnostic.message
    assert sorted(found) == sorted(expected)
    for place, text in expected.items():
        assert text in found[place]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_messages_read_as_they_did(path: Path, golden: Golden) -> None:
    found = findings(path)
    golden(path.with_suffix(".txt"), render_text(found) + summary(found) + "\n")


def test_every_code_of_the_language_is_provoked_here() -> None:
    written = {code for path in SPECS for code in re.findall(r"F4G\d{3}", path.read_text("utf-8"))}
    stages = {code for code in Code if code[3] in "12345"} - {Code.NOTHING_FITS}
    assert {str(code) for code in stages - ELSEWHERE} <= written


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_messages_are_one_plain_line(path: Path) -> None:
    for diagnostic in findings(path):
        assert "\n" not in diagnostic.message
        assert not diagnostic.message.endswith(".")
        assert diagnostic.message[0].islower() or not diagnostic.message[0].isalpha()


def test_json_holds_the_same_as_the_text() -> None:
    found = findings(ERRORS / "numbers.attn")[0]
    assert as_object(found) == {
        "code": "F4G303",
        "severity": "error",
        "message": "32 query heads cannot share 12 key/value heads evenly",
        "spans": [
            {
                "role": "primary",
                "file": "tests/errors/numbers.attn",
                "line": 5,
                "column": 16,
                "end_line": 5,
                "end_column": 18,
                "label": "32 is no multiple of 12",
            },
            {
                "role": "secondary",
                "file": "tests/errors/numbers.attn",
                "line": 4,
                "column": 16,
                "end_line": 4,
                "end_column": 18,
                "label": "query heads",
            },
        ],
        "notes": [],
        "helps": ["the nearest that works is `kv_heads = 8`"],
    }
