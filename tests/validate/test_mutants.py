"""The validator is itself put to the test: modules with one mistake in them must not pass.

Each mutant is a rendered module in which one spot is changed as a tired person might, then
compiled and run over the cases like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.validate.execute import on_virtual_gpu, one_thread
from flash4gen.validate.function import results_of
from flash4gen.validate.loops import plan_cases
from tests.validate.subjects import FULL, LOCAL, written

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention

TARGET = "rtx5090"


def first_failures(variant: Attention, folder: Path, *changes: tuple[str, str]) -> list[str]:
    """Return what is wrong with the first case that fails; nothing if all pass."""
    rendered, choice, path = written(variant, TARGET, folder, *changes)
    module = load_module(path)
    runner = on_virtual_gpu(variant, module, library.target(TARGET).arch)
    plan = plan_cases(variant, choice.schedule)
    with one_thread():
        for result in results_of(variant, module, rendered.text, plan, runner):
            if result.failures:
                return [failure.reason for failure in result.failures]
    return []


@pytest.mark.parametrize("variant", [LOCAL, FULL], ids=["local", "full"])
def test_the_unbroken_module_passes(variant: Attention, tmp_path: Path) -> None:
    assert first_failures(variant, tmp_path) == []


MUTANTS = {
    # the mask and the loops that follow from it
    "causal is off by one": ("return (k <= q +", "return (k < q +"),
    "the window is off by one": ("- k < 100)\n\n", "- k <= 100)\n\n"),
    "the first key tile is skipped": (
        "live_start = q_first + seq_k - seq_q - 99",
        "live_start = q_first + seq_k - seq_q - 98 + TILE_K",
    ),
    "the last key is never loaded": (
        "live_end = q_last + seq_k - seq_q + 1",
        "live_end = q_last + seq_k - seq_q",
    ),
    "a full tile starts too early": (
        "full_start = q_last + seq_k",
        "full_start = q_first + seq_k",
    ),
    "a full tile ends too late": ("full_end = q_first + seq_k", "full_end = q_last + seq_k"),
    # the softmax
    "the accumulator is not rescaled": ("acc * rescale[:, None])", "acc)"),
    "the row sum is not rescaled": ("row_sum * rescale + tl.sum(p, 1)", "row_sum + tl.sum(p, 1)"),
    "the row sum forgets earlier tiles": ("row_sum * rescale + tl.sum(p, 1)", "tl.sum(p, 1)"),
    "the row maximum forgets earlier tiles": (
        "new_max = tl.maximum(row_max, tl.max(x, 1))",
        "new_max = tl.max(x, 1)",
    ),
    "minus infinity is subtracted from itself": (
        'tl.where(new_max == float("-inf"), 0.0, new_max)',
        "new_max",
    ),
    # scores and results
    "the scale is a little off": ("tl.constexpr(0.25)", "tl.constexpr(0.2501)"),
    "the score is not applied": ("x = _score(s)", "x = s"),
    "heads take the wrong keys": ("hkv = h // GROUP", "hkv = h % KV_HEADS"),
    "batch entries take the first one's keys": ("k_desc, b, start", "k_desc, 0, start"),
    "the lse lacks its logarithm": ("+ tl.log2(row_sum)", "+ row_sum"),
    "the lse is in base 2": (" * 0.6931471805599453", ""),
    "empty rows divide by zero": ("tl.where(row_sum > 0.0, 1.0 / row_sum, 0.0)", "(1.0 / row_sum)"),
    "empty calls give nan": ('fill_(0.0), lse.fill_(float("-inf"))', 'fill_(0.0), lse.fill_(0.0)'),
    # memory
    "the last row is not stored": ("out, seq_q - q_first)", "out, seq_q - q_first - 1)"),
    "rows past the end are stored": ("mask=row < rows_left", "mask=row < TILE_Q"),
    "strides are not looked at": ("if aligned and x.stride(3) == 1", "if aligned"),
    "the input is scaled in place": (
        "q, k, v = _loadable(q)",
        "q.mul_(2)\n    q, k, v = _loadable(q)",
    ),
    # the module around the kernel
    "the kernel is never launched": (
        "return _launch(q, k, v) if _launches(q) else _eager(q, k, v)",
        "return _eager(q, k, v)",
    ),
    "the cpu path forgets the mask": ('x = x.masked_fill(~visible, float("-inf"))', "x = x * 1"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_fails(name: str, tmp_path: Path) -> None:
    assert first_failures(LOCAL, tmp_path, MUTANTS[name]), name


@pytest.mark.parametrize(
    "change",
    [
        # Under a causal mask the end of the keys needs no code: only this variant can tell.
        pytest.param(("keys[None, :] < seq_k", "keys[None, :] <= seq_k"), id="a key past the end"),
        # A softcap bounds the scores from below.
        pytest.param(('tl.full([TILE_Q], float("-inf")', "tl.full([TILE_Q], 0.0"), id="maximum"),
    ],
)
def test_a_mutant_of_the_plain_variant_fails(change: tuple[str, str], tmp_path: Path) -> None:
    assert first_failures(FULL, tmp_path, change)
