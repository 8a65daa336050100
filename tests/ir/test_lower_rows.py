"""Norms of queries and keys, and the output's expression: meaning, and that they read back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flash4gen.diagnostics.text import render_text
from flash4gen.digest import digest
from flash4gen.ir.expr import Literal, Type, Var, Variable
from flash4gen.ir.lower import analyse
from flash4gen.ir.nodes import Attention, Norm
from flash4gen.ir.printer import format_attention, format_expr, format_norm
from flash4gen.ir.verify import verify
from flash4gen.source import SourceFile
from tests.ir.notation import attention, expr

ONE = Literal(1.0)


def lowered(body: str) -> Attention:
    text = f"attention a {{ dtype = bf16 heads = 8 kv_heads = 2 head_dim = 64 {body} }}"
    found = analyse(SourceFile("a.attn", text))
    assert render_text(found.diagnostics) == ""
    return found.attentions[0]


def test_a_norm_without_weight_multiplies_with_one() -> None:
    item = lowered("q_norm = rms_norm(eps = 1e-6)")
    assert item.q_norm == Norm(1e-6, ONE)
    assert item.k_norm is None
    assert verify(item) == ()


def test_a_weight_is_an_expression_of_the_place_in_a_row() -> None:
    item = lowered("input w : f32[head_dim]  k_norm = rms_norm(weight = 1 + w[d], eps = 0.5)")
    assert item.k_norm is not None
    assert format_norm(item.k_norm) == "rms_norm(eps = 0.5, weight = 1.0 + w[d])"
    assert item.k_norm.weight.type is Type.FLOAT


def test_an_output_may_read_tensors_by_place() -> None:
    item = lowered(
        "input gate : bf16[batch, seq_q, heads, value_dim] output = out * sigmoid(gate[b, q, h, d])"
    )
    assert item.epilogue is not None
    assert format_expr(item.epilogue) == "out * sigmoid(gate[b, q, h, d])"
    assert verify(item) == ()


def test_an_output_that_stays_is_none_at_all() -> None:
    assert lowered("output = out").epilogue is None


@pytest.mark.parametrize(
    "body",
    [
        "q_norm = rms_norm(eps = 1e-06)",
        "input w : bf16[kv_heads, head_dim] k_norm = rms_norm(eps = 1.0, weight = w[hkv, d])",
        "input g : f32[heads] output = out * g[h] + d",
    ],
)
def test_the_printed_form_reads_back(body: str) -> None:
    item = lowered(body)
    text = format_attention(item).replace("float(d)", "d")
    (again,) = analyse(SourceFile("a.attn", text)).attentions
    assert (again.q_norm, again.k_norm, again.epilogue) == (
        item.q_norm,
        item.k_norm,
        item.epilogue,
    )


def test_attentions_without_them_keep_their_digest() -> None:
    plain = attention()
    assert digest(plain) == digest(replace(plain, q_norm=None, epilogue=None, block_size=None))
    assert digest(plain) != digest(replace(plain, q_norm=Norm(1.0, ONE)))


def test_the_verifier_knows_what_rows_have() -> None:
    out, d = Variable(Var.OUT), Variable(Var.D)
    assert verify(attention(epilogue=out, q_norm=Norm(1e-6, ONE))) == ()
    assert "epilogue reads the score or a key" in verify(attention(epilogue=expr("s")))
    assert "q_norm has eps 0.0, not a finite float above 0" in verify(
        attention(q_norm=Norm(0.0, ONE))
    )
    assert "k_norm reads the score, a position or the output" in verify(
        attention(k_norm=Norm(1.0, out))
    )
    assert "score reads an element of a row" in verify(attention(score=out))
    assert "k_norm is int, not float" in verify(attention(k_norm=Norm(1.0, d)))
