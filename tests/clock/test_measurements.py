"""The shipped measurements: complete rows only, and their convention of counting operations."""

from __future__ import annotations

import pytest

from flash4gen.clock.measurements import Measurement, measurements


def row(kernel: str, **wanted: object) -> Measurement:
    """Return the one row of a kernel with these fields."""
    (found,) = (
        item
        for item in measurements()
        if item.kernel == kernel
        and all(getattr(item, name) == value for name, value in wanted.items())
    )
    return found


def test_a_row_of_a_causal_kernel_counts_half_of_the_operations() -> None:
    causal = row("fa4", file="fa4_paper_b200", length=4096, causal=True)
    full = row("fa4", file="fa4_paper_b200", length=4096, causal=False)
    assert full.operations == 4 * 8 * 16 * 4096**2 * 128
    assert causal.operations * 2 == full.operations
    assert full.seconds == pytest.approx(full.operations / 1466.0e12)


def test_milliseconds_of_cudnn_follow_from_its_convention() -> None:
    # Its file gives both: 50.456 ms and 1743 TFLOPS, of heads that are 192 and 128 wide.
    exact = row("cudnn", gpu="GB200", head_dim=192, heads=128, length=32768, causal=True)
    assert exact.seconds * 1e3 == pytest.approx(50.456, rel=1e-3)


def test_guesses_are_marked() -> None:
    assert all(item.inferred for item in measurements() if "_or_" in item.gpu)
    assert not row("fa4", file="fa4_paper_b200", length=2048, causal=True).inferred


def test_every_row_can_be_repeated() -> None:
    for item in measurements():
        assert item.heads % item.kv_heads == 0
        assert min(item.length, item.batch, item.head_dim, item.value_dim) > 0
        assert item.tflops > 0
