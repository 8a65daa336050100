"""Weights of the register model: written by ``python -m benchmarks.register_model fit``.

Per fit, the registers per unit of each of ``registers.Features``, a constant, and a margin: what
the model falls short by on the worst row that spills.
"""

from __future__ import annotations

FITS: dict[str, tuple[float, ...]] = {
    "mma.sync pointer new": (0.836, 0.94, 0.0, 0.0, 0.499, 1.895, 5.423, 81.08, 61.0),
    "mma.sync pointer old": (0.774, 0.606, 0.018, 0.0, 0.279, 1.844, 1.857, 119.429, 20.0),
    "mma.sync tma": (1.02, 1.197, 1.003, 0.126, 0.152, 0.613, 2.785, 42.041, 16.0),
    "tcgen05 pointer new": (0.733, 1.804, 0.317, 0.0, 0.0, 2.786, 0.0, 72.833, 33.0),
    "tcgen05 tma new": (0.927, 2.409, 0.253, 0.0, 0.0, 0.283, 0.0, 22.416, 18.0),
    "wgmma pointer old": (0.948, 1.046, 0.007, 0.0, 0.0, 2.925, 3.257, 90.406, 42.0),
    "wgmma tma old": (1.09, 1.259, 0.813, 0.0, 0.0, 0.0, 0.0, 63.688, 16.0),
}
