"""No text whatever makes the parser or the lowering raise."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.diagnostics import Severity
from flash4gen.diagnostics.machine import render_json
from flash4gen.diagnostics.text import render_text
from flash4gen.ir.lower import analyse
from flash4gen.resources import resource_dir
from flash4gen.source import SourceFile

SPECS = [
    path.read_text(encoding="utf-8")
    for path in (
        *sorted(resource_dir("specs").rglob("*.attn")),
        *sorted((Path(__file__).parent.parent / "errors").glob("*.attn")),
    )
]
VOCABULARY = (
    "attention hardware def schedule from requires and or not true false model use input extends"
    " { } ( ) [ ] = == <= + - * ** / // % , : | # \" ' ; & ! ? . \n \t"
    " 0 1 2.5 1e999 99999999999 16 228 KiB TB/s s q k h b q_end seq_k causal window softcap where"
    " min exp heads head_dim scale mask score target b200 bf16 align end keys é \u202e \x00 漢"
)
WORDS = VOCABULARY.split(" ")


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A valid or nearly valid spec with a few stretches cut out, moved or overwritten."""
    text = draw(st.sampled_from(SPECS))
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from((0, 1, 3, 12, 80)))
        words = draw(st.lists(st.sampled_from(WORDS), max_size=4))
        moved = draw(st.integers(0, len(text)))
        inserted = " ".join(words) if words else text[moved : moved + 60]
        text = text[:start] + inserted + text[end:]
    return text


def survives(text: str) -> None:
    lowered = analyse(SourceFile("fuzz.attn", text))
    found = lowered.diagnostics
    assert render_text(found, color=True).count("\x1b[1m: ") == len(found)
    assert render_json(found)
    if not (lowered.attentions or lowered.hardware):
        has_definitions = "def" in text
        assert has_definitions or any(item.severity is Severity.ERROR for item in found)


@settings(max_examples=150, deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    survives(text)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join))
def test_any_words(text: str) -> None:
    survives(text)


@settings(max_examples=150, deadline=None)
@given(mutations())
def test_broken_specs(text: str) -> None:
    survives(text)
