"""Packed sequences in the backward pipeline: each as if it were alone, whatever lies beside it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.library import target
from flash4gen.ir.nodes import EmptyRow, Lengths, Weights
from flash4gen.render.module import render
from flash4gen.schedule.backward.pipeline.model import PipelineSchedule
from flash4gen.validate.cases import Case
from flash4gen.validate.certificate import Status
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.validate.determinism import determinism_rung
from flash4gen.validate.structure import compile_rung, schedule_rung
from flash4gen.vgpu import Check, Policy, virtual_gpu
from tests.ir.notation import expr
from tests.schedule.variants import chosen
from tests.validate.subjects import subject
from tests.validate.test_packed_gradients import GAINS
from tests.validate.training import FEW, assert_right, training

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

    from flash4gen.ir.nodes import Attention
    from flash4gen.validate import Subject

B200 = target("b200")
SMALL = {"heads": 2, "kv_heads": 1, "head_dim": 64, "value_dim": 64, "scale": 0.125, "pins": ()}
CAUSAL = {"mask": "k <= q_end"}
IN_TURNS = {"deterministic": True}
SIGMOID = {"weights": Weights.SIGMOID, "score": "s - 2.0"}
WIDE = {"head_dim": 128, "value_dim": 128, "scale": 0.09}
TWO_PARTS = {"head_dim": 192, "value_dim": 128, "scale": 0.07}
LENGTHS = Case(name="several tiles", seq_q=150, seq_k=300)


def packed(**changes: Any) -> Attention:
    """Return a small variant whose sequences lie one behind the other."""
    return training(**{**SMALL, "lengths": Lengths.PACKED, **changes})


def built(variant: Attention, folder: Path) -> Subject:
    found = subject(variant, "b200", folder)
    assert found.choice.backward is not None
    assert isinstance(found.choice.backward.schedule, PipelineSchedule)
    return found


def silent(_what: str) -> None:
    """Take progress and say nothing."""


VARIANTS: dict[str, dict[str, Any]] = {
    "no mask": {},
    "causal": CAUSAL,
    "from the start, in turns": {**IN_TURNS, "mask": "k <= q"},
    "two ranges": {"mask": "k < 4 or (k <= q_end and q_end - k < 24)"},
    "no range": {"mask": "k % 3 == 0 or k == q"},
    "empty rows": {"mask": "k < q - 3", "empty_row": EmptyRow.NAN},
    "wide": {**WIDE, **CAUSAL},
    "wide, softcap and a window": {
        **WIDE,
        "mask": "k <= q_end and q_end - k < 40",
        "score": "5.0 * tanh(s / 5.0)",
    },
    "192 and 128": {**TWO_PARTS, **CAUSAL},
    "192 and 128, in turns": {**TWO_PARTS, **CAUSAL, **IN_TURNS},
    "a slope for each sequence": {**CAUSAL, "score": "s + gains[b, h] * float(k - q_end)"},
    "a slope for each group": {"score": "s + group_gains[hkv] * abs(float(k - q_end))"},
    "a sink for each sequence": {**CAUSAL, "inputs": (GAINS,), "sink": expr("gains[b, h]")},
    "sigmoid": {**CAUSAL, **SIGMOID},
    "sigmoid and a bias, wide": {
        **WIDE,
        **SIGMOID,
        "mask": "k <= q",
        "score": "s - 2.0 - gains[b, h]",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_are_right(name: str, tmp_path: Path) -> None:
    """A case is several sequences, one without queries and one without keys."""
    found = built(packed(**VARIANTS[name]), tmp_path)
    assert schedule_rung(found, load_module(found.path)).status is Status.PASSED
    assert compile_rung(found).status is Status.PASSED
    assert_right(found, LENGTHS, FEW)


def test_a_sink_is_summed_over_the_queries_of_a_sequence_and_a_slope_over_its_keys() -> None:
    both = {"score": "s + gains[b, h] * float(k - q_end)", "sink": expr("gains[b, h]")}
    variant = packed(**CAUSAL, inputs=(GAINS,), **both)
    text = render(variant, B200, chosen(variant, B200)).text
    launcher = text[text.index("def _launch_backward(") : text.index("def _eager_scores(")]
    sums = re.findall(r"_by_sequence\((\w+), (\w+)\)", launcher)
    assert sums == [("sum_gains_b_h", "cu_seqlens_k"), ("sum_gains_b_h_sink", "cu_seqlens_q")]


@pytest.mark.slow
def test_in_turns_every_run_gives_the_same_bits(tmp_path: Path) -> None:
    found = built(packed(**CAUSAL, **IN_TURNS), tmp_path)
    rung = determinism_rung(found, load_module(found.path), silent)
    assert rung.details["deterministic"] is True


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, IN_TURNS, SIGMOID], ids=["lse", "in turns", "sigmoid"])
def test_no_mutant_is_missed(more: dict[str, Any], tmp_path: Path) -> None:
    found = built(packed(**{**CAUSAL, **more, "heads": 1}), tmp_path)
    rung = concurrency_rung(found, load_module(found.path), silent, mutate=True)
    assert rung.status is Status.PASSED, rung.details
    score = rung.details["mutants"]
    assert isinstance(score, dict)
    assert score["missed"] == 0


PACKED = replace(packed(**CAUSAL, **IN_TURNS), name="packed")
PADDED = replace(PACKED, name="padded", lengths=Lengths.ANY)
SEQUENCES = ((200, 130), (0, 40), (128, 257), (5, 0), (1, 3))
"""Queries and keys: some end inside of a tile, one where a tile ends; some have none of either."""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    folder = tmp_path_factory.mktemp("packed")
    made = {}
    for variant in (PACKED, PADDED):
        path = folder / f"{variant.name}.py"
        text = render(variant, B200, chosen(variant, B200)).text
        path.write_text(text, encoding="utf-8")
        made[variant.name] = load_module(path)
    return made


def arguments(lengths: tuple[tuple[int, int], ...]) -> dict[str, Tensor]:
    """Return random tensors of these sequences, the gradient of the output, and their starts."""
    random = torch.Generator().manual_seed(0)
    total_q, total_k = (sum(pair[axis] for pair in lengths) for axis in (0, 1))
    shapes = {
        "q": (total_q, 2, 64),
        "k": (total_k, 1, 64),
        "v": (total_k, 1, 64),
        "grad": (total_q, 2, 64),
    }
    given = {name: torch.randn(it, generator=random).bfloat16() for name, it in shapes.items()}
    for axis, name in enumerate(("cu_seqlens_q", "cu_seqlens_k")):
        starts = [0, *accumulate(pair[axis] for pair in lengths)]
        given[name] = torch.tensor(starts, dtype=torch.int32)
    return given


def gradients(made: ModuleType, given: dict[str, Tensor], policy: Policy) -> list[Tensor]:
    """Return those of q, k and v, with all concurrency checks on, which must find nothing."""
    leaves = [given[name].detach().requires_grad_() for name in "qkv"]
    starts = {name: x for name, x in given.items() if name.startswith("cu")}
    with virtual_gpu(B200.arch, check=Check(policy=policy)) as gpu:
        out, _ = (made.packed if starts else made.padded)(*leaves, **starts)
        found = torch.autograd.grad(out, leaves, given["grad"])
    for report in gpu.reports:
        assert not report.findings, "\n".join(map(str, report.findings[:5]))
    return [*found]


@pytest.mark.slow
def test_each_sequence_is_computed_as_if_it_were_alone(modules: dict[str, ModuleType]) -> None:
    """Bit for bit, as programs add in turns: no row of another sequence comes in."""
    given = arguments(SEQUENCES)
    dq, dk, dv = gradients(modules["packed"], given, Policy.RANDOM)
    starts = [given[name].tolist() for name in ("cu_seqlens_q", "cu_seqlens_k")]
    for (q, q_end), (k, k_end) in zip(*map(pairwise, starts), strict=True):
        rows, keys = slice(q, q_end), slice(k, k_end)
        if q == q_end or k == k_end:
            assert not any(bool(x.any()) for x in (dq[rows], dk[keys], dv[keys]))
            continue
        own = {"q": rows, "k": keys, "v": keys, "grad": rows}
        alone = {name: given[name][None, at].contiguous() for name, at in own.items()}
        found = gradients(modules["padded"], alone, Policy.RANDOM)
        for one, other in zip((dq[rows], dk[keys], dv[keys]), found, strict=True):
            assert torch.equal(one, other[0])


@pytest.mark.slow
@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_what_lies_in_a_neighbour_stays_there(modules: dict[str, ModuleType], worst: float) -> None:
    """A hidden key weighs 0, and 0 · NaN is NaN: copies must end where a sequence does."""
    given = arguments(((70, 90), (60, 50), (100, 130)))
    plain = gradients(modules["packed"], given, Policy.RANDOM)
    given["q"][70:130], given["grad"][70:130] = worst, worst
    given["k"][90:140], given["v"][90:140] = worst, worst
    found = gradients(modules["packed"], given, Policy.RANDOM)
    others = {"q": (0, 70, 130, 230), "k": (0, 90, 140, 270), "v": (0, 90, 140, 270)}
    for (a, b, c, d), one, other in zip(others.values(), plain, found, strict=True):
        assert torch.equal(one[a:b], other[a:b])
        assert torch.equal(one[c:d], other[c:d])
