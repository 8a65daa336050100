"""Warp-specialised kernels for packed sequences: each as if it were alone, whatever lies beside it.

A grid of two programs walks all work tiles, so that every barrier goes around more than once.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.library import target
from flash4gen.ir.nodes import Lengths
from flash4gen.render.module import render
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.vgpu import Check, Policy, virtual_gpu
from tests.ir.notation import attention
from tests.schedule.variants import CAUSAL, chosen

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

B200 = target("b200")
PROGRAMS = 2
PACKED = attention(
    name="packed",
    heads=1,
    kv_heads=1,
    head_dim=64,
    value_dim=64,
    mask=CAUSAL,
    lengths=Lengths.PACKED,
)
PADDED = replace(PACKED, name="padded", lengths=Lengths.ANY)
LONG = ((300, 200), (0, 40), (257, 129), (5, 0))
"""Queries and keys of sequences with as many rows on average as take two query tiles: some end
inside of a tile, one where a tile ends; some have no queries or no keys."""
SHORT = ((1, 130), (0, 7), (129, 200), (2, 1), (0, 0))
"""Of such as take one query tile, one of them more than that."""


def module(variant: Attention, folder: Path) -> ModuleType:
    """Render for two programs, whatever the number of work tiles, and import it."""
    choice = chosen(variant, B200)
    assert isinstance(choice.schedule, BlackwellSchedule)
    text = render(variant, B200, choice).text
    launch = "_forward_kernel[(works,)]"
    assert launch in text
    path = folder / f"{variant.name}.py"
    path.write_text(text.replace(launch, f"_forward_kernel[({PROGRAMS},)]"), encoding="utf-8")
    return load_module(path)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    folder = tmp_path_factory.mktemp("packed")
    return {variant.name: module(variant, folder) for variant in (PACKED, PADDED)}


def arguments(lengths: tuple[tuple[int, int], ...]) -> dict[str, Tensor]:
    """Return random tensors of these sequences, and where they start."""
    random = torch.Generator().manual_seed(0)
    total_q, total_k = (sum(pair[axis] for pair in lengths) for axis in (0, 1))
    shapes = {"q": (total_q, 1, 64), "k": (total_k, 1, 64), "v": (total_k, 1, 64)}
    given = {name: torch.randn(shape, generator=random).half() for name, shape in shapes.items()}
    for axis, name in enumerate(("cu_seqlens_q", "cu_seqlens_k")):
        starts = [0, *accumulate(pair[axis] for pair in lengths)]
        given[name] = torch.tensor(starts, dtype=torch.int32)
    return given


def checked(made: ModuleType, given: dict[str, Tensor], policy: Policy) -> tuple[Tensor, Tensor]:
    """Run with all concurrency checks on, which must find nothing."""
    with virtual_gpu(B200.arch, check=Check(policy=policy)) as gpu:
        out, lse = made.packed(**given)
    (report,) = gpu.reports
    assert not report.findings, "\n".join(map(str, report.findings[:5]))
    return out, lse


@pytest.mark.parametrize("lengths", [LONG, SHORT], ids=["two tiles", "one tile"])
def test_each_sequence_is_computed_as_if_it_were_alone(
    modules: dict[str, ModuleType], lengths: tuple[tuple[int, int], ...]
) -> None:
    """Bit for bit: what shares a program with a query, and how many tiles it has, changes none."""
    given = arguments(lengths)
    out, lse = checked(modules["packed"], given, Policy.RANDOM)
    starts = [given[name].tolist() for name in ("cu_seqlens_q", "cu_seqlens_k")]
    for (q, q_end), (k, k_end) in zip(*map(pairwise, starts), strict=True):
        rows = slice(q, q_end)
        if k == k_end:
            assert bool((out[rows] == 0).all())
            assert bool(lse[:, rows].isneginf().all())
        elif q < q_end:
            keys = slice(k, k_end)
            with virtual_gpu(B200.arch):
                alone = modules["padded"].padded(
                    given["q"][None, rows], given["k"][None, keys], given["v"][None, keys]
                )
            assert torch.equal(out[rows], alone[0][0])
            assert torch.equal(lse[:, rows], alone[1][0])


@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_what_lies_in_a_neighbour_stays_there(modules: dict[str, ModuleType], worst: float) -> None:
    """A hidden key weighs 0, and 0 · NaN is NaN: the copy engine must end where a sequence does."""
    lengths = ((70, 90), (0, 50), (200, 170))
    given = arguments(lengths)
    with virtual_gpu(B200.arch):
        plain, _ = modules["packed"].packed(**given)
        for name in ("k", "v"):
            given[name][90:140] = worst  # of a sequence without queries
        out, _ = modules["packed"].packed(**given)
    assert torch.equal(out, plain)


def test_the_kernel_with_one_query_tile_is_for_sequences_that_are_short_on_average(
    modules: dict[str, ModuleType],
) -> None:
    columns = []
    for queries in (128, 129):
        with virtual_gpu(B200.arch, execute=False) as gpu:
            modules["packed"].packed(**arguments(((queries, 1), (2 * queries, 9), (0, 3))))
        columns.append(gpu.launches[0].metadata.tmem_size)
    assert columns[0] < columns[1]


def test_no_keys_at_all(modules: dict[str, ModuleType]) -> None:
    given = arguments(((5, 0), (3, 0)))
    with virtual_gpu(B200.arch) as gpu:
        out, lse = modules["packed"].packed(**given)
    assert not gpu.launches
    assert bool((out == 0).all())
    assert bool(lse.isneginf().all())
