"""Warp-specialised kernels with input tensors and packed sequences, or sigmoid weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.library import target
from flash4gen.ir.nodes import Lengths, Weights
from flash4gen.render.module import render
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.vgpu import Check, Policy, virtual_gpu
from tests.ir.notation import attention, expr
from tests.long_matrix import slow
from tests.schedule.variants import CAUSAL, chosen, pinning

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

B200 = target("b200")
LENGTHS = ((270, 140), (0, 40), (150, 129), (5, 0))
"""Queries and keys of sequences: some end inside of a tile, the last one has no keys."""
BRIEF = ((1, 130), (129, 200), (2, 1))
"""Of sequences as short on average as the kernel with one query tile takes."""


def variant(score: str, mask: str = CAUSAL, **changes: Any) -> Attention:
    plain = {"name": "small", "heads": 2, "kv_heads": 1, "head_dim": 64, "value_dim": 64}
    return attention(score=score, mask=mask, **plain, **changes)


PACKED = replace(
    variant("s + slopes[h] * float(k - q_end)", lengths=Lengths.PACKED), sink=expr("slopes[h]")
)
LIMITED = variant("s", "k < lengths[b] and k <= q_end", lengths=Lengths.PACKED)
SIGMOID = {
    "slopes": variant("s + slopes[h] * float(k - q_end)", weights=Weights.SIGMOID),
    "bias": variant("s + bias[h, q, k] - 3.0", weights=Weights.SIGMOID),
    "documents": variant(
        "s - 2.0", "k <= q_end and q_docs[b, q] == docs[b, k]", weights=Weights.SIGMOID
    ),
    "pack": pinning(variant("s * slopes[h] - 3.0", weights=Weights.SIGMOID), pack=2),
}
"""Most weights are small, as they are where one trains: 200 of 0.5 would add up to outputs of 28,
whose last bit is more than `compare` allows."""
QUICK = ("bias",)
"""The others have a part each of what this one has."""


def made(what: Attention, folder: Path) -> Any:
    """Return the module, for two programs: every barrier goes around more than once."""
    choice = chosen(what, B200)
    assert isinstance(choice.schedule, BlackwellSchedule)
    text = render(what, B200, choice).text
    assert "_forward_kernel[(works,)]" in text
    path = folder / "small.py"
    path.write_text(text.replace("[(works,)]", "[(2,)]"), encoding="utf-8")
    return load_module(path)


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).half()


def packed(lengths: tuple[tuple[int, int], ...]) -> dict[str, Tensor]:
    """Return q, k and v of these sequences, and where each starts."""
    total_q, total_k = (sum(pair[axis] for pair in lengths) for axis in (0, 1))
    starts = [[0, *accumulate(pair[axis] for pair in lengths)] for axis in (0, 1)]
    return {
        "q": rows(total_q, 2, 64),
        "k": rows(total_k, 1, 64, seed=1),
        "v": rows(total_k, 1, 64, seed=2),
        "cu_seqlens_q": torch.tensor(starts[0], dtype=torch.int32),
        "cu_seqlens_k": torch.tensor(starts[1], dtype=torch.int32),
    }


def compare(module: Any, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Run with all concurrency checks on, which must find nothing; the CPU gives the numbers."""
    with virtual_gpu(B200.arch, check=Check(policy=Policy.RANDOM)) as gpu:
        out, second = module.small(**given)
    (report,) = gpu.reports
    assert not report.findings, "\n".join(map(str, report.findings[:5]))
    expected, expected_second = module.small(**given)
    torch.testing.assert_close(out, expected, rtol=4e-3, atol=4e-3)
    torch.testing.assert_close(second, expected_second, rtol=3e-4, atol=3e-4)
    return out, second


@pytest.mark.parametrize("lengths", [BRIEF, *slow((LENGTHS,))], ids=["one tile", "two tiles"])
def test_slopes_and_a_sink_of_packed_sequences(
    lengths: tuple[tuple[int, int], ...], tmp_path: Path
) -> None:
    slopes = torch.tensor([0.3, -1.5])
    out, lse = compare(made(PACKED, tmp_path), packed(lengths) | {"slopes": slopes})
    if lengths is LENGTHS:  # without keys there is the sink alone
        assert bool((out[-5:] == 0).all())
        assert bool((lse[:, -5:] == slopes[:, None]).all())


def test_a_number_for_each_packed_sequence(tmp_path: Path) -> None:
    limits = torch.tensor([70, 40, 1000, 3], dtype=torch.int32)
    compare(made(LIMITED, tmp_path), packed(LENGTHS) | {"lengths": limits})


def test_packed_sequences_without_any_keys_have_the_sink_alone(tmp_path: Path) -> None:
    slopes = torch.tensor([0.3, -1.5])
    with virtual_gpu(B200.arch) as gpu:
        out, lse = made(PACKED, tmp_path).small(**packed(((3, 0), (2, 0))), slopes=slopes)
    assert not gpu.launches
    assert bool((out == 0).all())
    assert bool((lse == slopes[:, None]).all())


@pytest.mark.parametrize(
    "name",
    [*QUICK, *slow(*(name for name in SIGMOID if name not in QUICK))],
)
def test_inputs_of_sigmoid_weights(name: str, tmp_path: Path) -> None:
    what = SIGMOID[name]
    seq_q, seq_k = 150, 200
    given = {
        "q": rows(1, seq_q, 2, 64),
        "k": rows(1, seq_k, 1, 64, seed=1),
        "v": rows(1, seq_k, 1, 64, seed=2),
    }
    for tensor in what.inputs:
        shape = what.shape_of(tensor, 1, seq_q, seq_k)
        documents = (torch.arange(shape[-1]) // 70).int().expand(shape).clone()
        numbers = rows(*shape, seed=3).to({"f32": torch.float32}.get(tensor.dtype, torch.bfloat16))
        given[tensor.name] = documents if "docs" in tensor.name else numbers
    compare(made(what, tmp_path), given)
