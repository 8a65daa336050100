"""`benchmarks.device` compares with FlexAttention what the spec says, not something near it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks.device import comparable, fused, plain
from flash4gen.driver import check_spec
from flash4gen.ir.expr import Var
from flash4gen.validate.evaluate import evaluate
from tests.project import ROOT

if TYPE_CHECKING:
    from flash4gen.ir.nodes import Attention

ATTENTIONS = [
    item
    for spec in sorted((ROOT / "specs").glob("*.attn"))
    for item in check_spec(spec).attentions
    if comparable(item)
]


@pytest.mark.parametrize("attention", ATTENTIONS, ids=lambda a: a.name)
def test_score_and_mask_are_those_of_the_spec(attention: Attention) -> None:
    whole = {Var.H: 3, Var.HKV: 3 // attention.group, Var.B: 1, Var.SEQ_Q: 9000, Var.SEQ_K: 9000}
    env = {var: torch.tensor(value) for var, value in whole.items()}
    env |= {Var.Q: torch.arange(0, 9000, 37)[:, None], Var.K: torch.arange(0, 9000, 41)}
    env[Var.S] = torch.linspace(-90, 90, 244 * 220, dtype=torch.float64).view(244, 220)
    for expr in (attention.score, attention.mask):
        got = torch.as_tensor(plain(expr, env))
        expected = evaluate(expr, env).to(got.dtype)
        torch.testing.assert_close(got, expected.expand(got.shape), rtol=1e-12, atol=0)


def test_pytorch_has_a_fused_kernel_for_some() -> None:
    names = {attention.name for attention in ATTENTIONS if fused(attention)}
    assert len(ATTENTIONS) >= 9
    assert names >= {"full", "encoder", "llama3_8b"}
    assert not names & {"gemma2_9b_local", "sliding_window", "prefix_lm", "deepseek_v3_prefill"}
