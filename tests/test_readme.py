"""The README shows what is there: the spec is the file, the excerpt is in the module."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.project import GENERATED, ROOT

if TYPE_CHECKING:
    import pytest

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_spec_is_the_shipped_one() -> None:
    spec = (ROOT / "specs" / "gemma2_9b_local.attn").read_text(encoding="utf-8")
    assert ("", spec) in BLOCKS


def test_the_excerpt_is_what_comes_out() -> None:
    module = (GENERATED / "b200" / "gemma2_9b_local.py").read_text(encoding="utf-8")
    (excerpt,) = (text for _, text in BLOCKS if "@gluon.jit" in text)
    for part in excerpt.split("...\n"):
        assert part.strip("\n") in module


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert links
    assert all((ROOT / link).exists() for link in links)


def test_the_commands_exist() -> None:
    from flash4gen.cli.app import COMMANDS

    named = set(re.findall(r"^flash4gen (\w+)", README, re.MULTILINE))
    assert named == set(COMMANDS)


def test_every_command_but_one_has_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    from flash4gen.cli.app import COMMANDS, run

    assert "Every command but `fmt` takes `--format json`." in README
    for name in COMMANDS:
        run([name, "--help"])
        assert ("--format <text|json>" in capsys.readouterr().out) == (name != "fmt")
