"""Memory of a training step: the table prints what generated functions allocate and save."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from benchmarks.training_memory import Made, idle_module, step_memory, storages
from flash4gen.ir import library
from flash4gen.vgpu import virtual_gpu

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.training_memory import Memory

HEADS, WIDTH, FLOAT = 16, 128, 4


def memory(target: str, seq: int, folder: Path, batch: int = 1) -> Memory:
    module, attention = idle_module(target, folder)
    with virtual_gpu(library.target(target).arch, execute=False):
        return step_memory(module, attention, seq, batch)


@pytest.mark.parametrize("batch", [1, 3])
def test_portable_kernels_keep_one_number_per_query_and_work_with_two(
    tmp_path: Path, batch: int
) -> None:
    step = memory("h100", 300, tmp_path, batch)
    rows = batch * HEADS * 300
    assert step.kept == rows * FLOAT
    assert step.workspace == 2 * rows * FLOAT


def test_a_pipeline_adds_up_the_gradient_of_queries_in_float32_besides(tmp_path: Path) -> None:
    step = memory("b200", 300, tmp_path)
    padded = 384  # whole tiles of 128 queries
    assert step.kept == HEADS * 300 * FLOAT
    assert step.workspace == (2 * HEADS * padded + HEADS * 300 * WIDTH) * FLOAT


@pytest.mark.parametrize("target", ["h100", "b200"])
def test_nothing_is_quadratic(tmp_path: Path, target: str) -> None:
    short, long = (memory(target, seq, tmp_path) for seq in (256, 1024))
    assert long.beyond == 4 * short.beyond
    assert long.given == 4 * short.given


def test_inputs_outputs_and_their_gradients_are_counted_once(tmp_path: Path) -> None:
    step = memory("h100", 256, tmp_path)
    queries, keys = 256 * HEADS * WIDTH * 2, 256 * 4 * WIDTH * 2
    assert step.given == 2 * (2 * queries + 2 * keys)


def test_a_tensor_that_was_freed_still_counts() -> None:
    with Made() as made:
        for _ in range(3):
            torch.empty(1000)
    assert sum(storages(made.tensors).values()) == 3 * 4000
