"""The rung ``device``: the cases of ``function`` on the target itself, where it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.functional import pad

from flash4gen.validate.certificate import Rung, Status
from flash4gen.validate.execute import on_device
from flash4gen.validate.function import run_rung

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from torch import Tensor

    from flash4gen.validate.subject import Subject


_TILE = 128


def device_rung(subject: Subject, module: ModuleType, progress: Callable[[str], None]) -> Rung:
    """Run the cases of ``function`` on the target itself, where it is there.

    The working precision that the errors are measured by has the products of the same tensor cores:
    they add more coarsely than float32 does (see ``tensor_core_products``).

    Args:
        subject: what is validated.
        module: its module, imported.
        progress: told the name of each case before it runs.
    """
    reason = unavailable(subject.hardware.arch)
    if reason:
        return Rung("device", Status.NOT_RUN, reason)
    runner = on_device(subject.attention, module)
    return run_rung("device", subject, module, runner, progress, tensor_core_products)


def tensor_core_products(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b in float32 as the tensor cores of the CUDA device compute it.

    They align the products of a step to the largest of them and truncate, so that a sum is off by
    more than roundings of float32 would make it, and always in the same direction: on an H100 a
    score of 12 over 128 products comes out up to 3e-5 too small. cuBLAS computes narrow products
    on other units, so a is padded to whole tiles.

    Args:
        a: [m, n], 16-bit, on the CPU.
        b: [n, p], the same dtype.
    """
    rows, columns = a.shape[0], b.shape[1]
    down, right = -rows % _TILE, -columns % _TILE
    padded = pad(a.cuda(), (0, 0, 0, down)), pad(b.cuda(), (0, right))
    return torch.mm(*padded, out_dtype=torch.float32)[:rows, :columns].cpu()


def unavailable(arch: int) -> str:
    """Return why nothing can be run on a GPU of this compute capability; "" if it can be."""
    if not torch.cuda.is_available():
        return "there is no CUDA device here"
    major, minor = torch.cuda.get_device_capability()
    if 10 * major + minor != arch:
        return f"the CUDA device here is sm_{major}{minor}, the target is sm_{arch}"
    return ""
