"""A certificate with mutants stands as long as what is seen without them stays the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flash4gen.validate import Certificate, Rung, Status
from flash4gen.validate.certificate import REQUIRED, Json
from flash4gen.validate.standing import standing

SEEN = "10 shapes in 4 schedules: no race, deadlock or overrun"
REDUNDANT: dict[str, Json] = {"redundant": ["ttng.wait_barrier at module line 262, in 1 kernel"]}
PLAIN = Rung("concurrency", Status.PASSED, f"{SEEN}; mutants not run", REDUNDANT)
SCORED = Rung(
    "concurrency",
    Status.PASSED,
    f"{SEEN}; 597 mutants: 583 flagged, 14 redundant, 0 missed",
    REDUNDANT | {"mutants": {"all": 597, "missed": 0}},
)


def certificate(concurrency: Rung, **changes: object) -> Certificate:
    passed = tuple(Rung(name, Status.PASSED, "all is well") for name in REQUIRED)
    made = Certificate(
        name="small",
        target="b200",
        versions={"triton": "3.9.0"},
        provenance={"text": "ab"},
        schedule={"tile_q": 64},
        facts={"registers": 128, "share": 0.1},
        rungs=(*passed, concurrency),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_the_same_without_mutants_leaves_it() -> None:
    scored = certificate(SCORED)
    assert standing(certificate(PLAIN), scored.to_json()) == scored


@pytest.mark.parametrize(
    "made",
    [
        certificate(PLAIN, provenance={"text": "cd"}),
        certificate(PLAIN, versions={"triton": "3.9.1"}),
        certificate(PLAIN, facts={"registers": 130, "share": 0.1}),
        certificate(replace(PLAIN, summary="9 shapes in 4 schedules: nothing; mutants not run")),
        certificate(replace(PLAIN, details={"redundant": []})),
        certificate(replace(PLAIN, status=Status.FAILED)),
        certificate(SCORED, provenance={"text": "cd"}),
    ],
    ids=["text", "version", "binary", "shapes", "redundant", "failed", "scored anew"],
)
def test_whatever_differs_replaces_it(made: Certificate) -> None:
    assert standing(made, certificate(SCORED).to_json()) == made


@pytest.mark.parametrize("earlier", ["", "{}", "junk", '{"format": 1, "rungs": 5}'])
def test_what_is_no_certificate_is_replaced(earlier: str) -> None:
    made = certificate(PLAIN)
    assert standing(made, earlier) == made


def test_without_mutants_the_new_one_is_written() -> None:
    made = certificate(PLAIN)
    assert standing(made, certificate(PLAIN).to_json()) == made
