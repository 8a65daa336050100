"""`docs/language.md` is complete, and its examples are right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flash4gen.diagnostics.text import render_text
from flash4gen.ir import library, lower_attention, lower_hardware, lower_models
from flash4gen.ir.hardware import Feature
from flash4gen.ir.lower import Lowered, analyse
from flash4gen.ir.lower_functions import BUILTINS, CONSTANTS, VARIABLES
from flash4gen.source import SourceFile
from flash4gen.syntax.mistakes import RESERVED

PAGE = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)((?: \S+)?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ATTN = [(mark.strip(), text) for kind, mark, text in BLOCKS if kind == "attn"]
ITEMS = [text for mark, text in ATTN if mark != "fields"]
FIELDS = [text for mark, text in ATTN if mark == "fields"]
FILES = {mark.removeprefix("file="): text for mark, text in ATTN if mark.startswith("file=")}
NEEDED = {"dtype": "bf16", "heads": "8", "head_dim": "64"}


def checked(text: str, name: str = "docs/language.md") -> Lowered:
    lowered = analyse(SourceFile(name, text))
    assert render_text(lowered.diagnostics) == ""
    return lowered


@pytest.mark.parametrize("text", ITEMS)
def test_items_in_the_page_are_right(text: str, tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    lowered = checked(text, str(tmp_path / "page.attn"))
    assert lowered.attentions or lowered.hardware


@pytest.mark.parametrize("text", FIELDS)
def test_fields_in_the_page_are_right(text: str) -> None:
    missing = "".join(
        f"{name} = {value}\n"
        for name, value in NEEDED.items()
        if not re.search(rf"^{name}\b", text, re.MULTILINE)
    )
    assert checked(f"attention a {{\n{missing}{text}}}").attentions


def test_the_first_example_is_the_shipped_spec() -> None:
    shipped = checked(library.spec_path("gemma2_9b_local").read_text(encoding="utf-8"))
    assert checked(ITEMS[0]).attentions == shipped.attentions


@pytest.mark.parametrize(
    "name",
    sorted(
        {
            *lower_attention.FIELDS,
            *lower_hardware.FIELDS,
            *lower_models.FIELDS,
            *Feature,
            *BUILTINS,
            *CONSTANTS,
        }
        | {*VARIABLES, *RESERVED, *library.prelude().table}
    ),
)
def test_everything_is_described(name: str) -> None:
    assert re.search(rf"`{name}\b", PAGE), f"docs/language.md does not mention `{name}`"


def test_the_message_in_the_page_is_the_one_that_is_printed() -> None:
    text = "attention a {\n dtype = bf16\n heads = 1\n head_dim = 64\n    mask = window(4096)\n}\n"
    (found,) = analyse(SourceFile("my.attn", text)).diagnostics
    assert render_text([found]).strip() in PAGE
