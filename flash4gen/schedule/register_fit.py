"""Weights of the register model: written by ``python -m benchmarks.register_model fit``.

Per fit, the registers per unit of each of ``registers.Features``, a constant, and a margin: what
the model falls short by on the worst row that spills.
"""

from __future__ import annotations

FITS: dict[str, tuple[float, ...]] = {
    "mfma gfx942": (0.948, 1.884, 0.474, 0.831, 0.831, 3.819, 15.118, 30.55, 16.0),
    "mfma gfx950": (1.328, 2.032, 0.664, 0.562, 0.562, 0.0, 0.0, 27.722, 16.0),
    "mma.sync pointer new": (1.003, 1.026, 0.0, 0.0, 0.426, 1.977, 2.634, 79.088, 64.0),
    "mma.sync pointer old": (0.837, 0.609, 0.0, 0.0, 0.283, 1.737, 2.137, 115.868, 16.0),
    "mma.sync tma": (0.789, 1.177, 1.035, 0.173, 0.136, 0.342, 2.771, 51.02, 16.0),
    "tcgen05 pointer new": (0.677, 1.964, 0.555, 0.0, 0.0, 2.652, 0.0, 68.464, 29.0),
    "tcgen05 tma new": (0.867, 2.339, 0.392, 0.0, 0.0, 0.0, 0.0, 25.634, 16.0),
    "wgmma pointer old": (0.919, 1.065, 0.0, 0.0, 0.0, 3.424, 3.326, 86.319, 43.0),
    "wgmma tma old": (1.165, 1.194, 0.757, 0.0, 0.0, 0.0, 0.0, 64.406, 17.0),
}
