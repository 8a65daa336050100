"""What a diagnostic looks like: each picture here is the specification."""

from __future__ import annotations

import re
from textwrap import dedent

from flash4gen.diagnostics import Code, Diagnostic, Findings, Label, Severity
from flash4gen.diagnostics.text import render_text, summary
from flash4gen.source import SourceFile, Span

SOURCE = SourceFile("specs/big.attn", "one two three\nfour\nfive\nsix seven\n")


def at(word: str, source: SourceFile = SOURCE) -> Span:
    start = source.text.index(word)
    return source.span(start, start + len(word))


def error(primary: Label | None, *secondary: Label, note: str = "", help: str = "") -> Diagnostic:  # noqa: A002
    return Diagnostic(
        code=Code.HEADS,
        severity=Severity.ERROR,
        message="they do not fit",
        primary=primary,
        secondary=secondary,
        notes=(note,) if note else (),
        helps=(help,) if help else (),
    )


def picture(diagnostic: Diagnostic) -> str:
    return render_text([diagnostic])


def test_one_place() -> None:
    shown = picture(error(Label(at("two"), "this one"), note="a fact", help="another way"))
    assert shown == dedent("""\
        error[F4G303]: they do not fit
         --> specs/big.attn:1:5
          |
        1 | one two three
          |     ^^^ this one
          |
          = note: a fact
          = help: another way

        """)


def test_places_on_one_line_hang_beneath_each_other() -> None:
    shown = picture(
        error(Label(at("two"), "second"), Label(at("one"), "first"), Label(at("three"), "third"))
    )
    assert shown == dedent("""\
        error[F4G303]: they do not fit
         --> specs/big.attn:1:5
          |
        1 | one two three
          | --- ^^^ ----- third
          | |   |
          | |   second
          | first

        """)


def test_lines_between_are_left_out() -> None:
    shown = picture(error(Label(at("seven")), Label(at("two"), "because of this")))
    assert shown == dedent("""\
        error[F4G303]: they do not fit
         --> specs/big.attn:4:5
          |
        1 | one two three
          |     --- because of this
        ...
        4 | six seven
          |     ^^^^^

        """)


def test_a_single_line_between_is_shown() -> None:
    shown = picture(error(Label(at("five")), Label(at("one"))))
    assert "2 | four\n3 | five\n  | ^^^^\n" in shown


def test_another_file_has_its_own_frame() -> None:
    other = SourceFile("prelude.attn", "def causal() = true\n")
    shown = picture(error(Label(at("two")), Label(at("causal", other), "defined here")))
    assert shown == dedent("""\
        error[F4G303]: they do not fit
         --> specs/big.attn:1:5
          |
        1 | one two three
          |     ^^^
         ::: prelude.attn:1:5
          |
        1 | def causal() = true
          |     ------ defined here

        """)


def test_without_a_place() -> None:
    shown = picture(error(None, help="look elsewhere"))
    assert shown == "error[F4G303]: they do not fit\n = help: look elsewhere\n\n"


def test_tabs_wide_and_combining_letters_keep_the_underline_in_its_place() -> None:
    source = SourceFile("x", "\t漢字 e\u0301 two")
    shown = picture(error(Label(at("two", source))))
    assert "1 |     漢字 e\u0301 two\n  |            ^^^\n" in shown


def test_control_characters_never_reach_the_terminal() -> None:
    source = SourceFile("x", "a\x1b[31m\x07\u202etwo")
    shown = picture(error(Label(at("two", source))))
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", shown)
    assert "1 | a�[31m��two\n  |         ^^^\n" in shown


def test_very_long_lines_are_cut_around_the_place() -> None:
    source = SourceFile("x", "a" * 500 + "two" + "b" * 500)
    lines = picture(error(Label(at("two", source)))).split("\n")
    assert all(len(line) < 180 for line in lines)
    assert lines[3].index("two") == lines[4].index("^^^")
    assert lines[3].endswith("…")


def test_a_place_at_the_end_of_the_text_is_one_column_wide() -> None:
    source = SourceFile("x", "ab")
    assert "1 | ab\n  |   ^\n" in picture(error(Label(source.span(2, 2))))


def test_a_place_over_several_lines_is_marked_on_its_first() -> None:
    span = SOURCE.span(at("three").start, at("four").end)
    assert "1 | one two three\n  |         ^^^^^\n" in picture(error(Label(span)))


def test_colour_changes_nothing_but_colour() -> None:
    found = error(Label(at("two"), "this"), Label(at("seven"), "that"), note="n", help="h")
    colored = render_text([found], color=True)
    assert "\x1b[1;31m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render_text([found])


def test_findings_are_ordered_and_unique() -> None:
    findings = Findings()
    findings.error(Code.HEADS, "later", at("seven"))
    findings.warning(Code.NEVER, "nowhere", None)
    findings.error(Code.HEADS, "sooner", at("one"))
    findings.error(Code.HEADS, "later", at("seven"))
    assert [found.message for found in findings.in_order()] == ["nowhere", "sooner", "later"]
    assert findings.errors == 2
    assert summary(findings.in_order()) == "2 errors, 1 warning"
    assert summary(()) == ""
