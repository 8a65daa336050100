"""The model of time beside what was measured: errors that are reached, and pairs that are ranked.

Limits are those that a user of the numbers would ask for. What is not reached is asserted too, so
that the documentation cannot go on claiming a gap that was closed.
"""

from __future__ import annotations

import pytest

from flash4gen.schedule.blackwell.accuracy import Accuracy, Part, accuracy, limits, summary
from flash4gen.schedule.blackwell.pairs import Pair, ablations, mean_pairs, ratios


@pytest.fixture(scope="module")
def found() -> Accuracy:
    return accuracy()


@pytest.fixture(scope="module")
def pairs(found: Accuracy) -> dict[str, Pair]:
    return {pair.what: pair for pair in (*mean_pairs(ablations(found)), *ratios())}


def test_rows_that_are_predicted_were_not_fitted_to(found: Accuracy) -> None:
    fitted = {row.measured for row in found.of(Part.FITTED)}
    held_out = {row.measured for row in found.of(Part.HELD_OUT)}
    assert len(fitted) == len(held_out) == 13
    assert not fitted & held_out
    assert not any(row.measured.inferred for row in found.of(Part.FITTED, Part.HELD_OUT))


def test_the_one_constant_is_near_one(found: Accuracy) -> None:
    assert 0.9 < found.factor < 1.0  # the machine is a little slower than its parts


@pytest.mark.parametrize(("head_dim", "limit"), [(128, 0.10), (64, 0.15)])
def test_held_out_rows_are_predicted(found: Accuracy, head_dim: int, limit: float) -> None:
    rows = [row for row in found.of(Part.HELD_OUT) if row.measured.head_dim == head_dim]
    assert {row.measured.gpu for row in rows} >= {"GB300"}
    for row in rows:
        assert abs(found.error(row)) < limit, row.measured


def test_what_is_asked_of_named_boards_holds(found: Accuracy) -> None:
    asked = limits(found)
    assert [limit.most for limit in asked] == [0.10, 0.15, 0.15]
    assert sum(limit.rows for limit in asked[1:]) == len(found.of(Part.FITTED, Part.HELD_OUT))
    assert all(limit.holds for limit in asked), asked


def test_long_sequences_come_closest(found: Accuracy) -> None:
    rows = [
        row
        for row in found.of(Part.HELD_OUT)
        if row.measured.head_dim == 128 and row.measured.length >= 16384
    ]
    assert {row.measured.gpu for row in rows} == {"B200", "GB300"}
    assert all(abs(found.error(row)) < 0.06 for row in rows)


def test_ablations_are_ranked_and_sized(pairs: dict[str, Pair]) -> None:
    for what in ("no exp2 in software", "one query tile"):
        (pair,) = (pair for name, pair in pairs.items() if name.startswith(f"{what}, mean"))
        assert pair.sized, pair


def test_every_published_pair_is_ranked(pairs: dict[str, Pair]) -> None:
    assert len(pairs) == 6
    for pair in pairs.values():
        assert pair.ranked, pair


def test_heads_of_64_on_boards_of_unknown_make_are_not_predicted(found: Accuracy) -> None:
    rows = [row for row in found.of(Part.INFERRED) if row.measured.gpu == "GB200"]
    assert min(found.error(row) for row in rows) < -0.15


def test_latencies_that_are_off_by_a_fifth_change_little(found: Accuracy) -> None:
    for row in found.of(Part.FITTED, Part.HELD_OUT):
        low, high = found.spread(row)
        assert low <= found.modelled(row) <= high
        assert high / low < 1.06


def test_the_summary_counts(found: Accuracy) -> None:
    assert summary(found, Part.HELD_OUT).startswith("13 rows, off by ")
