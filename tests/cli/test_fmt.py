"""`flash4gen fmt`: files, folders, standard input; --check and --diff write nothing."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.running import command, contents, flash4gen

if TYPE_CHECKING:
    from pathlib import Path

UGLY, PRETTY = "def f( x )=x#one\n", "def f(x) = x  # one\n".replace("# one", "#one")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "ugly.attn").write_text(UGLY)
    (tmp_path / "pretty.attn").write_text(PRETTY)
    (tmp_path / "notes.txt").write_text("def f( x )")
    return tmp_path


def test_a_folder_means_all_specs_in_it(folder: Path) -> None:
    ended = flash4gen("fmt", folder)
    assert ended.code == 0
    assert ended.stdout == f"{folder / 'inner' / 'ugly.attn'}: formatted\n"
    assert (folder / "inner" / "ugly.attn").read_text() == PRETTY
    assert (folder / "notes.txt").read_text() == "def f( x )"


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_nothing_is_written_where_one_only_asks(folder: Path, option: str) -> None:
    before = contents(folder)
    ended = flash4gen("fmt", folder, option)
    assert ended.code == 1
    assert "ugly.attn" in ended.stdout
    assert "pretty.attn" not in ended.stdout
    assert contents(folder) == before
    assert flash4gen("fmt", folder / "pretty.attn", option).code == 0


def test_a_difference_is_shown(folder: Path) -> None:
    ended = flash4gen("fmt", folder, "--diff")
    assert "-def f( x )=x#one" in ended.stdout
    assert "+def f(x) = x  #one" in ended.stdout


def test_line_ends_become_plain(folder: Path) -> None:
    path = folder / "dos.attn"
    path.write_bytes(b"def f(x) = x\r\n")
    assert flash4gen("fmt", path, "--check").code == 1
    assert flash4gen("fmt", path).code == 0
    assert path.read_bytes() == b"def f(x) = x\n"


def test_a_link_stays_a_link_and_rights_stay(folder: Path) -> None:
    target, link = folder / "inner" / "ugly.attn", folder / "link.attn"
    target.chmod(0o600)
    link.symlink_to(target)
    assert flash4gen("fmt", link).code == 0
    assert link.is_symlink()
    assert target.read_text() == PRETTY
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_file_with_a_mistake_stays_and_the_others_are_done(folder: Path) -> None:
    bad = folder / "bad.attn"
    bad.write_text("attention a {")
    ended = flash4gen("fmt", folder)
    assert ended.code == 1
    assert "error[F4G102]" in ended.stderr
    assert bad.read_text() == "attention a {"
    assert (folder / "inner" / "ugly.attn").read_text() == PRETTY


@pytest.mark.parametrize(
    ("options", "code", "printed"), [((), 0, PRETTY), (("--check",), 1, ""), (("--diff",), 1, None)]
)
def test_standard_input(options: tuple[str, ...], code: int, printed: str | None) -> None:
    ended = subprocess.run(
        command("fmt", "-", *options), input=UGLY, capture_output=True, text=True, check=False
    )
    assert ended.returncode == code
    assert ended.stderr == ""
    assert printed is None or ended.stdout == printed


def test_standard_input_stands_alone(folder: Path) -> None:
    assert flash4gen("fmt", "-", folder).code == 2


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    assert "error[F4G105]" in flash4gen("fmt", tmp_path / "gone.attn").stderr
