"""`flash4gen fmt`: one text for one tree; nothing lost, nothing changed by a second time."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings

from flash4gen import syntax
from flash4gen.resources import resource_dir
from flash4gen.source import SourceFile, Span
from flash4gen.syntax import formatted, parse
from flash4gen.syntax.layout import layout
from flash4gen.syntax.tokens import WIDTH, tokenise
from tests.syntax.texts import texts

SHIPPED = [
    *sorted(resource_dir("specs").rglob("*.attn")),
    Path(syntax.__file__).with_name("prelude.attn"),
]


def tree(text: str) -> object:
    """Return a text's tree without its places."""
    result = parse(SourceFile("test.attn", text))
    assert not [one for one in result.diagnostics if str(one.code) != "F4G108"]
    return bare(result.file.items)


def bare(node: object) -> object:
    if isinstance(node, tuple):
        return tuple(map(bare, node))
    if not is_dataclass(node):
        return node
    inner = [getattr(node, field.name) for field in fields(node) if field.name != "span"]
    return (type(node).__name__, *(bare(one) for one in inner if not isinstance(one, Span)))


@settings(max_examples=60, deadline=None)
@given(texts())
@example("def a(a)\n\n\n= #\na")
@example('use #\n\n"\t"')
@example("def f(x) = - - x\n\n\n# end")
@example("attention a {\n# only\n}")
@example("model m { layers 4 = 2 * [a, # one\n b] }")
def test_the_tree_and_the_comments_stay_and_a_second_time_changes_nothing(text: str) -> None:
    made = layout(text)
    assert tree(made) == tree(text)
    assert [one.text for one in tokenise(made).comments] == [
        one.text for one in tokenise(text).comments
    ]
    assert layout(made) == made
    assert not any(line != line.rstrip() for line in made.split("\n"))
    assert made.endswith("\n") or not made
    assert "\n\n\n" not in made


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_shipped_is_in_canonical_form(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert layout(text) == text


@pytest.mark.parametrize(
    ("written", "made"),
    [
        ("def f( x,*,n=2,to:l|r=l )requires n>0=-x**2*( n-1 )", None),
        (
            "attention a{heads=4 head_dim=192/128}",
            "attention a { heads = 4  head_dim = 192 / 128 }",
        ),
        (
            "attention a {heads=4 head_dim=64 # why\nmask=k<4\n\n\ndtype=bf16}",
            "attention a {\n    heads    = 4\n    head_dim = 64  # why\n    mask     = k < 4\n\n"
            "    dtype    = bf16\n}",
        ),
        (
            'hardware h extends b {\nsms=1 from"x" clock_mhz=2GHz from"y"\nfeatures=[a] from"z"}',
            'hardware h extends b {\n    sms       = 1     from "x"\n'
            '    clock_mhz = 2 GHz from "y"\n    features = [a]\n        from "z"\n}',
        ),
        ("model m{layers 8=repeat[5*a,b],2*a}", "model m { layers 8 = repeat [5 * a, b], 2 * a }"),
        ('use   "a.attn"   # b', 'use "a.attn"  # b'),
        ("# a\n\n\n\n# b\ndef f() = 1", "# a\n\n# b\ndef f() = 1"),
    ],
)
def test_forms(written: str, made: str | None) -> None:
    made = made or "def f(x, *, n = 2, to : l | r = l) requires n > 0 = -x ** 2 * (n - 1)"
    assert layout(written) == made + "\n"


def test_long_lines_break_at_the_loosest_operator() -> None:
    names = " and ".join(f"window(keys = {i}{i}{i}{i}{i}) or h < {i}" for i in range(9))
    made = layout(f"attention a {{\n mask = {names} \n}}")
    lines = made.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert all(line.lstrip().startswith(("and ", "or ")) for line in lines[2:-1])


def test_a_text_that_breaks_the_grammar_is_refused() -> None:
    found = formatted(SourceFile("test.attn", "attention a {"))
    assert isinstance(found, tuple)
    assert [str(one.code) for one in found] == ["F4G102"]


def test_what_a_field_means_is_not_asked() -> None:
    assert formatted(SourceFile("test.attn", "attention a { colour=red }")) == (
        "attention a { colour = red }\n"
    )
