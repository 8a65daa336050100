"""Masks as bits of a word: which ones become so, and that the printed bits are the mask."""

from __future__ import annotations

import operator
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flash4gen.ir.expr import Var
from flash4gen.ir.masks import query_tiles
from flash4gen.render import expressions
from flash4gen.render.key_masks import key_mask
from flash4gen.vgpu.ops.assembly import bits_below, selected
from tests.ir.notation import attention
from tests.masks.brute import elements, place

if TYPE_CHECKING:
    from types import CodeType

    from flash4gen.ir.masks import QueryTile
    from flash4gen.render.context_blackwell import KeyMask

CAUSAL = "k <= q_end"
WINDOW = "k <= q_end and q_end - k < 5"
CHUNKED = "k <= q and q // 16 == k // 16"
PREFIX = "k < 9 or k <= q_end"
SINK = "k < 4 or k <= q_end and q_end - k < 5"
HEADS = "k <= q and q - k < where(h < 1, 5, 50)"

BITS = ("true", CAUSAL, WINDOW, CHUNKED, PREFIX, SINK, HEADS, "k > q", "abs(q - k) <= 3", "k < 70")
COMPARED = ("k % 3 == 0", f"{CAUSAL} and (q + k) % 2 == 0", "k != q and k != q - 2 and k != 3")


def printed(mask: str) -> KeyMask:
    """Return the concern of a mask."""
    variant = attention(mask=mask)
    names = {var: var.value for var in Var} | {Var.Q: "q[:, None]"}
    return key_mask(variant, expressions.mask(variant, rows="ROWS"), names, "problem")


@pytest.mark.parametrize("mask", BITS)
def test_one_or_two_intervals_of_keys_become_bits(mask: str) -> None:
    assert printed(mask).impl == "bits"


@pytest.mark.parametrize("mask", COMPARED)
def test_what_is_no_interval_is_compared(mask: str) -> None:
    assert printed(mask).impl == "expr"


def test_the_text() -> None:
    """A range that starts with the first key has one end only; two ranges are joined."""
    assert printed(CAUSAL).bits == ("bits = _bits_below(keys[1] - key)",)
    assert printed(WINDOW).bits == (
        "bits = _bits_below(keys[1] - key) & ~_bits_below(keys[0] - key)",
    )
    assert printed(SINK).bits == (
        "bits = _bits_below(keys[1] - key)",
        "bits = bits | (_bits_below(keys[3] - key) & ~_bits_below(keys[2] - key))",
    )
    assert printed(HEADS).row_parameters == ("q", "h", "problem")


class Language:
    """The few functions of ``tl`` and ``gl`` that bounds use, on one row's integers."""

    minimum, maximum = staticmethod(min), staticmethod(max)

    @staticmethod
    def where(condition: bool, a: int, b: int) -> int:
        return a if condition else b

    @staticmethod
    def abs(a: int) -> int:
        return abs(a)


@cache
def program(mask: str) -> tuple[CodeType, CodeType, CodeType]:
    """Compile what is printed: the bounds of a row, their cut to its keys, a fragment's bits."""
    whole, concern = expressions.mask(attention(mask=mask), rows="ROWS"), printed(mask)
    results = [f"({', '.join(segment.names)})" for segment in whole.segments]
    function = [
        f"def _visible_keys({', '.join(whole.range_parameters)}):",
        *(f"    {line}" for segment in whole.segments for line in segment.body.splitlines()),
        f"    return {', '.join(results)}",
    ]
    return (
        compile("\n".join([*function, concern.visible]), "bounds", "exec"),
        compile(f"({', '.join(concern.bounds)})", "keys", "eval"),
        compile("\n".join(concern.bits), "bits", "exec"),
    )


def fragments(mask: str, at: QueryTile) -> list[bool]:
    """Run the printed statements for the row of ``at``: its mask, 32 keys to a word."""
    visible, keys, bits = program(mask)
    scope: dict[str, Any] = {
        "tl": Language,
        "gl": Language,
        "_floor_div": operator.floordiv,
        "_floor_mod": operator.mod,
        "_bits_below": lambda end: bits_below(torch.tensor(end)),
        "problem": SimpleNamespace(seq_q=at.seq_q, seq_k=at.seq_k),
        "q": at.first,
        "h": at.h,
    }
    exec(visible, scope)
    scope["keys"] = eval(keys, scope)
    found: list[bool] = []
    for key in range(0, at.seq_k, 32):
        words: dict[str, torch.Tensor] = {}
        exec(bits, scope | {"key": key}, words)
        kept = selected(torch.zeros(32), words["bits"].expand(32))
        found += (kept == 0).tolist()
    return found


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(BITS), st.integers(1, 20), st.integers(1, 90), st.integers(0, 1))
def test_the_bits_of_every_row_are_the_mask(mask: str, seq_q: int, seq_k: int, head: int) -> None:
    where = place(seq_q, seq_k, head)
    expected = elements(attention(mask=mask).mask, where)
    for at in query_tiles(where, 1):
        got = fragments(mask, at)
        assert got[:seq_k] == expected[at.first].tolist()
        assert not any(got[seq_k:]), "keys that do not exist are visible"
