"""The rung ``determinism``: kernels that repeat pass it, and those that do not are called so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.validate.certificate import Rung, Status
from flash4gen.validate.determinism import determinism_rung
from tests.validate.training import EVERYTHING, SLOPES, compiled, training, written

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention

SLOPED = training(
    score="s + slopes[h] * float(k - q_end) * 0.1", mask="k <= q_end", inputs=(SLOPES,)
)
"""Its slopes' gradient is a sum over all rows: one number per row, added up by PyTorch."""

PER_ROW = "tl.store(sum_slopes_h_ptr + line + rows, sum_slopes_h, mask=rows < seq_q)"
EMPTY = "sum_slopes_h = lse.new_empty("


def rung_of(variant: Attention, folder: Path, *changes: tuple[str, str]) -> Rung:
    """Return the rung of a module, compiled with changes to its text."""
    subject = compiled(written(variant, "rtx5090", folder, *changes))
    return determinism_rung(subject, load_module(subject.path), lambda _what: None)


def test_every_result_is_the_same_in_every_order(tmp_path: Path) -> None:
    rung = rung_of(EVERYTHING, tmp_path)
    assert rung.status is Status.PASSED, rung.details
    assert rung.summary == "7 results, the same bits in 4 runs of every order"
    assert rung.details["deterministic"] is True
    gradients = [f"gradient of {name}" for name in ("q", "k", "v", "slopes", "bias")]
    assert rung.details["results"] == ["out", "lse", *gradients]


@pytest.mark.slow
def test_sums_of_several_programs_in_memory_are_called_what_they_are(tmp_path: Path) -> None:
    atomic = (PER_ROW, "tl.atomic_add(sum_slopes_h_ptr + line + rows - q_first, sum_slopes_h)")
    rung = rung_of(SLOPED, tmp_path, atomic, (EMPTY, "sum_slopes_h = lse.new_zeros("))
    assert rung.status is Status.PASSED
    assert rung.details["deterministic"] is False
    assert rung.details["sums in memory of no order"] == ["_query_gradient_kernel"]
    differing = rung.details["elements that differ"]
    assert isinstance(differing, dict)
    assert list(differing) == ["gradient of slopes"]
    assert rung.summary.startswith("not deterministic: _query_gradient_kernel adds in memory")


def test_the_last_to_write_wins_is_a_fault(tmp_path: Path) -> None:
    """Programs that overwrite each other's numbers: no sum, no order, no excuse."""
    last = (PER_ROW, "tl.store(sum_slopes_h_ptr + line, tl.sum(sum_slopes_h, 0))")
    rung = rung_of(SLOPED, tmp_path, last, (EMPTY, "sum_slopes_h = lse.new_zeros("))
    assert rung.status is Status.FAILED
    assert any("gradient of slopes" in str(failure["reason"]) for failure in rung.failures)
