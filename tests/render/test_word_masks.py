"""Masks that have a bit for each key: which are read as words, and what is printed for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.ir.expr import Var, lookups, variables
from flash4gen.ir.library import target
from flash4gen.render.key_masks import is_word
from flash4gen.render.module import render
from flash4gen.render.word_masks import word_mask
from tests.ir.test_bits import lowered
from tests.schedule.variants import chosen

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention

TREE = "tree(bits)"
ONE_BIT = "((bits[b, q, (k + 3) >> 5] >> (k + 3)) & 1) == 1"


def variant(mask: str, score: str = "s") -> Attention:
    return lowered(f"input bits : i32[batch, seq_q, 4]  mask = {mask}  score = {score}")


@pytest.mark.parametrize(
    ("mask", "before"), [(TREE, 1), (ONE_BIT, 0), (f"k < 9 or k < q or {ONE_BIT}", 2)]
)
def test_words_are_found(mask: str, before: int) -> None:
    found = word_mask(variant(mask).mask)
    assert found is not None
    assert found.words in lookups(variant(mask).mask)
    assert Var.K in variables(found.at)
    assert len(found.before) == before


@pytest.mark.parametrize(
    "mask",
    [
        "k < bits[b, q, 0]",
        "((bits[b, q, (k + 3) >> 5] >> k) & 1) == 1",  # bits of other places than the word's
        "((bits[b, q, (k + 3) >> 6] >> (k + 3)) & 1) == 1",  # words of 64 keys
        "((bits[b, q, (k * 2) >> 5] >> (k * 2)) & 1) == 1",  # every other bit
        "((bits[b, q, (k + 3) >> 5] >> (k + 3)) & 3) == 1",
        f"k > 9 or {ONE_BIT}",
        f"bits[b, q, 0] == k or {ONE_BIT}",
    ],
)
def test_other_masks_are_not_taken_for_words(mask: str) -> None:
    assert word_mask(variant(mask).mask) is None


def text(what: Attention) -> str:
    return render(what, target("b200"), chosen(what, target("b200"))).text


def test_a_fragment_of_a_tree_is_masked_by_one_word() -> None:
    printed = text(variant(TREE))
    assert "seen = _bits_from(low, high, key - (seq_k - seq_q))" in printed
    assert "seen = seen | _bits_below(seq_k - seq_q - key + 0 * low)" in printed
    assert "def _visible(" not in printed
    assert "bits_at_0_same" not in printed


def test_a_score_that_reads_the_words_has_them_key_by_key() -> None:
    what = variant(TREE, "s + bits[b, q, (k - (seq_k - seq_q)) >> 5]")
    assert not any(is_word(found, what) for found in lookups(what.mask))
    assert "def _visible(" in text(what)


def test_a_tree_within_other_conditions_keeps_their_intervals() -> None:
    printed = text(variant(f"{TREE} and k >= q_end - 500"))
    assert "bits = _bits_below(keys[1] - key) & ~_bits_below(keys[0] - key)" in printed
    assert "_bits_from(low, high" in printed
