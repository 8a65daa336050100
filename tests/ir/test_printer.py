"""The text form of the IR."""

from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings

from flash4gen.ir.masks import bounds
from flash4gen.ir.nodes import Pass, Pin
from flash4gen.ir.printer import format_attention, format_bounds, format_expr
from tests.ir.notation import attention, expr
from tests.ir.strategies import bools, floats, ints

if TYPE_CHECKING:
    from flash4gen.ir.expr import Expr


@pytest.mark.parametrize(
    "text",
    [
        "50.0 * tanh(s / 50.0)",
        "k <= q_end and q_end - k < 4096",
        "(k < 4 or k > 8) and q < 4",
        "not (k < 4 or q < 4)",
        "not k < 4",
        "q - (k - 1)",
        "q - k - 1",
        "64 * (q // 64)",
        "q // 64 * 64",
        "q - (-1)",
        "-(-q)",
        "-s ** 2.0",
        "(-s) ** 2.0",
        "s ** -2.0",
        "(s ** 2.0) ** 3.0",
        "s ** s ** 2.0",
        "where(h % 2 == 0, k <= q, true)",
        "s + 1e-05 * float(k - q)",
        "min(q, k) // (h + 1) % 7",
        "s * (-s)",
        "-9 * k",
        "-(q + k)",
    ],
)
def test_no_parenthesis_too_many_or_too_few(text: str) -> None:
    assert format_expr(expr(text)) == text


@settings(max_examples=250, deadline=None)
@given(ints(4) | bools(3) | floats(4))
def test_read_back_it_is_the_same_expression(e: Expr) -> None:
    assert expr(format_expr(e)) == e


def test_an_attention_with_every_field() -> None:
    full = attention(
        name="gemma2_9b_local",
        doc="Gemma-2 9B, its sliding-window layers",
        heads=16,
        kv_heads=8,
        head_dim=192,
        value_dim=128,
        scale=0.0625,
        score="50.0 * tanh(s / 50.0)",
        mask="k <= q_end and q_end - k < 4096",
        passes=(Pass.FORWARD, Pass.BACKWARD),
        targets=("b200", "rtx5090"),
        pins=(Pin("tile_q", 128), Pin("order", "longest_first")),
    )
    assert format_attention(full) == dedent("""\
        attention gemma2_9b_local {
            doc       = "Gemma-2 9B, its sliding-window layers"
            dtype     = fp16
            heads     = 16
            kv_heads  = 8
            head_dim  = 192 / 128
            scale     = 0.0625
            score     = 50.0 * tanh(s / 50.0)
            mask      = k <= q_end and q_end - k < 4096
            empty_row = zero
            lengths   = any
            passes    = forward, backward
            target    = b200, rtx5090
            schedule {
                tile_q = 128
                order = longest_first
            }
        }
        """)


def test_an_attention_without_doc_targets_and_pins() -> None:
    assert format_attention(attention()) == dedent("""\
        attention small {
            dtype     = fp16
            heads     = 4
            kv_heads  = 2
            head_dim  = 16
            scale     = 0.25
            score     = s
            mask      = true
            empty_row = zero
            lengths   = any
            passes    = forward
        }
        """)


def test_loop_bounds_speak_of_the_rows_of_a_tile() -> None:
    assert format_bounds(bounds(expr("abs(q - k) <= 7"))) == (
        "visit [q_first - 7, q_last + 8), without mask [q_last - 7, q_first + 8)"
    )
