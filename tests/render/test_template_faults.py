"""Mistakes in templates of users: each is a message with a place in the template."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.diagnostics import Diagnostic, DiagnosticError, Findings, Severity
from flash4gen.driver import check_spec, compile_spec, plan_spec
from flash4gen.driver.build import Run, build_once
from flash4gen.driver.run import check_fresh
from flash4gen.render.module import render
from flash4gen.render.overrides import check_overrides
from tests.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.driver import Plan

SCORE = "concern/score/identity.py.j2"
SKELETON = "skeleton/portable_forward.py.j2"
PLAIN = "{% macro define(c) %}{% endmacro %}\n{% macro call(c) %}s{% endmacro %}\n"


@pytest.fixture(scope="module")
def plan() -> Plan:
    plans, problems = plan_spec(check_spec(ROOT / "specs" / "llama3_8b.attn"), ["rtx5090"])
    assert not problems
    return plans[0]


def put(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return folder


def found(plan: Plan, folder: Path) -> tuple[Diagnostic, ...]:
    """Return what is found before rendering; if nothing is, what rendering comes to."""
    if before := check_overrides([folder]):
        return before
    try:
        render(plan.attention, plan.hardware, plan.choice, [folder])
    except DiagnosticError as error:
        return error.diagnostics
    return ()


@pytest.mark.parametrize(
    ("name", "text", "code", "line", "column", "message"),
    [
        (SCORE, PLAIN + "{% if %}", "F4G611", 3, 1, "Expected an expression"),
        (SCORE, PLAIN + "{{ 'a'|nothing }}", "F4G611", 3, 1, "No filter named 'nothing'"),
        (SCORE, PLAIN.replace("s{%", "{{ ctx }}{%"), "F4G612", 2, 23, "`ctx` is not defined"),
        (SCORE, PLAIN.replace("s{%", "{{ c.a }}{%"), "F4G612", 2, 25, "`Score` has no field `a`"),
        (SCORE, PLAIN + '{% import "nope" as n %}', "F4G612", 3, 1, "no template `nope`"),
        (
            SCORE,
            '{% import "builtin/concern/score/expr.py.j2" as e %}\n'
            + PLAIN.replace("s{%", "{{ e.cal(c) }}{%"),
            "F4G612", 3, 25, "no macro `cal`",
        ),
        (
            SCORE,
            '{% from "builtin/concern/score/expr.py.j2" import cal %}\n'
            + PLAIN.replace("s{%", "{{ cal(c) }}{%"),
            "F4G612", 3, 23, "no macro `cal`",
        ),
        (SCORE, PLAIN.partition("\n")[2], "F4G613", 1, 1, "lacks the macro `define(c)`"),
        (SCORE, PLAIN.replace("call(c)", "call()"), "F4G613", 2, 10, "arguments of `call(c)`"),
        (SCORE, "{# concern: score | api: 7 #}\n" + PLAIN, "F4G614", 1, 26, "version 7"),
        (SCORE, PLAIN.replace("s{%", "{{ 1 + 'a' }}{%"), "F4G615", 2, 1, "TypeError"),
        (SCORE, PLAIN.replace("s{%", "{{ call(c, c, c) }}{%"), "F4G615", 2, 1, "TypeError"),
        (SKELETON, f'{{% extends "{SKELETON}" %}}', "F4G615", 1, 1, "without end"),
        (SCORE, PLAIN.replace("s{%", "_guard({{ 's' }}{%"), "F4G615", 2, 1, "'(' was never closed"),
        (SCORE, PLAIN.replace("s{%", ",{%"), "F4G615", 1, 1, "invalid syntax"),
        ("concern/score/idntity.py.j2", PLAIN, "F4G616", 1, 1, "nothing uses"),
        (
            SKELETON,
            f'{{% extends "builtin/{SKELETON}" %}}\n{{% block kernl %}}{{% endblock %}}',
            "F4G616", 2, 10, "no skeleton prints the block `kernl`",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_a_message_that_points_into_the_template(
    plan: Plan,
    tmp_path: Path,
    name: str,
    text: str,
    code: str,
    line: int,
    column: int,
    message: str,
) -> None:
    put(tmp_path, name, text)
    (one,) = found(plan, tmp_path)
    assert one.code == code
    assert message in one.message
    assert one.primary is not None
    span = one.primary.span
    assert span.source.name == str(tmp_path / name)
    assert (span.line, span.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "code", "line", "message"),
    [
        (PLAIN.replace("{% endm", "import nothing_such\n{% endm", 1), "F4G615", 1, "nothing_such"),
        (PLAIN.replace("s{%", "tl.nothing_such(s){%"), "F4G601", 2, "nothing_such"),
    ],
)
def test_what_was_printed_and_cannot_be_used_points_at_the_template(
    plan: Plan, tmp_path: Path, text: str, code: str, line: int, message: str
) -> None:
    put(tmp_path, SCORE, text)
    findings = Findings()
    run = Run(tmp_path / "out", (tmp_path,), lambda _: None)
    assert build_once(plan, run, tmp_path / "scratch", findings) is None
    (one,) = findings.in_order()
    assert one.code == code
    assert message in one.message
    assert one.primary is not None
    assert one.primary.span.source.name == str(tmp_path / SCORE)
    assert one.primary.span.line == line


def test_a_shipped_template_that_fails_for_an_override_is_shown_beside_it(
    plan: Plan, tmp_path: Path
) -> None:
    text = PLAIN.replace("s{%", "{{ e.define() }}{%")
    put(tmp_path, SCORE, f'{{% import "builtin/concern/score/expr.py.j2" as e %}}\n{text}')
    (one,) = found(plan, tmp_path)
    assert one.primary is not None
    assert one.primary.span.source.name == str(tmp_path / SCORE)
    (inner,) = one.secondary
    assert inner.span.source.name.endswith("templates/concern/score/expr.py.j2")


def test_a_template_in_another_encoding_and_no_echo_of_what_it_imports(tmp_path: Path) -> None:
    put(tmp_path, "concern/mine/plain.py.j2", "{% macro a() %}{% endmacro %}")
    file = put(tmp_path, SCORE, "") / SCORE
    file.write_bytes(b"{# caf\xe9 #}\n" + PLAIN.encode())
    (one,) = check_overrides([tmp_path])
    assert (one.code, one.message) == ("F4G611", "byte 6 of this template is not UTF-8")
    assert one.primary is not None
    assert one.primary.span.line == 1


def test_names_that_are_set_count_as_macros(tmp_path: Path) -> None:
    text = '{% import "builtin/concern/score/identity.py.j2" as s %}{% set define = s.define %}'
    put(tmp_path, SCORE, text + "\n{% macro call(c, more=1) %}s{% endmacro %}")
    assert check_overrides([tmp_path]) == ()


def test_a_file_that_another_imports_is_used(tmp_path: Path) -> None:
    put(tmp_path, "concern/mine/plain.py.j2", "{% macro a() %}{% endmacro %}")
    (one,) = check_overrides([tmp_path])
    assert one.severity is Severity.WARNING
    put(tmp_path, SCORE, '{% import "concern/mine/plain.py.j2" as mine %}\n' + PLAIN)
    assert check_overrides([tmp_path]) == ()
    put(tmp_path, SCORE, '{% import "concern/mine/" ~ "plain.py.j2" as mine %}\n' + PLAIN)
    assert check_overrides([tmp_path]) == ()


def test_a_call_of_the_score_that_the_kernel_does_not_print_is_warned_of(tmp_path: Path) -> None:
    """Warp-specialised kernels score where they take maxima; there `row_max` can be changed."""
    (plan,), _ = plan_spec(check_spec(ROOT / "specs" / "full.attn"), ["b200"])
    shipped = '{% import "builtin/concern/score/identity.py.j2" as shipped %}\n'

    def warnings() -> list[str]:
        made = render(plan.attention, plan.hardware, plan.choice, [tmp_path])
        return [f"{one.code}: {one.message}" for one in made.warnings]

    put(tmp_path, SCORE, shipped + PLAIN.replace("s{%", "{{ shipped.call(c) }}{%"))
    assert warnings() == []
    put(tmp_path, SCORE, shipped + PLAIN.replace("s{%", "{{ shipped.call(c) }} * 2{%"))
    (one,) = warnings()
    assert one == "F4G616: warp-specialised kernels do not print the `call` of `score`"
    guard = ROOT / "tests" / "overrides" / "guard"
    made = render(plan.attention, plan.hardware, plan.choice, [guard])
    assert made.warnings == ()
    assert "part = _guard(part)" in made.text


def test_a_fault_without_templates_of_users_is_ours(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flash4gen.render import environment

    def broken(*_: object) -> str:
        raise ValueError("ours")

    monkeypatch.setattr(environment, "rule", broken)
    monkeypatch.setattr(environment, "_shipped_alone", lambda: environment._made(()))
    with pytest.raises(ValueError, match="ours"):
        render(plan.attention, plan.hardware, plan.choice)


def test_no_module_is_written_and_none_is_called_fresh(tmp_path: Path) -> None:
    spec = ROOT / "specs" / "llama3_8b.attn"
    folder = put(tmp_path / "mine", SCORE, PLAIN.replace("s{%", "{{ nothing }}{%"))
    options = {"targets": ["rtx5090"], "template_dirs": [folder]}
    result = compile_spec(spec, out=tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not result.ok
    assert [str(one.code) for one in result.diagnostics] == ["F4G612"]
    assert not list((tmp_path / "out").rglob("*.py"))
    there = check_fresh(spec, out=ROOT / "generated", **options)  # type: ignore[arg-type]
    assert [str(one.code) for one in there] == ["F4G612"]
