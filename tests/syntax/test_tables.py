"""The parse tables that are checked in are those of the grammar, and parse the same."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flash4gen.resources import resource_dir
from flash4gen.syntax import tables

if TYPE_CHECKING:
    from pathlib import Path


def test_tables_are_fresh() -> None:
    made_from = json.loads(tables.TABLES.read_text(encoding="utf-8"))["made_from"]
    grammar = tables.made_from()["grammar"]
    assert made_from["grammar"] == grammar, (
        "attn.lark has changed: run `from flash4gen.syntax.tables import write; write()`"
    )


def test_tables_parse_as_the_grammar_does() -> None:
    loaded = tables.load()
    if loaded is None:
        pytest.skip("the tables were made with another version of Lark, and are not used")
    compiled = tables.compiled()
    for path in resource_dir("specs").rglob("*.attn"):
        text = path.read_text(encoding="utf-8")
        assert loaded.parse(text) == compiled.parse(text)


def test_stale_tables_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = tmp_path / "tables.json"
    stale.write_text(tables.dump().replace('"lark":"', '"lark":"0.'))
    monkeypatch.setattr(tables, "TABLES", stale)
    assert tables.load() is None
    monkeypatch.setattr(tables, "TABLES", tmp_path / "absent.json")
    assert tables.load() is None
