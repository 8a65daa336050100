"""Widths of a head that there are kernels for."""

from __future__ import annotations

from typing import Final

LEAST_WIDTH: Final = 16
MOST_WIDTH: Final = 512
STEP: Final = 8
"""A row of 16-bit elements is then a multiple of 16 bytes, which copies read at a time."""

STEP_8_BIT: Final = 16
"""The same for elements of 8 bits."""

HEAD_DIMS: Final = range(LEAST_WIDTH, MOST_WIDTH + 1, STEP)
"""Of q and k, and of v and out."""

HEAD_DIMS_8_BIT: Final = range(LEAST_WIDTH, MOST_WIDTH + 1, STEP_8_BIT)
"""The same for elements of 8 bits."""
