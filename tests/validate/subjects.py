"""Small modules to validate: rendered, written to a folder, compiled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flash4gen.build.compile import compile_module
from flash4gen.ir import library
from flash4gen.ir.nodes import FieldSource, Pin
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice
from flash4gen.source import SourceFile
from flash4gen.validate import Subject
from tests.ir.notation import attention

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.render.module import RenderedModule

SPEC = SourceFile(
    "specs/local.attn", "heads = 4\nscore = softcap(s, 5)\nmask = causal and window\n"
)
FIELDS = (
    FieldSource("score", "softcap(s, 5)", SPEC.span(18, 31)),
    FieldSource("mask", "causal and window", SPEC.span(39, 56)),
)

PINS = (Pin("tile_q", 64), Pin("tile_k", 16), Pin("warps", 4), Pin("stages", 2))
"""Small tiles: compiled fast, and passed by small tensors."""

LOCAL = attention(
    name="local",
    heads=4,
    kv_heads=2,
    score="5.0 * tanh(s / 5.0)",
    mask="k <= q_end and q_end - k < 100",
    fields=FIELDS,
    pins=PINS,
)
"""A bit of everything: groups, a score, a mask with two edges and empty rows."""

FULL = attention(name="full", heads=2, kv_heads=1, pins=PINS)
"""Nothing is masked but what lies past the end of the keys."""


def choice_for(variant: Attention, target: str) -> Choice:
    """Choose the schedule; these variants fit everywhere."""
    choice = choose(variant, library.target(target))
    assert isinstance(choice, Choice)
    return choice


def written(
    variant: Attention, target: str, folder: Path, *changes: tuple[str, str]
) -> tuple[RenderedModule, Choice, Path]:
    """Write a module to a folder, its text changed by replacements that must find something."""
    choice = choice_for(variant, target)
    rendered = render(variant, library.target(target), choice)
    for old, new in changes:
        assert old in rendered.text, f"the templates no longer print {old!r}"
        rendered = replace(rendered, text=rendered.text.replace(old, new))
    path = folder / f"{variant.name}.py"
    path.write_text(rendered.text, encoding="utf-8")
    return rendered, choice, path


def subject(variant: Attention, target: str, folder: Path, *changes: tuple[str, str]) -> Subject:
    """Return a module that is written and compiled."""
    rendered, choice, path = written(variant, target, folder, *changes)
    hardware = library.target(target)
    return Subject(
        attention=variant,
        hardware=hardware,
        choice=choice,
        rendered=rendered,
        path=path,
        artefact=compile_module(path, variant, hardware),
    )
