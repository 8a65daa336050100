"""Runs a case with all checks on, and compares its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flash4gen.vgpu import Policy, Report, check_ttgir
from tests.vgpu.gluon.case import flat_arguments, tensor_of

if TYPE_CHECKING:
    from tests.vgpu.gluon.case import Case

STEPS = 20_000
"""Enough for every kernel here; an endless one is stopped soon."""


def run(case: Case, policy: Policy, seed: int = 0, *, right: bool = True) -> Report:
    """Run the correct kernel and, if its numbers should be `right`, compare them."""
    values = case.values()
    expected = case.reference(values) if right else {}
    text = case.text()
    report = check_ttgir(
        text, flat_arguments(text, values), case.grid, policy=policy, seed=seed, step_limit=STEPS
    )
    for name, tensor in expected.items():
        out = tensor_of(values[name]).to(tensor.dtype)
        torch.testing.assert_close(out, tensor, rtol=case.tolerance, atol=case.tolerance)
    return report
