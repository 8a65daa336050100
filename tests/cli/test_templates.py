"""`flash4gen templates`, and the way that docs/templates.md walks with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import flash4gen
from tests.project import ROOT, TEMPLATES

PAGE = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
STEP = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.flash4gen]\ntemplates = ["mine"]\n')
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    return tmp_path


def test_list_shows_every_template_and_where_it_is_from(project: Path) -> None:
    flash4gen("templates", "new", "softmax", "online")
    rows = flash4gen("templates", "list", "--format", "json").document["templates"]
    assert len(rows) == len(list(TEMPLATES.rglob("*.j2")))
    row = next(row for row in rows if row["name"] == "softmax/online")
    assert row["from"] == str(project / "mine")
    assert row["exports"] == ["define", "call"]
    assert {row["from"] for row in rows} == {"shipped", str(project / "mine")}
    assert "softmax/online" in flash4gen("templates", "list").stdout


@pytest.mark.parametrize(
    "name", ["softmax/online", "concern/softmax/online", "concern/softmax/online.py.j2"]
)
def test_where_names_the_file_that_is_used_and_what_it_hides(project: Path, name: str) -> None:
    shipped = TEMPLATES / "concern" / "softmax" / "online.py.j2"
    assert flash4gen("templates", "where", name, "--template-dir", ".").code == 1  # no folder yet
    flash4gen("templates", "new", "softmax", "online")
    ended = flash4gen("templates", "where", name)
    assert Path(ended.stdout.strip()) == project / "mine" / "concern" / "softmax" / "online.py.j2"
    assert str(shipped) in ended.stderr
    ended = flash4gen("templates", "where", f"builtin/{name}")
    assert Path(ended.stdout.strip()) == shipped


def test_where_knows_what_is_near(project: Path) -> None:
    (project / "mine").mkdir()
    ended = flash4gen("templates", "where", "softmax/onlin")
    assert ended.code == 1
    assert "did you mean `softmax/online`?" in ended.stderr


def test_new_writes_once_and_never_over_a_file(project: Path) -> None:
    ended = flash4gen("templates", "new", "epilogue", "store")
    file = Path(ended.stdout.strip())
    assert ended.code == 0
    assert file == project / "mine" / "concern" / "epilogue" / "store.py.j2"
    file.write_text("mine")
    again = flash4gen("templates", "new", "epilogue", "store")
    assert again.code == 1
    assert "F4G801" in again.stderr
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("new", "softmax"), "templates new KIND NAME"),
        (("where",), "templates where NAME"),
        (("list", "all"), "templates list"),
        (("new", "softmax", "online"), "--template-dir DIR"),
        (("list", "--template-dir", "none"), "there is no folder none"),
    ],
)
def test_a_command_line_that_makes_no_sense(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = flash4gen("templates", *arguments)
    assert ended.code == 2
    assert message in " ".join(ended.stderr.split())


def test_what_is_no_kind_is_refused(project: Path) -> None:
    ended = flash4gen("templates", "new", "sofmax", "online", "--format", "json")
    assert ended.code == 1
    assert ended.codes == ["F4G612"]


def test_a_folder_that_the_project_names_must_be_there(project: Path) -> None:
    for command in (("list",), ("where", "softmax/online")):
        ended = flash4gen("templates", *command)
        assert ended.code == 1
        assert "F4G807" in ended.stderr
    ended = flash4gen("compile", ROOT / "specs" / "full.attn", "--format", "json")
    assert ended.codes == ["F4G807"]


def test_modules_made_with_a_projects_templates_are_fresh_with_them_alone(project: Path) -> None:
    spec = ROOT / "specs" / "full.attn"
    flash4gen("templates", "new", "score", "identity")
    compiled = flash4gen("compile", spec, "--target", "h100", "-o", "made", "--no-validate")
    assert compiled.code == 0, compiled.stderr
    check = ("compile", spec, "--target", "h100", "-o", "made", "--check", "--format", "json")
    (project / "below" / "made" / "h100" / "full.certificate.json").write_text("{}")
    messages = [item["message"] for item in flash4gen(*check).document["diagnostics"]]
    assert all("certifies another version" in message for message in messages)
    (project / "pyproject.toml").unlink()
    assert flash4gen(*check).document["diagnostics"][0]["message"].endswith("compiles to now")


def test_the_walk_through_comes_to_a_proven_kernel(tmp_path: Path) -> None:
    """Files are written and commands run in the order of docs/templates.md."""
    program = tmp_path / "bin" / "flash4gen"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m flash4gen "$@"\n')
    program.chmod(0o755)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    folder = tmp_path / "empty"
    folder.mkdir()
    for kind, name, text in STEP.findall(PAGE.partition("\n## Commands")[0]):
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        elif kind == "console":
            for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE):
                ended = subprocess.run(
                    ["sh", "-c", line],
                    cwd=folder, env=env, capture_output=True, text=True, check=False,
                )  # fmt: skip
                assert ended.returncode == 0, ended.stderr
                assert "warning" not in ended.stderr
    module = (folder / "generated" / "h100" / "my_attention.py").read_text(encoding="utf-8")
    assert "def _guard(x):" in module
    assert "x = _guard(s)" in module
    assert (folder / "generated" / "h100" / "my_attention.certificate.json").is_file()


def test_the_walk_through_ends_with_the_override_that_the_tests_keep() -> None:
    blocks = {name: text for kind, name, text in STEP.findall(PAGE) if kind == "jinja"}
    kept = ROOT / "tests" / "overrides" / "guard"
    for name, text in blocks.items():
        assert text == (kept / Path(name).relative_to("my_templates")).read_text(encoding="utf-8")
    assert len(blocks) == 3
