"""Warp-specialised kernels with sigmoid weights: numbers, small weights, rows without keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.library import target
from flash4gen.ir.nodes import DType, Weights
from flash4gen.render.module import render
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.validate.execute import Measure, truth_of
from flash4gen.validate.inputs import Inputs
from flash4gen.validate.tolerance import accuracy_of
from flash4gen.vgpu import Check, Policy, virtual_gpu
from tests.ir.notation import attention
from tests.schedule.variants import CAUSAL, FULL, chosen, pinning

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

B200 = target("b200")
PROGRAMS = 2
"""Of a grid that walks all work tiles, so that every barrier goes around more than once."""
MIXED = {"plan": "shared_s"}
SHIFTED = {"plan": "p_in_s", "emulated": 0, "early": 0, "dispatch": "clc"}
ONE_TILE = {"query_tiles": 1, "plan": "double_s"}


def variant(mask: str, score: str, width: int, pins: dict[str, str | int]) -> Attention:
    plain = attention(
        name="small",
        heads=2,
        kv_heads=1,
        dtype=DType.BF16,
        head_dim=width,
        value_dim=width,
        scale=width**-0.5,
        score=score,
        mask=mask,
        weights=Weights.SIGMOID,
    )
    return pinning(plain, **pins)


VARIANTS = {
    "causal, shared_s, two programs": variant(CAUSAL, "s", 128, MIXED),
    "causal, p_in_s, launch control": variant(CAUSAL, "s - 3.0", 64, SHIFTED),
    "window, one tile": variant("k <= q_end and q_end - k < 150", "s - 6.0", 128, ONE_TILE),
    "every key, 256": variant(FULL, "s * 2.0", 256, {}),
}


def module(what: Attention, folder: Path) -> ModuleType:
    choice = chosen(what, B200)
    assert isinstance(choice.schedule, BlackwellSchedule)
    text = render(what, B200, choice).text
    if "clc" not in text:
        for launch in ("_forward_kernel[(works,)]", "_forward_kernel[(min(works, 148),)]"):
            text = text.replace(launch, f"_forward_kernel[({PROGRAMS},)]")
    path = folder / "small.py"
    path.write_text(text, encoding="utf-8")
    return load_module(path)


def inputs(seq_q: int, seq_k: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    q = torch.randn(1, seq_q, 2, width, generator=random).bfloat16()
    k, v = (torch.randn(1, seq_k, 1, width, generator=random).bfloat16() for _ in range(2))
    return q, k, v


def checked(made: ModuleType, *tensors: Tensor) -> tuple[Tensor, Tensor]:
    """Run with all concurrency checks on, which must find nothing."""
    with virtual_gpu(B200.arch, check=Check(policy=Policy.RANDOM)) as gpu:
        out, total = made.small(*tensors)
    (report,) = gpu.reports
    assert not report.findings, "\n".join(map(str, report.findings[:5]))
    return out, total


@pytest.mark.parametrize("name", VARIANTS)
def test_numbers_and_concurrency(name: str, tmp_path: Path) -> None:
    """Several work tiles to a program, each of up to five key tiles, the last ones cut."""
    what = VARIANTS[name]
    made, tensors = module(what, tmp_path), inputs(300, 600, what.head_dim)
    out, total = checked(made, *tensors)
    measure = Measure(accuracy_of(chosen(what, B200).schedule, what.dtype))
    truth = truth_of(what, Inputs(*tensors, (), ()), measure)
    for found in truth.compare(out, total):
        assert not found.problems


def test_small_weights_keep_their_digits_and_hidden_keys_weigh_nothing(tmp_path: Path) -> None:
    """tanh.approx.f32 would round a weight of e^−12 away."""
    what = variant(CAUSAL, "s - 12.0", 64, {})
    made, (q, k, v) = module(what, tmp_path), inputs(140, 130, 64)
    out, total = checked(made, q, k, torch.full_like(v, 1000.0))
    _, expected = made._eager(q, k, v)
    assert bool((total[:, :, :10] == 0).all())  # ten queries come before the first key
    assert bool((out[:, :10] == 0).all())
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(out[0, :, 0, 0].float(), 1000 * total[0, 0], rtol=2.0**-7, atol=0)


def test_without_keys_there_is_nothing(tmp_path: Path) -> None:
    made = module(variant(FULL, "s", 64, {}), tmp_path)
    with virtual_gpu(B200.arch) as gpu:
        out, total = made.small(*inputs(3, 0, 64))
    assert not gpu.launches
    assert bool((out == 0).all())
    assert bool((total == 0).all())
