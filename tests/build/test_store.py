"""Outputs are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from flash4gen.build.store import write_all


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_only_files_that_differ_are_written(tmp_path: Path) -> None:
    a, b = tmp_path / "sub" / "a", tmp_path / "sub" / "b"
    assert write_all({a: b"1", b: b"2"}) == (a, b)
    before = a.stat().st_mtime_ns
    assert write_all({a: b"1", b: b"3"}) == (b,)
    assert a.stat().st_mtime_ns == before
    assert b.read_bytes() == b"3"
    assert names(tmp_path) == ["sub", "sub/a", "sub/b"]


def test_if_one_cannot_be_written_none_is(tmp_path: Path) -> None:
    good, blocked = tmp_path / "good", tmp_path / "file" / "below"
    good.write_bytes(b"old")
    (tmp_path / "file").write_bytes(b"not a folder")
    with pytest.raises(OSError, match="file"):
        write_all({good: b"new", blocked: b"x"})
    assert good.read_bytes() == b"old"
    assert names(tmp_path) == ["file", "good"]


def test_an_interrupt_between_the_files_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_all({tmp_path / "a": b"1"})
    assert names(tmp_path) == []
