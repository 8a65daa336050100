"""Products that are written where they belong have the bits of those that are copied there."""

from __future__ import annotations

import pytest
import torch

from flash4gen.vgpu.ops.tensor_core import multiply_into


def matrices(rows: int, columns: int, depth: int, *, transposed: bool) -> tuple[torch.Tensor, ...]:
    """Return two factors as the tensor core sees those of 16 bits."""
    random = torch.Generator().manual_seed(rows + columns + depth)
    left = torch.randn(rows, depth, generator=random).bfloat16().float()
    shape = (columns, depth) if transposed else (depth, columns)
    right = torch.randn(shape, generator=random).bfloat16().float()
    return left, right.T if transposed else right


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shape", [(128, 128, 128), (128, 64, 128), (64, 256, 64), (128, 16, 32)])
def test_a_product_in_place(shape: tuple[int, int, int], *, transposed: bool) -> None:
    rows, columns, depth = shape
    left, right = matrices(rows, columns, depth, transposed=transposed)
    memory = torch.zeros(2, rows, columns)
    target = memory[1]
    assert multiply_into(target, left, right, None) is target
    assert torch.equal(target, left @ right)
    expected = torch.addmm(target, left, right)
    assert multiply_into(target, left, right, target) is target
    assert torch.equal(target, expected)
    assert not memory[0].any()


def test_what_a_product_reads_stays_until_it_is_done() -> None:
    memory = torch.randn(32, 64)
    target, factor = memory[:, :32], memory[:, 32:]
    assert multiply_into(target, factor, factor, None) is not target
    whole = memory[:16].reshape(32, 32)
    assert multiply_into(whole, whole, factor, None) is not whole
    wide = torch.zeros(32, 32, dtype=torch.float16)
    assert multiply_into(wide, factor.half(), factor.half(), wide) is not wide
