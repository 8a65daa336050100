"""What a test of a Gluon kernel is made of: the kernel, its inputs, and what must come out.

A case compiles once per variant; its TTGIR and fresh arguments can then be run any number of times.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from triton.experimental.gluon.language import NVMMASharedLayout, float16
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from flash4gen.vgpu import HostDescriptor, parse_ttgir, virtual_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """A kernel with everything a launch needs.

    Attributes:
        name: of the case.
        arch: compute capability it is compiled for.
        kernel: the Gluon function.
        values: makes fresh arguments, by parameter name, constants included.
        reference: what each output must be, from such arguments before the launch.
        grid: of the launch.
        options: of the launch, such as `num_warps`.
        tolerance: relative and absolute.
    """

    name: str
    arch: int
    kernel: Any
    values: Callable[[], Values]
    reference: Callable[[Values], Mapping[str, Tensor]]
    grid: tuple[int, ...] = (1,)
    options: Mapping[str, Any] = field(default_factory=dict)
    tolerance: float = 0.0

    def text(self, broken: str = "") -> str:
        """Return the TTGIR of the kernel, or of its variant with one bug."""
        return _compiled(self, broken)

    def arguments(self, values: Values, broken: str = "") -> list[Any]:
        """Return the arguments of the compiled function."""
        return flat_arguments(self.text(broken), values)

    def fresh(self, broken: str = "") -> list[Any]:
        """Return the arguments of the compiled function, made anew."""
        return self.arguments(self.values(), broken)


@lru_cache(maxsize=512)
def _compiled(case: Case, broken: str) -> str:
    values = case.values()
    with virtual_gpu(case.arch, execute=False) as gpu:
        case.kernel[case.grid](
            **values, BROKEN=broken, enable_fp_fusion=False, num_warps=4, **case.options
        )
    return str(gpu.launches[-1].asm["ttgir"])


def flat_arguments(text: str, values: Mapping[str, Any]) -> list[Any]:
    """Return the values of the compiled function's arguments, in its order."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, TensorDescriptor):
            shape, strides = tuple(value.shape), tuple(value.strides)
            flat[name] = HostDescriptor(value.base, shape, strides)
            for axis, (extent, stride) in enumerate(zip(shape, strides, strict=True)):
                flat[f"{name}.shape.{axis}"] = extent
                flat[f"{name}.stride.{axis}"] = stride
        else:
            flat[name] = value
    return [flat[argument.name] for argument in parse_ttgir(text).kernel.arguments]


def tensor_of(value: Any) -> Tensor:
    """Return the tensor behind an argument."""
    tensor = value.base if isinstance(value, TensorDescriptor) else value
    assert isinstance(tensor, Tensor)
    return tensor


def tiled(tensor: Tensor, rows: int, cols: int, **layout: Any) -> TensorDescriptor:
    """Return a TMA descriptor of a 2-D fp16 tensor for boxes of this size."""
    shared = NVMMASharedLayout.get_default_for([rows, cols], float16, **layout)
    return TensorDescriptor.from_tensor(tensor, [rows, cols], shared)


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Return normally distributed fp16 values."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(*shape, generator=generator) * scale).half()
