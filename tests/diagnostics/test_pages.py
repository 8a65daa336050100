"""`docs/errors`: a page for every code; each example, run, comes to that code and that text."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest

from flash4gen.diagnostics import Code
from flash4gen.diagnostics.text import render_text
from flash4gen.driver.model import Checked
from flash4gen.driver.plan import plan_spec
from flash4gen.ir.lower import analyse
from flash4gen.source import SourceFile
from tests.cli.running import flash4gen
from tests.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.diagnostics import Diagnostic
    from tests.golden_files import Golden

PAGES = ROOT / "docs" / "errors"
BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TEXT = re.compile(r"(?<=^```text\n).*?(?=^```$)", re.MULTILINE | re.DOTALL)
SHELL = [code for code in Code if "```console" in (PAGES / f"{code}.md").read_text("utf-8")]
SPEC = [code for code in Code if code not in SHELL]


def read(code: Code) -> str:
    return (PAGES / f"{code}.md").read_text(encoding="utf-8")


def findings(text: str) -> tuple[Diagnostic, ...]:
    """Return what is wrong with a spec; where nothing is, what is wrong with its schedule."""
    source = SourceFile("my.attn", text)
    found = analyse(source)
    if found.diagnostics:
        return found.diagnostics
    checked = Checked(source.name, source, found.attentions, found.hardware, ())
    return plan_spec(checked)[1]


def test_there_is_a_page_for_every_code_and_no_other() -> None:
    assert {path.name for path in PAGES.iterdir()} == {f"{code}.md" for code in Code}


@pytest.mark.parametrize("code", list(Code))
def test_a_page_says_what_the_code_means_and_what_to_do(code: Code) -> None:
    page = read(code)
    assert page.startswith(f"# {code}: {code.meaning}\n\n")
    example = page.index("\n## Example\n")
    fix = page.index("\n## What to do\n")
    assert len(page[len(code.meaning) + 12 : example]) > 40
    assert example < fix < len(page) - 40


@pytest.mark.parametrize("code", SPEC)
def test_an_example_comes_to_its_code_and_to_the_text_beneath_it(
    code: Code, golden: Golden
) -> None:
    page = read(code)
    ((_, _, text),) = (block for block in BLOCK.findall(page) if block[0] == "attn")
    found = findings(text)
    assert {item.code for item in found} == {code}
    golden(
        PAGES / f"{code}.md", TEXT.sub(lambda _: render_text(found).strip() + "\n", page, count=1)
    )


@pytest.mark.parametrize("code", SHELL)
def test_commands_come_to_their_code(
    code: Code, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each line after a `$` is run in a folder with the files of the page."""
    commands = []
    for kind, name, text in BLOCK.findall(read(code)):
        if name:
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif kind == "console":
            commands += re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    printed = ""
    for command in commands:
        if command.startswith("flash4gen "):
            printed += flash4gen(*shlex.split(command)[1:]).stderr
        else:
            subprocess.run(["sh", "-c", command], check=True)
    codes = re.findall(r"^(?:error|warning)\[(\w+)\]", printed, re.MULTILINE)
    echoes = {"F4G101"} if code is Code.TOO_MANY else set()  # the twenty before it
    assert str(code) in codes, printed
    assert set(codes) <= {str(code)} | echoes, printed
    assert "Traceback" not in printed
