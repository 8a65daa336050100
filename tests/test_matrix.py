"""Breadth: every target proves variants that differ in mask, score, dtype, group and width.

A part runs always; ``--slow`` runs the whole matrix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import compile_spec
from flash4gen.ir import library
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from tests.long_matrix import slow

if TYPE_CHECKING:
    from pathlib import Path

VARIANTS = {
    "full": "",
    "causal_start": "mask = causal(align = start)",
    "causal_end": "mask = causal(align = end)",
    "self_attention": "lengths = equal\n mask = causal",
    "window": "mask = window(keys = 100)",
    "sink_and_window": "mask = k < 4 or window(keys = 70)",
    "prefix_lm": "mask = prefix(length = 50) or causal(align = end)",
    "chunked": "mask = chunked(size = 48) and causal(align = end)",
    "dilated": "mask = causal(align = end) and (q_end - k) % 3 == 0",
    "per_head": "mask = q_end - k < 16 * (h + 1) and k <= q_end",
    "never": "mask = k < q and q < k",
    "nan_rows": "empty_row = nan\n mask = causal(align = end)",
    "softcap": "score = softcap(s, 30)",
    "alibi": "score = s - 0.25 * (h + 1) * abs(q_end - k)",
    "slopes": "input m : f32[heads]\n score = s - m[h] * abs(q_end - k)\n"
    " mask = causal(align = end)",
    "bias": "input bias : f32[heads, seq_q, seq_k]\n score = s + bias[h, q, k]",
    "half_bias": "input bias : fp16[batch, seq_q, seq_k]\n score = s * 2 + bias[b, q, k]",
    "distances": "input far : bf16[heads, 63]\n score = s + far[h, k - q_end + 31]",
    "temperature": "input t : f32[seq_q]\n score = s * t[q]\n mask = causal(align = end)",
    "documents": "input ids : i32[batch, seq_k]\n input q_ids : i32[batch, seq_q]\n"
    " mask = q_ids[b, q] == ids[b, k] and causal(align = end)",
    "padding": "input n : i32[batch]\n mask = k < n[b]",
    "gathered": "input ids : i32[batch, seq_k]\n input n : i32[16]\n mask = k < n[ids[b, k]]",
    "sinks": "input sinks : bf16[heads]\n mask = window(keys = 70)\n sink = sinks[h]",
    "sink_of_one": "sink = 0\n mask = causal(align = end)\n score = softcap(s, 20)",
    "sigmoid_weights": "weights = sigmoid\n score = s - 3\n mask = causal(align = end)",
    "sigmoid_plain": "weights = sigmoid\n mask = k < 4 or window(keys = 70)",
    "packed": "lengths = packed\n mask = causal(align = end)",
    "packed_inputs": "lengths = packed\n input m : f32[batch, heads]\n score = s * m[b, h]\n"
    " mask = window(keys = 70) or k < 3\n sink = m[b, h]",
    "tree": "input bits : i32[batch, seq_q, 3]\n mask = tree(bits)",
    "paged_tree": "block_size = 32\n input bits : i32[batch, seq_q, 2]\n mask = tree(bits)",
    "bits": "mask = ((q ^ k) & 6) == 2 or ((1 << k) & q) == 0",
    "two_sided": "mask = window(left_inclusive = 20, right_inclusive = 50)",
    "own_documents": "input ids : i32[batch, seq_k]\n mask = documents(ids) and dilated(2)",
    "norms": "q_norm = rms_norm(eps = 1e-6)\n k_norm = rms_norm(eps = 1e-5)",
    "weighted_norms": "input w : bf16[heads, head_dim]\n score = softcap(s, 9)\n"
    " q_norm = rms_norm(eps = 1e-6, weight = 1 + w[h, d])\n"
    " k_norm = rms_norm(eps = 1e-5, weight = 2)\n mask = causal(align = end)",
    "gated": "input gate : bf16[batch, seq_q, heads, value_dim]\n mask = causal(align = end)\n"
    " output = out * sigmoid(gate[b, q, h, d])",
    "gated_heads": "lengths = packed\n input g : f32[batch, heads]\n output = out * g[b, h] + 1",
    "paged": "block_size = 16\n mask = causal(align = end)",
    "paged_wide": "block_size = 256\n input m : f32[batch, heads]\n score = s * m[b, h]",
    "packed_paged": "lengths = packed\n block_size = 24\n mask = window(keys = 70) or k < 3",
    "sigmoid": "score = sigmoid(s) * 4 + log(1 + s ** 2)",
}
TARGETS = sorted({target.arch: target.name for target in library.targets()}.values())
"""One for each compute capability: the compiler knows no more of them."""

WIDTHS = (16, 24, 40, 72, 80, 96, 112, 128, 136, 160, 192, 256)

SPILLED = {"bits": 4}
"""Loads and stores of spilled registers in loops over keys, which warp-specialised kernels of a
variant still have; those of the others have none."""


def spec_text(body: str, *, head_dim: str = "32", heads: str = "2", dtype: str = "fp16") -> str:
    fields = f"dtype = {dtype}\n heads = {heads}\n head_dim = {head_dim}\n {body}"
    return f"attention tiny {{\n {fields}\n}}"


def prove(text: str, target: str, folder: Path, *, spilled: int = 0) -> None:
    """Compile and prove a spec; no finding but that a mask is never true, and no spill."""
    spec = folder / "tiny.attn"
    spec.write_text(text, encoding="utf-8")
    result = compile_spec(spec, targets=[target], out=folder / "out")
    assert result.ok, result.diagnostics
    (module,) = result.modules
    assert module.certificate is not None
    assert module.certificate.passed
    assert module.artefact is not None
    facts = module.artefact.facts
    # What the roles of a warp-specialised kernel were handed may be saved outside their loops.
    specialised = isinstance(module.plan.choice.schedule, BlackwellSchedule)
    assert (facts.loop_spills <= spilled) if specialised else (facts.spill_bytes == 0)


@pytest.mark.parametrize(
    "name", ["sink_and_window", "bias", "sinks", *slow("alibi", "never", "documents", "packed")]
)
def test_a_variant_on_a_target(name: str, tmp_path: Path) -> None:
    target = library.target_names()[len(name) % 4]
    prove(spec_text(VARIANTS[name]), target, tmp_path)


@pytest.mark.parametrize(("name", "target"), [("packed_inputs", "mi355x"), ("bias", "mi300x")])
def test_a_variant_on_amd(name: str, target: str, tmp_path: Path) -> None:
    prove(spec_text(VARIANTS[name]), target, tmp_path)


@pytest.mark.parametrize(
    ("width", "target"),
    [
        ("136", "a100"),
        ("16", "rtx5090"),
        *slow(("24", "b200"), ("80 / 48", "h100"), ("96", "mi300x")),
    ],
)
def test_a_width_on_a_target(width: str, target: str, tmp_path: Path) -> None:
    text = spec_text("mask = causal(align = end)", head_dim=width, heads="3\n kv_heads = 1")
    prove(text.replace("fp16", "bf16"), target, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_variant_on_every_target(name: str, target: str, tmp_path: Path) -> None:
    text = spec_text(VARIANTS[name], heads="6\n kv_heads = 2")
    prove(text, target, tmp_path, spilled=SPILLED.get(name, 0))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_every_width_on_every_target(width: int, target: str, dtype: str, tmp_path: Path) -> None:
    body = "mask = causal(align = end) and window(keys = 90)\n score = softcap(s, 20)"
    prove(spec_text(body, head_dim=str(width), dtype=dtype), target, tmp_path)
