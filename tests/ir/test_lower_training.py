"""What a training run asks of an attention: dropout, and the same bits in every run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flash4gen.diagnostics.text import render_text
from flash4gen.digest import digest
from flash4gen.ir.lower import analyse
from flash4gen.ir.nodes import DROPOUT_STATE, Attention, descales
from flash4gen.ir.printer import format_attention
from flash4gen.ir.verify import verify
from flash4gen.source import SourceFile

KEYS = "mask = causal(align = end)"


def lowered(body: str, dtype: str = "bf16") -> Attention:
    text = f"attention a {{ dtype = {dtype} heads = 8 head_dim = 64 {body} }}"
    found = analyse(SourceFile("a.attn", text))
    assert render_text(found.diagnostics) == ""
    return found.attentions[0]


def test_dropout_brings_a_seed_and_an_offset() -> None:
    item = lowered(f"{KEYS} dropout = 1 / 8")
    assert item.dropout == 0.125
    assert item.inputs == DROPOUT_STATE
    assert verify(item) == ()


def test_declared_tensors_come_before_them_and_factors_after() -> None:
    item = lowered(
        "input slopes : f32[heads] score = s * slopes[h] dropout = 0.5 scales = per_tensor",
        dtype="fp8_e4m3",
    )
    assert item.scales is not None
    assert item.inputs[1:] == (*DROPOUT_STATE, *descales(item.scales))
    assert verify(item) == ()


def test_no_dropout_is_no_field() -> None:
    item, plain = lowered(f"{KEYS} dropout = 0"), lowered(KEYS)
    assert replace(item, fields=()) == replace(plain, fields=())
    assert digest(replace(item, fields=())) == digest(replace(plain, fields=()))


@pytest.mark.parametrize(("dropout", "below"), [(0.5, 2**31), (1e-12, 0), (1 - 1e-13, 2**32 - 1)])
def test_a_probability_is_a_share_of_the_words(dropout: float, below: int) -> None:
    assert lowered(f"dropout = {dropout!r}").dropped_below == below


def test_both_fields_read_back() -> None:
    item = lowered(f"{KEYS} dropout = 0.1 deterministic = true passes = forward, backward")
    assert item.deterministic
    text = format_attention(item)
    assert "dropout   = 0.1\n" in text
    assert "deterministic = true\n" in text
    assert "input" not in text
    again = analyse(SourceFile("a.attn", text)).attentions[0]
    assert replace(again, fields=()) == replace(item, fields=())


def test_deterministic_may_be_denied() -> None:
    assert not lowered("deterministic = false").deterministic


def test_seeds_that_are_missing_are_a_fault() -> None:
    item = replace(lowered("dropout = 0.1"), inputs=())
    assert any("end with the seed" in violation for violation in verify(item))
