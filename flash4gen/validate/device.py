"""The rung ``device``: the cases of ``function`` on the target itself, where it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flash4gen.validate.certificate import Rung, Status
from flash4gen.validate.execute import on_device
from flash4gen.validate.function import run_rung
from flash4gen.validate.products import tensor_core_products

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from flash4gen.ir.hardware import Arch
    from flash4gen.validate.subject import Subject


def device_rung(subject: Subject, module: ModuleType, progress: Callable[[str], None]) -> Rung:
    """Run the cases of ``function`` on the target itself, where it is there.

    The working precision that the errors are measured by has the products of the same tensor cores:
    they add more coarsely than float32 does (see ``validate.products``).

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


def unavailable(arch: Arch) -> str:
    """Return why nothing can be run on a GPU of this architecture; "" if it can be."""
    if isinstance(arch, str):
        return _unavailable_hip(arch)
    if torch.version.hip is not None:
        return "PyTorch is built for HIP here, the target is a CUDA device"
    if not torch.cuda.is_available():
        return "there is no CUDA device here"
    major, minor = torch.cuda.get_device_capability()
    if 10 * major + minor != arch:
        return f"the CUDA device here is sm_{major}{minor}, the target is sm_{arch}"
    return ""


def _unavailable_hip(arch: str) -> str:
    """Return the same for a GPU of AMD, which PyTorch reaches under CUDA's names."""
    if torch.version.hip is None or not torch.cuda.is_available():
        return "there is no HIP device here"
    found = str(torch.cuda.get_device_properties(0).gcnArchName).partition(":")[0]
    return "" if found == arch else f"the HIP device here is {found}, the target is {arch}"
