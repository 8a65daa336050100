"""Reading files: whatever lies on the disk, there is a text or a reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flash4gen.ir.lower import analyse
from flash4gen.source import SourceFile
from flash4gen.syntax import read_source
from flash4gen.syntax.read import MAX_BYTES

if TYPE_CHECKING:
    from flash4gen.diagnostics import Diagnostic


def refusal(path: Path) -> Diagnostic:
    result = read_source(path)
    assert isinstance(result, tuple)
    (found,) = result
    assert str(path) in found.message
    return found


def test_line_ends_and_byte_order_marks_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.attn"
    path.write_bytes(b"\xef\xbb\xbfdef f() = 1\r\ndef g() = 2\rdef h() = 3\n")
    source = read_source(path)
    assert isinstance(source, SourceFile)
    assert source.name == str(path)
    assert source.text == "def f() = 1\ndef g() = 2\ndef h() = 3\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x7fELF\x02\x01\x01\x00\x00", "zero bytes"),
        (b"attention caf\xe9 { }", "byte 13, in line 1, is not UTF-8"),
        (b" " * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "junk.attn"
    path.write_bytes(content)
    found = refusal(path)
    assert found.code == "F4G104"
    assert reason in found.message


def test_a_missing_file_names_the_one_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "gemma.attn").write_text("")
    found = refusal(tmp_path / "gema.attn")
    assert found.code == "F4G105"
    assert "no such file" in found.message
    assert found.helps == ("did you mean `gemma.attn`?",)


def test_a_short_name_is_not_like_another_by_its_ending(tmp_path: Path) -> None:
    (tmp_path / "deep.attn").write_text("")
    assert refusal(tmp_path / "nope.attn").helps == ()


@pytest.mark.parametrize(
    ("name", "help_text"),
    [
        ("gema2_9b_local", "did you mean `gemma2_9b_local`?"),
        ("llama3_71b", "did you mean `llama3_70b`?"),
        ("b200", "if it is a file, write `b200.attn`"),
    ],
)
def test_a_bare_name_is_one_of_a_shipped_spec(name: str, help_text: str) -> None:
    assert refusal(Path(name)).helps[0] == help_text


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path).code == "F4G105"


@pytest.mark.parametrize("text", ["", "   \n\n", "# only a remark\n"])
def test_an_empty_file_says_how_to_start(text: str) -> None:
    (found,) = analyse(SourceFile("empty.attn", text)).diagnostics
    assert found.code == "F4G106"
    assert "attention" in found.helps[0]
