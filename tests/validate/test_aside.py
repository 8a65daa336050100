"""Rungs about numbers that were climbed in a process of their own are those climbed here."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.validate import Rung, Status
from flash4gen.validate.aside import numbers_aside
from flash4gen.validate.ladder import validate_module
from flash4gen.validate.numbers import number_rungs
from tests.validate.subjects import LOCAL, subject

if TYPE_CHECKING:
    from pathlib import Path


def test_they_are_the_same(tmp_path: Path) -> None:
    proven = subject(LOCAL, "rtx5090", tmp_path)
    with numbers_aside(proven) as answer:
        here = tuple(number_rungs(proven, load_module(proven.path), lambda *_: None))
        assert answer() == here
    assert here[0].status is Status.PASSED


def test_a_wrong_number_is_told_and_the_other_rung_is_not_climbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever comes of watching a kernel that is wrong: here a fault."""
    monkeypatch.setattr("flash4gen.validate.ladder.usable_cores", lambda: 2)
    monkeypatch.setattr("flash4gen.validate.ladder.concurrency_rung", fail)
    wrong = (Rung("function", Status.FAILED, "7 of 26 cases failed"),)
    monkeypatch.setattr(
        "flash4gen.validate.ladder.numbers_aside", lambda _: nullcontext(lambda: wrong)
    )
    certificate = validate_module(subject(LOCAL, "rtx5090", tmp_path), mutate=True)
    assert certificate.rung("concurrency").summary == "not run: function failed"


def test_a_fault_of_ours_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flash4gen.validate.ladder.usable_cores", lambda: 2)
    monkeypatch.setattr("flash4gen.validate.ladder.concurrency_rung", fail)
    with pytest.raises(ArithmeticError, match="a fault of ours"):
        validate_module(subject(LOCAL, "rtx5090", tmp_path), mutate=True)


def test_a_process_that_dies_is_noticed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    proven = subject(LOCAL, "rtx5090", tmp_path)
    proven.path.unlink()
    with numbers_aside(proven) as answer, pytest.raises(RuntimeError, match="ended with code 1"):
        answer()
    assert "FileNotFoundError" in capfd.readouterr().err


def fail(*_args: object, **_kwargs: object) -> None:
    raise ArithmeticError("a fault of ours")
