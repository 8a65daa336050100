"""Matrix products as the tensor cores of a CUDA device compute them, for the rung ``device``.

Tensor cores align the products of one step, and the sum so far, to the largest among them and cut
off what is below its last bit: sums of 256 products come out too small by 2.6e-7 of their size on
an H100 (measured), where float32, rounding every addition to nearest, is off by 1e-8 on average. No
kernel can do better, so the working precision that it is measured by has the same products. On a
HIP device they are those of its matrix cores.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_ROWS = tl.constexpr(64)
"""Of a tile: enough for every kind of tensor core (wgmma computes 64 rows)."""

_COLUMNS = tl.constexpr(128)
_STEP = tl.constexpr(64)


@triton.jit
def _product_kernel(a, b, out, m, n, p):  # type: ignore[no-untyped-def]
    """Compute a tile of out[m, p] = a[m, n] @ b[n, p]; the rows of all three are contiguous."""
    rows = tl.program_id(0) * _ROWS + tl.arange(0, _ROWS)[:, None]
    columns = tl.program_id(1) * _COLUMNS + tl.arange(0, _COLUMNS)
    acc = tl.zeros([_ROWS, _COLUMNS], tl.float32)
    for first in range(0, n, _STEP):
        inner = first + tl.arange(0, _STEP)
        left = tl.load(a + rows * n + inner, (rows < m) & (inner < n), other=0.0)
        below = inner[:, None]
        right = tl.load(b + below * p + columns, (below < n) & (columns < p), other=0.0)
        if left.dtype.primitive_bitwidth == 8:  # as the kernels do, whose sums these are
            acc += tl.dot(left, right, max_num_imprecise_acc=_STEP)
        else:
            acc = tl.dot(left, right, acc)
    tl.store(out + rows * p + columns, acc, (rows < m) & (columns < p))


def tensor_core_products(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a @ b in float32 as the device's tensor cores compute it, one after the other.

    Args:
        a: [m, n], 16-bit or 8-bit, on the CPU.
        b: [n, p], the same dtype.

    Returns:
        [m, p], on the CPU.
    """
    device = triton.runtime.driver.active.get_active_torch_device()
    m, n, p = *a.shape, b.shape[1]
    out = torch.empty(m, p, dtype=torch.float32, device=device)
    if out.numel():
        grid = (triton.cdiv(m, _ROWS.value), triton.cdiv(p, _COLUMNS.value))
        left, right = (x.to(device).contiguous() for x in (a, b))
        _product_kernel[grid](left, right, out, m, n, p, enable_fp_fusion=True)
    return out.cpu()
