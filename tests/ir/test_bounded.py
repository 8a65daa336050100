"""Which expressions are finite whatever the score is."""

from __future__ import annotations

import pytest

from flash4gen.ir.bounded import is_bounded
from flash4gen.ir.derivative import derivative
from flash4gen.ir.expr import SCORE
from flash4gen.ir.simplify import simplify
from tests.ir.notation import expr


@pytest.mark.parametrize(
    "text",
    [
        "2.0",
        "tanh(s * s)",
        "sigmoid(s / 0.0)",
        "1.0 - tanh(s) * tanh(s)",
        "0.1 * abs(float(q_end - k))",
        "where(s > 0.0, 1.0, tanh(s))",
    ],
)
def test_these_have_bounds(text: str) -> None:
    assert is_bounded(expr(text))


@pytest.mark.parametrize(
    "text", ["s", "2.0 * s", "exp(s)", "tanh(s) / s", "where(k > 3, 1.0, s)", "slopes[h]"]
)
def test_these_have_none(text: str) -> None:
    assert not is_bounded(expr(text))


def test_a_softcap_moves_within_bounds_and_a_power_does_not() -> None:
    capped, power = (
        derivative(simplify(expr(text)), SCORE) for text in ("5.0 * tanh(s / 5.0)", "s * s * 0.1")
    )
    assert is_bounded(capped)
    assert not is_bounded(power)
