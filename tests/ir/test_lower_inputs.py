"""Input tensors: declarations, look-ups, and what hands a tensor on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.diagnostics.text import render_text
from flash4gen.ir.expr import Extent, Input, InputDType, Type, lookups
from flash4gen.ir.lower import analyse
from flash4gen.ir.printer import format_attention, format_expr
from flash4gen.ir.verify import verify
from flash4gen.source import SourceFile
from tests.ir.notation import attention, expr

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention


def lowered(body: str, before: str = "") -> Attention:
    text = f"{before}\nattention a {{ dtype = bf16 heads = 8 kv_heads = 2 head_dim = 64 {body} }}"
    found = analyse(SourceFile("a.attn", text))
    assert render_text(found.diagnostics) == ""
    return found.attentions[0]


def test_axes_are_named_or_constant() -> None:
    item = lowered(
        "input y : bf16[batch, kv_heads, seq_q, heads // 2 + 1]  score = s + y[b, hkv, q, 4]"
    )
    extents = (Extent.BATCH, Extent.KV_HEADS, Extent.SEQ_Q, 5)
    assert item.inputs == (Input("y", InputDType.BF16, extents),)
    assert format_expr(item.score) == "s + y[b, hkv, q, 4]"
    assert item.shape_of(item.inputs[0], 3, 7, 9) == (3, 2, 7, 5)
    assert verify(item) == ()


def test_one_length_has_one_axis() -> None:
    item = lowered("lengths = equal  input docs : i32[batch, seq]  mask = docs[b, q] == docs[b, k]")
    assert item.inputs[0].axes == (Extent.BATCH, Extent.SEQ_K)


@pytest.mark.parametrize(
    ("dtype", "type_"),
    [("f32", Type.FLOAT), ("bf16", Type.FLOAT), ("fp16", Type.FLOAT), ("i32", Type.INT)],
)
def test_whole_numbers_are_ints_and_all_else_floats(dtype: str, type_: Type) -> None:
    item = lowered(f"input y : {dtype}[heads]  score = s * y[h]")
    (lookup,) = lookups(item.score)
    assert lookup.type is type_


def test_functions_are_handed_elements_and_tensors() -> None:
    before = (
        "def alibi(s, slope) = s - slope * abs(q_end - k)\n"
        "def same(ids) = ids[b, q] == ids[b, k]\n"
        "def documents(ids) = same(ids) and k <= q_end\n"
    )
    body = "input m : f32[heads]  input ids : i32[batch, seq_k]"
    body += " score = alibi(s, m[h])  mask = documents(ids)"
    item = lowered(body, before)
    assert format_expr(item.score) == "s - m[h] * float(abs(q_end - k))"
    assert format_expr(item.mask) == "ids[b, q] == ids[b, k] and k <= q_end"


def test_a_look_up_can_be_an_index() -> None:
    item = lowered(
        "input doc : i32[batch, seq_k]  input limit : i32[batch]  mask = k < limit[doc[b, k]]"
    )
    assert [lookup.tensor.name for lookup in lookups(item.mask)] == ["limit", "doc"]


def test_the_printed_form_reads_back() -> None:
    item = lowered(
        "input m : f32[heads]  input t : bf16[heads, 255]  score = s * m[h] + t[h, k - q]"
    )
    text = format_attention(item)
    assert "    input m : f32[heads]\n    input t : bf16[heads, 255]\n" in text
    again = analyse(SourceFile("a.attn", text.replace("float(", "1.0 * (")))
    assert again.attentions[0].inputs == item.inputs
    assert again.attentions[0].score == item.score


def test_the_verifier_knows_tensors() -> None:
    good = attention(score="s + slopes[h]")
    assert verify(good) == ()
    assert "slopes is read and not declared" in verify(attention(score="s + slopes[h]", inputs=()))
    odd = attention(score="s + bias[h]")
    assert "bias has 3 axes and 1 indices" in verify(odd)
    wrong = Input("x y", InputDType.F32, (0,))
    found = verify(attention(inputs=(wrong, wrong)))
    assert "input x y: the name is not an identifier" in found
    assert "input x y: axis 0 is neither a name nor a whole number above 0" in found
    assert "inputs holds 'x y' twice" in found


def test_indices_are_simplified() -> None:
    from flash4gen.ir.simplify import simplify

    assert simplify(expr("s + table[h + 0, k - (k - 3)]")) == expr("s + table[h, 3]")


def test_a_position_that_is_an_index_is_not_aligned_with_anything() -> None:
    lowered(
        "input ids : i32[batch, seq_k]  input q_ids : i32[batch, seq_q]"
        " mask = q_ids[b, q] == ids[b, k] and causal(align = end)"
    )
