"""`deterministic = true` for a pair of CTAs, and for heads that are multiplied in two parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import Pin
from flash4gen.schedule.backward.pipeline.model import PipelineSchedule, QuerySum
from flash4gen.validate.cases import Case
from flash4gen.validate.certificate import Status
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.validate.determinism import determinism_rung
from flash4gen.validate.order import IN_TURN
from flash4gen.validate.structure import compile_rung, schedule_rung
from tests.validate.subjects import subject
from tests.validate.training import FEW, assert_right, training

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate import Subject

LENGTHS = Case(name="several tiles", seq_q=300, seq_k=600)
"""Three tiles of keys for a pair of CTAs, of queries as well; the last of each with a rest."""

PAIR = {"pins": (Pin("gradient_ctas", 2),)}
SIZES: dict[str, dict[str, Any]] = {
    "a pair, 64": {**PAIR, "head_dim": 64, "value_dim": 64, "scale": 0.125},
    "a pair, 128": {**PAIR, "head_dim": 128, "value_dim": 128, "scale": 0.09},
    "a pair, 192 and 128": {**PAIR, "head_dim": 192, "value_dim": 128, "scale": 0.07},
    "192 and 128": {"head_dim": 192, "value_dim": 128, "scale": 0.07},
}
CAUSAL = {"mask": "k <= q_end"}
GROUP = {"heads": 2, "kv_heads": 1}
ALONE = {"heads": 1, "kv_heads": 1}


def in_turns(size: str, **changes: Any) -> Attention:
    """Return a small variant whose key tiles add to the gradient of q one after the other."""
    return training(**{"pins": (), "deterministic": True, **SIZES[size], **changes})


def built(variant: Attention, folder: Path) -> Subject:
    found = subject(variant, "b200", folder)
    assert found.choice.backward is not None
    schedule = found.choice.backward.schedule
    assert isinstance(schedule, PipelineSchedule)
    assert schedule.query_sum is QuerySum.ORDERED
    assert schedule.ctas == (2 if variant.pins else 1)
    return found


def silent(_what: str) -> None:
    """Take progress and say nothing."""


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_every_run_gives_the_same_bits_and_they_are_right(size: str, tmp_path: Path) -> None:
    found = built(in_turns(size, **GROUP, **CAUSAL), tmp_path)
    module = load_module(found.path)
    assert schedule_rung(found, module).failures == ()
    compiled = compile_rung(found)
    assert compiled.status is Status.PASSED
    assert compiled.details["deterministic"] == IN_TURN
    assert_right(found, LENGTHS, FEW)
    rung = determinism_rung(found, module, silent)
    assert rung.summary == "5 results, the same bits in 4 runs of every order"


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_a_key_tile_waits_for_the_one_before_it_whichever_that_is(
    size: str, tmp_path: Path
) -> None:
    """Of two ranges of queries a key tile visits some, and the one before it others."""
    mask = "k <= q_end and q_end - k < 40 or k < 4"
    found = built(in_turns(size, **GROUP, mask=mask), tmp_path)
    assert_right(found, LENGTHS)
    rung = determinism_rung(found, load_module(found.path), silent)
    assert rung.details["deterministic"] is True


@pytest.mark.slow
@pytest.mark.parametrize("size", ["a pair, 64", "a pair, 192 and 128", "192 and 128"])
def test_gradients_of_tensors_are_the_same_bits_too(size: str, tmp_path: Path) -> None:
    score = "s * temperature[h, q] + slopes[h] * float(k - q_end)"
    mask = "k <= q_end and docs[b, q_end] == docs[b, k]"
    found = built(in_turns(size, **GROUP, score=score, mask=mask), tmp_path)
    assert_right(found, LENGTHS)
    rung = determinism_rung(found, load_module(found.path), silent)
    assert rung.summary == "7 results, the same bits in 4 runs of every order"


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_no_mutant_is_missed(size: str, tmp_path: Path) -> None:
    found = built(in_turns(size, **ALONE), tmp_path)
    rung = concurrency_rung(found, load_module(found.path), silent, mutate=True)
    assert rung.status is Status.PASSED, rung.details
    score = rung.details["mutants"]
    assert isinstance(score, dict)
    assert score["missed"] == 0
