"""What is remembered between runs: the same numbers, or nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.schedule.blackwell import remembered
from flash4gen.schedule.blackwell.pace import STILL, Jitter, Kernel, kernel, steady
from flash4gen.schedule.blackwell.remembered import folder, modelled
from tests.schedule.blackwell.cases import B200, schedule
from tests.schedule.variants import variant

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return folder()


@pytest.fixture
def what() -> Kernel:
    return kernel(schedule(), variant(), B200)


def test_a_result_is_computed_once(
    cache: Path, what: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = modelled(what, STILL)
    assert len(list(cache.glob("*.json"))) == 1
    monkeypatch.setattr(remembered, "steady", lambda *_: pytest.fail("computed again"))
    assert modelled(what, STILL) == first


@pytest.mark.parametrize("text", ["", "{}", '{"key": "other", "cycles": [1.0]}', "[1"])
def test_what_is_not_whole_is_computed_again(cache: Path, what: Kernel, text: str) -> None:
    right = modelled(what, STILL)
    (file,) = cache.glob("*.json")
    file.write_text(text, encoding="utf-8")
    assert modelled(what, STILL) == right


def test_another_schedule_jitter_or_code_has_another_name(
    cache: Path, what: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    modelled(what, STILL)
    modelled(replace(what, schedule=replace(what.schedule, emulated=0)), STILL)
    modelled(what, Jitter(0.1, (0,)))
    monkeypatch.setattr(remembered, "_code", lambda: "another version")
    modelled(what, STILL)
    assert len(list(cache.glob("*.json"))) == 4


def test_a_folder_that_cannot_be_written_to_is_no_fault(
    tmp_path: Path, what: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert modelled(what, STILL).cycles == steady(what, STILL)[0]
