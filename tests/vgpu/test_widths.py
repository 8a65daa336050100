"""Accesses of different widths to the same bytes of global memory are compared."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flash4gen.vgpu import Check, FindingKind, Policy, Report, virtual_gpu
from flash4gen.vgpu.shadow import Shadow
from tests.vgpu import machine_kernels
from tests.vgpu.running import PINNED

N = 128


def report(kernel: Any, apart: int, grid: tuple[int, ...] = (1,), **settings: Any) -> Report:
    """Run a kernel on words and halves of one tensor."""
    words = torch.zeros(2 * N)
    with virtual_gpu(90, check=Check(**settings)) as gpu:
        kernel[grid](words, words.view(torch.int16), N, apart, **PINNED)
    return gpu.reports[-1]


@pytest.mark.parametrize("policy", Policy)
def test_a_race_of_words_with_halves(policy: Policy) -> None:
    kernel = machine_kernels.through_two_views
    assert report(kernel, N, policy=policy).findings == ()
    (found,) = report(kernel, N - 1, policy=policy).findings
    assert found.kind is FindingKind.RACE_GLOBAL
    assert found.other is not None
    assert {found.partition, found.other.partition} == {"default", "partition0"}


def test_programs_that_write_the_same_bytes_as_words_and_as_halves() -> None:
    kernel = machine_kernels.programs_through_two_views
    assert report(kernel, N, (2,)).findings == ()
    kinds = {found.kind for found in report(kernel, N - 1, (2,)).findings}
    assert kinds == {FindingKind.WRITE_OVERLAP}


def test_a_map_gets_finer_and_keeps_what_it_knows() -> None:
    storage = torch.zeros(4, dtype=torch.int64)
    shadow = Shadow(32, 8, blank=0, dtype=torch.int64)
    shadow.put(storage, torch.tensor([1]), 5)
    bytes_ = storage.view(torch.int8)
    assert shadow.get(bytes_).tolist() == [0] * 8 + [5] * 8 + [0] * 16
    shadow.put(bytes_[15:18], None, 7)
    assert shadow.get(storage).tolist() == [
        [0] * 8, [5] * 7 + [7], [7, 7] + [0] * 6, [0] * 8,
    ]  # fmt: skip
    assert shadow.get(storage[1:], torch.tensor([0])).tolist() == [[5] * 7 + [7]]


def test_a_window_of_a_wider_type_covers_all_of_its_pieces() -> None:
    shadow = Shadow(48, 2, blank=-1, dtype=torch.int32)
    words = torch.zeros(12, dtype=torch.int32).view(3, 4)
    shadow.put(words[:, 1:3], None, 4)
    halves = shadow.get(torch.zeros(24, dtype=torch.int16)).view(3, 8)
    assert bool((halves[:, 2:6] == 4).all())
    assert bool((halves[:, :2] == -1).all())
    assert bool((halves[:, 6:] == -1).all())
