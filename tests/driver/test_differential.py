"""Random valid specs, compiled for two targets: both kernels agree with the reference.

The few that run always are others than those of ``--slow`` and of the record
(``differential.py``). A number in a failure is the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_spec
from tests.driver.differential import is_fresh, outcomes, read_rows
from tests.driver.random_specs import random_spec

if TYPE_CHECKING:
    from pathlib import Path

FEW = range(1_000_000, 1_000_003)
MANY = range(300)


@pytest.mark.parametrize("seed", FEW)
def test_two_targets_agree_with_the_reference(seed: int, tmp_path: Path) -> None:
    rows = list(outcomes(seed, tmp_path))
    assert len(rows) == 2
    assert {row.outcome for row in rows} <= {"portable", "blackwell"}, random_spec(seed).text


@pytest.mark.slow
@pytest.mark.parametrize("seed", MANY)
def test_two_targets_agree_with_the_reference_300_times(seed: int, tmp_path: Path) -> None:
    failed = [row for row in outcomes(seed, tmp_path) if row.outcome == "failed"]
    assert not failed, random_spec(seed).text


def test_nothing_that_is_recorded_failed() -> None:
    assert not [row for row in read_rows() if row.outcome == "failed"]


@pytest.mark.slow
def test_everything_is_recorded_of_the_modules_of_today(tmp_path: Path) -> None:
    rows = read_rows()
    for seed in MANY:
        of_seed = [row for row in rows if row.seed == seed]
        assert is_fresh(of_seed, tmp_path), (
            f"run `python -m tests.driver.differential 0 300`: {seed}"
        )


def test_most_random_specs_are_valid_and_all_seeds_differ(tmp_path: Path) -> None:
    texts = [random_spec(seed).text for seed in MANY]
    assert len(set(texts)) > 0.98 * len(texts)
    valid = 0
    for text in texts[:100]:
        (tmp_path / "tiny.attn").write_text(text, encoding="utf-8")
        valid += check_spec(tmp_path / "tiny.attn").ok
    assert valid > 80
