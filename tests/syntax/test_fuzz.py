"""No text whatever makes the parser or the lowering raise."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.diagnostics import Severity
from flash4gen.diagnostics.machine import render_json
from flash4gen.diagnostics.text import render_text
from flash4gen.driver import check_spec
from flash4gen.ir.lower import analyse
from flash4gen.resources import resource_dir
from flash4gen.source import SourceFile
from flash4gen.syntax import MAX_BYTES, formatted, read_source
from tests.syntax.texts import texts

SPECS = [
    path.read_text(encoding="utf-8")
    for path in (
        *sorted(resource_dir("specs").rglob("*.attn")),
        *sorted((Path(__file__).parent.parent / "errors").glob("*.attn")),
    )
]
VOCABULARY = (
    "attention hardware def schedule from requires and or not true false model use input extends"
    " layers repeat { } ( ) [ ] = == <= + - * ** / // % , : | # \" ' ; & ! ? . \n \t"
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


@st.composite
def overwritten(draw: st.DrawFn) -> str:
    """A text that follows the grammar, with a word of the language put somewhere."""
    text = draw(texts())
    at = draw(st.integers(0, len(text)))
    end = at + draw(st.sampled_from((0, 1, 5, 20)))
    return text[:at] + draw(st.sampled_from(WORDS)) + text[end:]


def survives(text: str) -> None:
    """Check that a text comes to items or to diagnostics, and can be formatted or is refused."""
    source = SourceFile("fuzz.attn", text)
    lowered = analyse(source)
    found = lowered.diagnostics
    assert render_text(found, color=True).count("\x1b[1m: ") == len(found)
    assert render_json(found)
    if not (lowered.attentions or lowered.hardware or lowered.models):
        defines = "def" in text or "use" in text
        assert defines or any(item.severity is Severity.ERROR for item in found)
    made = formatted(source)
    if isinstance(made, str):
        assert formatted(SourceFile("again.attn", made)) == made


INPUTS = {
    "any text": st.text(),
    "any words": st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join),
    "broken specs": mutations(),
    "grammar": texts(),
    "overwritten": overwritten(),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_nothing_comes_but_diagnostics(kind: str) -> None:
    settings(max_examples=60, deadline=None)(given(INPUTS[kind])(survives))()


@pytest.mark.slow
@pytest.mark.parametrize("kind", INPUTS)
def test_nothing_comes_but_diagnostics_ten_thousand_times(kind: str) -> None:
    settings(max_examples=10_000 // len(INPUTS), deadline=None)(given(INPUTS[kind])(survives))()


@pytest.mark.parametrize("name", ["größe", "имя", "注意", "a\u0301", "x\u200b", "ſ", "𝒂", "Ａ"])
def test_names_are_ascii(name: str) -> None:
    found = analyse(SourceFile("test.attn", f"attention {name} {{ }}")).diagnostics
    assert {str(item.code) for item in found} == {"F4G101"}
    assert "U+" in found[0].message


@pytest.mark.parametrize("bracket", ["(", "-", "not ", "abs(", "[", "1 + ", "k < ", "2 ** "])
def test_ten_thousand_levels(bracket: str) -> None:
    closing = {"(": ")", "[": "]"}.get(bracket[-1], "") * 10_000
    text = f"attention a {{ dtype = bf16  heads = 1  head_dim = 64  mask = {bracket * 10_000}k"
    found = analyse(SourceFile("test.attn", f"{text}{closing} }}")).diagnostics
    assert found
    assert {str(item.code) for item in found} <= {"F4G101", "F4G102", "F4G108", "F4G206", "F4G210"}


def test_ten_thousand_levels_of_layers() -> None:
    text = f"model m {{ layers 1 = {'[' * 10_000}a{']' * 10_000} }}"
    found = analyse(SourceFile("test.attn", text)).diagnostics
    assert [str(item.code) for item in found] == ["F4G108"]


def test_ten_megabytes_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "large.attn"
    path.write_text("def f() = true\n" * (10 * 2**20 // 15))
    found = read_source(path)
    assert isinstance(found, tuple)
    assert [str(item.code) for item in found] == ["F4G104"]
    (tmp_path / "small.attn").write_text('use "large.attn"')
    assert [str(item.code) for item in check_spec(tmp_path / "small.attn").diagnostics] == [
        "F4G104"
    ]


def test_as_much_as_is_allowed_is_read_in_time(tmp_path: Path) -> None:
    path = tmp_path / "much.attn"
    path.write_text("".join(f"def f{i}() = {i} < k\n" for i in range(4400)))
    assert MAX_BYTES * 0.8 < path.stat().st_size <= MAX_BYTES
    start = time.perf_counter()
    assert check_spec(path).ok
    assert time.perf_counter() - start < 60


def test_circles_of_files_of_every_length(tmp_path: Path) -> None:
    for length in (1, 2, 5, 31):
        for i in range(length):
            name = f"c{length}_{(i + 1) % length}.attn"
            (tmp_path / f"c{length}_{i}.attn").write_text(f'use "{name}"  def f{i}() = true')
        found = check_spec(tmp_path / f"c{length}_0.attn").diagnostics
        assert [str(item.code) for item in found] == ["F4G805"]


@pytest.mark.parametrize(
    "path", ["\t", "a\\b", "x" * 5000, "..", ".", "../..", "é.attn", "a.attn/"]
)
def test_paths_of_any_kind(path: str, tmp_path: Path) -> None:
    (tmp_path / "main.attn").write_text(f'use "{path}"', encoding="utf-8")
    found = check_spec(tmp_path / "main.attn").diagnostics
    assert {str(item.code) for item in found} <= {"F4G105", "F4G806", "F4G103", "F4G101"}
    assert found
