"""One loop over the queries of all heads of a group: gradients of keys, on the virtual GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.schedule.backward.heads import HeadLoop
from flash4gen.schedule.backward.model import as_loops
from flash4gen.validate.cases import Case
from tests.long_matrix import slow
from tests.validate.training import assert_right, compiled, training, written

if TYPE_CHECKING:
    from pathlib import Path

CASES = (
    Case(name="several tiles", batch=2, seq_q=71, seq_k=53),
    Case(name="less than a tile", seq_q=5, seq_k=9),
)

VARIANTS = {
    "a score that knows its head": training(
        score="s - 0.25 * float((h + 1) * abs(q_end - k))", mask="k <= q_end"
    ),
    "documents": training(mask="q_docs[b, q] == docs[b, k] and k <= q_end"),
    "groups of three": training(heads=6, kv_heads=2, mask="k <= q_end and q_end - k < 40"),
    "two ranges of queries": training(mask="k < 4 or (k <= q_end and q_end - k < 24)"),
    "a temperature for each query": training(score="s * temperature[0, q]"),
}


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a score that knows its head", "rtx5090"),
        ("documents", "h100"),
        ("groups of three", "mi300x"),
        *slow(*((name, target) for name in VARIANTS for target in ("a100", "h100", "mi355x"))),
    ],
)
def test_gradients_are_right(name: str, target: str, tmp_path: Path) -> None:
    found = written(VARIANTS[name], target, tmp_path)
    assert found.choice.backward is not None
    assert as_loops(found.choice.backward.schedule).heads is HeadLoop.TOGETHER
    assert "GROUP * (length_a + length_b)" in found.rendered.text
    assert_right(compiled(found), *CASES)


def test_a_head_that_is_left_out_is_found(tmp_path: Path) -> None:
    change = ("member == GROUP - 1, 0, member + 1", "member == GROUP - 1, 0, member")
    found = written(VARIANTS["groups of three"], "rtx5090", tmp_path, change)
    with pytest.raises(AssertionError, match=r"gradient of [kv]"):
        assert_right(compiled(found), CASES[0])
