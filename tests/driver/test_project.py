"""`[tool.flash4gen]` in the user's pyproject.toml: found upwards, relative to its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.driver.project import project_templates

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.diagnostics import Diagnostic


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    (tmp_path / "src" / "deep").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text('[tool.flash4gen]\ntemplates = ["mine"]\n')
    return tmp_path


def test_it_is_found_from_below_and_paths_are_relative_to_it(project: Path) -> None:
    for start in (project, project / "src", project / "src" / "deep"):
        assert project_templates(start) == ((project / "mine",), ())


def test_a_nearer_file_without_the_table_does_not_count(project: Path) -> None:
    (project / "src" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert project_templates(project / "src")[0] == (project / "mine",)


def test_nor_does_one_that_speaks_of_it(project: Path) -> None:
    (project / "src" / "pyproject.toml").write_bytes(b"# caf\xe9: no [tool.flash4gen] here\n")
    assert project_templates(project / "src")[0] == (project / "mine",)


def test_the_table_may_be_written_in_parts_and_lie_beside_other_encodings(project: Path) -> None:
    (project / "pyproject.toml").write_bytes(b"# caf\xe9\n[tool]\nflash4gen.templates = ['mine']\n")
    assert project_templates(project) == ((project / "mine",), ())


def test_a_nearer_file_with_the_table_does(project: Path) -> None:
    (project / "src" / "pyproject.toml").write_text("[tool.flash4gen]\n")
    assert project_templates(project / "src") == ((), ())


def test_paths_below_the_current_folder_are_written_from_there(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    ((folder,), _) = project_templates()
    assert str(folder) == "mine"


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("[tool.flash4gen]\ntemplates = [", "not TOML", "1:1"),
        ('[tool.flash4gen]\ntemplate = ["mine"]', "no setting `template`", "2:1"),
        ('[tool.flash4gen]\ntemplates = "mine"', "a list of folders", "2:1"),
        ("[tool.flash4gen]\ntemplates = [1]", "a list of folders", "2:1"),
        ("[tool]\nflash4gen = 3 # tool.flash4gen", "is a table", "2:17"),
        ("tool = 3 # tool.flash4gen", "is a table", "1:12"),
        ('[tool.flash4gen]\ntemplates = ["yours"]', "no folder `yours`", "2:15"),
        ('tool.flash4gen.templates = ["yours"]', "no folder `yours`", "1:30"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(
    project: Path, text: str, message: str, place: str
) -> None:
    (project / "pyproject.toml").write_text(text)
    one: Diagnostic
    _, (one,) = project_templates(project)
    assert one.code == "F4G807"
    assert message in one.message
    assert one.primary is not None
    assert str(one.primary.span) == f"{project / 'pyproject.toml'}:{place}"


def test_folders_need_not_be_there_for_who_makes_them(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.flash4gen]\ntemplates = ["yours"]')
    assert project_templates(project, made=False) == ((project / "yours",), ())


def test_files_that_cannot_be_read_are_passed_over(project: Path) -> None:
    (project / "src" / "pyproject.toml").write_bytes(b"\xff\xfe")
    assert project_templates(project / "src")[0] == (project / "mine",)
