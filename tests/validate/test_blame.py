"""From a line of a module to the function around it and to the spec behind it."""

from __future__ import annotations

from flash4gen.validate.blame import blame, function_at, spec_line

TEXT = """# --- score: softcap(s, 5) ------------------------------------------------ local.attn:2
def _score(s):
    return s


# --- softmax: online, in base 2 ----------------------------------------------------------
def _softmax(x):
    return x
"""


def test_the_nearest_banner_names_the_spec() -> None:
    assert spec_line(TEXT, [3]) == "local.attn:2"
    assert spec_line(TEXT, [8]) == ""


def test_a_section_without_a_spec_line_falls_back_on_its_caller() -> None:
    assert spec_line(TEXT, [8, 3]) == "local.attn:2"


def test_the_function_around_a_line_is_found() -> None:
    assert function_at(TEXT, 3) == "_score"
    assert function_at(TEXT, 5) == ""


def test_an_exception_leads_to_the_innermost_line_of_the_module() -> None:
    code = compile(TEXT.replace("return s", "return s / 0"), "/some/where/local.py", "exec")
    scope: dict[str, object] = {}
    exec(code, scope)
    try:
        scope["_score"](1)  # type: ignore[operator]
    except ZeroDivisionError as error:
        found = blame(error, "local.py", TEXT, "one query")
    assert found.reason == "one query: ZeroDivisionError: division by zero"
    assert (found.module_line, found.function, found.spec) == (3, "_score", "local.attn:2")


def test_an_exception_from_elsewhere_blames_no_line() -> None:
    found = blame(ValueError("first\n  last\n"), "local.py", TEXT)
    assert found.to_json() == {"reason": "ValueError: last"}
