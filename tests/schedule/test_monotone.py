"""Which score expressions keep the order of the scores, checked against numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash4gen.schedule.monotone import Trend, rises, trend
from tests.ir.notation import expr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s", Trend.RISES),
        ("50.0 * tanh(s / 50.0)", Trend.RISES),
        ("0.0 - s", Trend.FALLS),
        ("-2.0 * (1.0 - s)", Trend.RISES),
        ("max(s, 0.0) + float(q)", Trend.RISES),
        ("exp(s) - exp(0.0 - s)", Trend.RISES),
        ("s / -3.0", Trend.FALLS),
        ("s - 3.0 * float(q - k)", Trend.UNKNOWN),
        ("s - exp(s)", Trend.UNKNOWN),
        ("s * s", Trend.UNKNOWN),
        ("s * float(h)", Trend.UNKNOWN),
        ("abs(s)", Trend.UNKNOWN),
        ("sqrt(s)", Trend.UNKNOWN),
        ("1.0 / s", Trend.UNKNOWN),
        ("0.0 * s", Trend.UNKNOWN),
        ("where(q < 5, s, 2.0 * s)", Trend.UNKNOWN),
        ("float(h)", Trend.SAME),
    ],
)
def test_the_trend_of_an_expression(text: str, expected: Trend) -> None:
    assert trend(expr(text)) is expected
    assert rises(expr(text)) == (expected is Trend.RISES)


@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(0.125, 8))
def test_what_is_said_to_rise_does(one: float, other: float, factor: float) -> None:

    text = f"{factor} * tanh(s / {factor}) + max(s, 1.0) - {factor} * (0.0 - s)"
    assert rises(expr(text))

    def value(s: float) -> float:
        return factor * math.tanh(s / factor) + max(s, 1.0) - factor * (0.0 - s)

    assert value(min(one, other)) <= value(max(one, other))
