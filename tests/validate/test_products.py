"""Products on tensor cores: on the virtual GPU, whose additions round, they are the exact ones."""

from __future__ import annotations

import pytest
import torch

from flash4gen.validate.oracle import exact_products
from flash4gen.validate.products import tensor_core_products
from flash4gen.vgpu import virtual_gpu


@pytest.mark.parametrize("arch", [80, 90, 100])
@pytest.mark.parametrize(("m", "n", "p"), [(5, 128, 300), (1, 80, 7), (130, 256, 64)])
def test_of_any_shape(arch: int, m: int, n: int, p: int) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(m, n).bfloat16(), torch.randn(p, n).bfloat16().T
    with virtual_gpu(arch):
        got = tensor_core_products(a, b)
    torch.testing.assert_close(got, exact_products(a, b), rtol=1e-5, atol=1e-4)


def test_of_nothing() -> None:
    with virtual_gpu(80):
        got = tensor_core_products(torch.empty(3, 16).half(), torch.empty(16, 0).half())
    assert got.shape == (3, 0)


@pytest.mark.gpu
def test_small_products_beside_a_large_one_are_cut_off_on_a_device() -> None:
    a = torch.full((64, 256), 0.05).bfloat16()
    a[:, 0] = 13.86
    truth = a.double() @ a.double().T
    error = (tensor_core_products(a, a.T).double() - truth).abs().max() / truth.max()
    assert 0 < error < 2.0**-15
