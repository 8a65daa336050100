"""The budget of an input's gradient: as many draws as make a few numbers a sample of roundings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flash4gen.validate import gradient_rung
from flash4gen.validate.cases import Case, Values
from flash4gen.validate.gradient_rung import _budget, _drawn, call_of
from flash4gen.validate.gradients import Upstream, reference_gradients, working_gradients
from flash4gen.validate.oracle import attention_reference
from flash4gen.validate.tolerance import GROUP, compare
from tests.validate.training import training

if TYPE_CHECKING:
    import pytest

VARIANT = training(score="s + slopes[h] * float(k - q_end) * 0.1", mask="k <= q_end")
CALL, GIVEN = call_of(VARIANT, Case(name="a tile", seq_q=24, seq_k=24))
EXACT, SECOND = attention_reference(VARIANT, CALL.q, CALL.k, CALL.v, CALL.tensors)
RESULTS = EXACT.to(CALL.q.dtype), SECOND.float()
SIZES = {"slopes": CALL.tensors["slopes"].numel()}


def drawn() -> float:
    return _drawn(VARIANT, CALL, RESULTS, SIZES)["slopes"]


def budget_of(given: Upstream, drawn_error: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the reference and the budget for one gradient of the results."""
    reference = reference_gradients(VARIANT, CALL, given)["slopes"]
    base = working_gradients(VARIANT, CALL, RESULTS, given)["slopes"]
    return reference, _budget(reference, (base, base), drawn_error)


def test_a_wrong_gradient_at_the_threshold_is_found() -> None:
    reference, budget = budget_of(GIVEN, drawn())
    limit = budget.max()
    for size, wrong in ((0.99, False), (1.01, True)):
        off = reference.clone()
        off[0] += size * limit
        assert bool(compare(off.float(), reference, budget, "slopes").problems) is wrong


def test_the_threshold_is_a_small_part_of_the_gradient() -> None:
    reference, budget = budget_of(GIVEN, drawn())
    forgotten = reference * 0.95
    assert budget.max() < 0.05 * reference.abs().max()
    assert compare(forgotten.float(), reference, budget, "slopes").problems


def test_another_luck_of_the_roundings_stays_within() -> None:
    error, random = drawn(), torch.Generator().manual_seed(7)
    for _ in range(20):
        other = Upstream(
            torch.randn(GIVEN.out.shape, generator=random).to(GIVEN.out.dtype),
            torch.randn(GIVEN.second.shape, generator=random),
        )
        reference = reference_gradients(VARIANT, CALL, other)["slopes"]
        right = working_gradients(VARIANT, CALL, RESULTS, other)["slopes"]
        _, budget = budget_of(GIVEN, error)
        assert (right.double() - reference).abs().max() <= budget.max()


def test_numbers_halfway_round_either_way() -> None:
    """Where scores are large, float32 leaves open how some of their gradients round."""
    large = Case(name="large", seq_q=96, seq_k=96, values=Values.NEGATIVE)
    call, given = call_of(VARIANT, large)
    exact, second = attention_reference(VARIANT, call.q, call.k, call.v, call.tensors)
    results = exact.to(call.q.dtype), second.float()
    reference = reference_gradients(VARIANT, call, given)["q"]
    bases = [working_gradients(VARIANT, call, results, given, nudge=by)["q"] for by in (0, 1, -1)]
    moved = [(base != bases[0]).sum().item() for base in bases[1:]]
    assert 0 < min(moved) <= max(moved) < 0.1 * reference.numel()
    alone = torch.stack([_budget(reference, (base, base), None) for base in bases])
    together = _budget(reference, bases, None)
    assert torch.equal(together, alone.amax(0))
    wrong = reference + 1.01 * together.amax(-1, keepdim=True)
    assert compare(wrong.float(), reference, together, "q").problems


def test_no_more_numbers_are_drawn_than_a_group_has(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    def counting(*args: object) -> dict[str, torch.Tensor]:
        counted.append(1)
        return reference_gradients(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(gradient_rung, "reference_gradients", counting)
    for fewest, draws in ((1, 16), (16, 16), (64, 4), (GROUP, 1), (GROUP + 1, 0)):
        counted.clear()
        _drawn(VARIANT, CALL, RESULTS, {"slopes": fewest})
        assert len(counted) == draws
