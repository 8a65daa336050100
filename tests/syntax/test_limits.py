"""Texts made to exhaust something end in a diagnostic, and soon."""

from __future__ import annotations

import pytest

from flash4gen.ir.lower import analyse
from flash4gen.source import SourceFile
from flash4gen.syntax import parse

ITEM = "attention a {{ dtype = bf16  heads = 1  head_dim = 64  score = {} }}"


def codes(text: str) -> list[str]:
    return [str(found.code) for found in analyse(SourceFile("test.attn", text)).diagnostics]


@pytest.mark.parametrize(
    "score",
    [
        "(" * 5000 + "s" + ")" * 5000,
        "s" + " + s" * 60,
        "abs(" * 60 + "s" + ")" * 60,
    ],
)
def test_long_is_fine(score: str) -> None:
    assert codes(ITEM.format(score)) == []


@pytest.mark.parametrize(
    "score",
    [
        "-" * 3000 + "s",
        "s" + " + s" * 3000,
        "2 ** " * 3000 + "s",
        "abs(" * 3000 + "s" + ")" * 3000,
        "where(not " * 500 + "true, s, s)" + ", s, s)" * 499,
    ],
)
def test_deep_is_refused(score: str) -> None:
    assert codes(ITEM.format(score)) == ["F4G108"]


def test_a_deep_function_is_lost_without_an_echo() -> None:
    assert codes(f"def f(x) = {'-' * 99}x\n" + ITEM.format("f(s)")) == ["F4G108"]


def test_depth_is_counted_through_calls() -> None:
    links = "".join(f"def f{i}(x) = 1 + f{i + 1}(x)\n" for i in range(200))
    assert codes(links + "def f200(x) = x\n" + ITEM.format("f0(s)")) == ["F4G108"]


def test_expansion_is_bounded() -> None:
    links = "".join(f"def f{i}(x) = f{i + 1}(x) + f{i + 1}(x)\n" for i in range(40))
    assert codes(links + "def f40(x) = x\n" + ITEM.format("f0(s)")) == ["F4G210"]
    assert codes(links + "def f40(x) = x\n" + ITEM.format("f0(s) + 1")) == ["F4G210"]


def test_recursion_is_found_in_long_chains() -> None:
    links = "".join(f"def f{i}() = f{i + 1}()\n" for i in range(2000))
    assert codes(links + "def f2000() = f0()\n") == ["F4G208"]


def test_a_text_of_nothing_but_errors_is_given_up() -> None:
    result = parse(SourceFile("test.attn", "attention ?\n" * 100))
    assert str(result.diagnostics[0].code) == "F4G110"
    assert result.file.damaged
