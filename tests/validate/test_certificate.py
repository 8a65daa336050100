"""Certificates: what counts as passed, and a JSON form that loses nothing."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flash4gen.source import SourceFile
from flash4gen.validate import Certificate, Rung, Status, findings, from_json, summary_rows
from flash4gen.validate.certificate import REQUIRED, Json, number

PASSED = tuple(Rung(name, Status.PASSED, "all is well") for name in REQUIRED)
UNCLIMBED = Rung("device", Status.NOT_RUN, "there is no CUDA device here")
FAILED = Rung(
    "function",
    Status.FAILED,
    "7 of 26 cases failed",
    {"failures": [{"reason": f"case {n}", "module_line": 10 + n} for n in range(7)]},
)
CERTIFICATE = Certificate(
    name="small",
    target="b200",
    versions={"torch": "2"},
    provenance={"spec": "ab"},
    schedule={"tile_q": 64},
    facts={"registers": 128, "tensor_instructions": {"HMMA": 2}},
    rungs=(*PASSED, UNCLIMBED),
)


def test_a_rung_that_was_not_run_is_not_green() -> None:
    assert CERTIFICATE.passed
    status = {name: status for name, status, _ in summary_rows(CERTIFICATE)}
    assert status["device"] is Status.NOT_RUN
    assert json.loads(CERTIFICATE.to_json())["rungs"][-1]["status"] == "not run"


@pytest.mark.parametrize("name", REQUIRED)
def test_every_required_rung_must_be_climbed(name: str) -> None:
    skipped = tuple(
        replace(rung, status=Status.NOT_RUN) if rung.name == name else rung for rung in PASSED
    )
    missing = tuple(rung for rung in PASSED if rung.name != name)
    assert not replace(CERTIFICATE, rungs=skipped).passed
    assert not replace(CERTIFICATE, rungs=missing).passed


def test_a_failed_device_rung_fails_the_whole() -> None:
    failed = replace(UNCLIMBED, status=Status.FAILED)
    assert not replace(CERTIFICATE, rungs=(*PASSED, failed)).passed


def test_the_json_form_round_trips() -> None:
    text = CERTIFICATE.to_json()
    assert from_json(text) == CERTIFICATE
    assert from_json(text).to_json() == text
    assert text.endswith("}\n")


def test_a_case_is_a_row() -> None:
    case: dict[str, Json] = {
        "case": "one query",
        "out": [0.1, 0.2],
        "values": "normal",
        "passed": True,
    }
    rung = Rung("function", Status.PASSED, "", {"cases": [case, case]})
    text = replace(CERTIFICATE, rungs=(rung,)).to_json()
    assert sum('"case": "one query", "out": [0.1, 0.2]' in line for line in text.split("\n")) == 2


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 99}', '{"format": 1, "name": "x"}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="certificate"):
        from_json(text)


def test_numbers_have_three_digits_and_json_has_no_nan() -> None:
    assert number(0.0123456) == 0.0123
    assert number(float("nan")) == "nan"
    assert number(float("inf")) == "inf"


def test_a_failed_rung_becomes_a_diagnostic_at_the_spec() -> None:
    spec = SourceFile("small.attn", "attention small {}\n")
    found = findings(replace(CERTIFICATE, rungs=(*PASSED[:3], FAILED)), spec.span(10, 15))
    assert [item.code for item in found] == ["F4G701"]
    assert found[0].message == "b200/small failed the rung function: 7 of 26 cases failed"
    assert found[0].notes[0] == "case 0 (small.py:10)"
    assert found[0].notes[-1] == "and 2 more"
    assert found[0].primary is not None
    assert str(found[0].primary.span) == "small.attn:1:11"


def test_nothing_is_said_about_a_certificate_that_passed() -> None:
    assert findings(CERTIFICATE, None) == ()
