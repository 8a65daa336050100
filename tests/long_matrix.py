"""Parameters that CI leaves out: ``slow("b200", "h100")`` beside those that it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet


def slow(*values: Any) -> list[ParameterSet]:
    """Return each value, or tuple of values, as a parameter of the long matrix."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
        for value in values
    ]
