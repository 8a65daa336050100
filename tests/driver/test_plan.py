"""What `check` may leave out: a plain spec has a schedule on every shipped target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_spec, plan_spec
from flash4gen.driver.plan import refusals
from flash4gen.ir import library

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = """\
attention plain {{
    dtype    = fp16
    heads    = 2
    head_dim = {width}
    {body}
    target   = {targets}
}}
"""
DEMANDING = {
    "a norm and a bias": "q_norm = rms_norm(eps = 1e-6)\n k_norm = rms_norm(eps = 1e-6)\n"
    " input bias : f32[heads, seq_q, seq_k]\n score = softcap(s + bias[h, q, k], 20)",
    "packed blocks": "lengths = packed\n block_size = 24\n mask = window(keys = 70)",
    "sigmoid weights": "weights = sigmoid\n mask = k < 4 or ((q ^ k) & 6) == 2",
    "a gate": "input g : bf16[batch, seq_q, heads, value_dim]\n output = out * g[b, q, h, d]",
}


@pytest.mark.parametrize("width", [16, 256])
@pytest.mark.parametrize("body", DEMANDING.values(), ids=DEMANDING)
def test_what_is_not_searched_has_a_schedule(body: str, width: int, tmp_path: Path) -> None:
    targets = ", ".join(library.target_names())
    path = tmp_path / "plain.attn"
    path.write_text(PLAIN.format(body=body, width=width, targets=targets))
    checked = check_spec(path)
    assert checked.ok, checked.diagnostics
    assert refusals(checked) == ()
    plans, problems = plan_spec(checked)
    assert problems == ()
    assert len(plans) == len(library.target_names())
