"""The bounds of well-known masks, as a reader of ``explain`` meets them."""

from __future__ import annotations

from textwrap import dedent

import pytest

from flash4gen.ir.expr import Var
from flash4gen.ir.masks import always_true, bounds, never_true
from flash4gen.ir.printer import format_bounds
from tests.ir.notation import expr

EXAMPLES = {
    "true": "visit [0, seq_k), without mask [0, seq_k)",
    "k <= q": "visit [0, q_last + 1), without mask [0, q_first + 1)",
    "k <= q_end": """
        visit [0, q_last + seq_k - seq_q + 1), without mask [0, q_first + seq_k - seq_q + 1)""",
    "k <= q and q - k < 4096": """
        visit [q_first - 4095, q_last + 1), without mask [q_last - 4095, q_first + 1)""",
    "q // 64 == k // 64": """
        visit [64 * (q_first // 64), 64 * (q_last // 64) + 64), \
without mask [64 * (q_last // 64), 64 * (q_first // 64) + 64)""",
    "k <= q and q // 64 == k // 64": """
        visit [64 * (q_first // 64), q_last + 1), \
without mask [64 * (q_last // 64), q_first + 1)""",
    "k < 4 or k <= q": "visit [0, max(q_last + 1, 4)), without mask [0, max(q_first + 1, 4))",
    "k < 4 or k <= q and q - k < 16": """
        visit [0, 4), without mask [0, 4)
        visit [q_first - 15, q_last + 1), without mask [q_last - 15, q_first + 1)""",
    "k != q": """
        visit [0, q_last), without mask [0, q_first)
        visit [q_first + 1, seq_k), without mask [q_last + 1, seq_k)""",
    "k + q <= seq_k": """
        visit [0, seq_k - q_first + 1), without mask [0, seq_k - q_last + 1)""",
    "q < 4 or k <= q": """
        visit [0, max(where(q_first <= 3, seq_k, 0), q_last + 1)), \
without mask [0, max(where(q_last <= 3, seq_k, 0), q_first + 1))""",
    "k <= q and q - k < where(h < 4, 128, 4096)": """
        visit [q_first - where(h < 4, 128, 4096) + 1, q_last + 1), \
without mask [q_last - where(h < 4, 128, 4096) + 1, q_first + 1)""",
    "h < 4 and k <= q": """
        visit [0, where(h < 4, q_last + 1, 0)), without mask [0, where(h < 4, q_first + 1, 0))""",
    "k <= q and k % 2 == 0": "visit [0, q_last + 1), without mask nothing",
    "k > q and k < q": "no keys",
}


@pytest.mark.parametrize("mask", EXAMPLES)
def test_bounds(mask: str) -> None:
    assert format_bounds(bounds(expr(mask))) == dedent(EXAMPLES[mask]).strip()


@pytest.mark.parametrize(
    "mask",
    [
        "false",
        "k < 0",
        "k >= seq_k",
        "q >= seq_q",
        "h < 0",
        "k <= q and k > q",
        "k <= q and q - k < 0",
        "k <= q_end and q_end - k < 0",
        "abs(q - k) < 0",
        "q // 64 == k // 64 and q - k > 63",
    ],
)
def test_masks_that_are_never_true(mask: str) -> None:
    assert never_true(expr(mask))
    assert bounds(expr(mask)).segments == ()


@pytest.mark.parametrize("mask", ["k <= q", "k > q", "k <= q_end", "k == 4", "k % 2 == 5 * h"])
def test_masks_that_are_true_somewhere(mask: str) -> None:
    assert not never_true(expr(mask))


def test_a_mask_that_hides_nothing() -> None:
    found = bounds(expr("k <= q or k > q"))
    assert found.always_full
    assert not found.has_partial
    assert always_true(expr("k < seq_k and q >= 0"))
    assert not always_true(expr("k <= q"))


def test_what_a_mask_reads_is_what_is_left_of_it() -> None:
    assert bounds(expr("k < 4 or h - h > 0")).reads == {Var.K}


def test_has_full_and_has_partial_tell_which_loops_are_needed() -> None:
    causal, dilated = bounds(expr("k <= q")), bounds(expr("(q - k) % 4 == 0"))
    assert (causal.has_full, causal.has_partial) == (True, True)
    assert (dilated.has_full, dilated.has_partial) == (False, True)


@pytest.mark.parametrize(
    ("mask", "ordered"),
    [
        ("k < 4 or k <= q and q - k < 16", True),
        ("k <= q and q - k < 16 or k < 4", True),
        ("k >= seq_k - 3 or k <= q and q - k < 16", False),
    ],
)
def test_two_ranges_are_sorted_when_compiling_if_that_is_provable(mask: str, ordered: bool) -> None:
    assert bounds(expr(mask)).ordered is ordered


def test_bounds_stay_short_for_absurd_masks() -> None:
    parts = (f"(k < {i + 1} * q - {i} and k > {i} * q - {7 * i})" for i in range(12))
    assert len(format_bounds(bounds(expr(" or ".join(parts))))) < 2000
