"""A GPU as data: the numbers of one ``hardware`` item, each with its source."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from flash4gen.source import Span


class Feature(StrEnum):
    """Instructions a target has that a kernel may use."""

    CP_ASYNC = "cp_async"
    TMA = "tma"
    WGMMA = "wgmma"
    TCGEN05 = "tcgen05"
    TMEM_REDUCE = "tmem_reduce"
    FP8 = "fp8"
    MFMA = "mfma"
    LDS_DMA = "lds_dma"


class Backend(StrEnum):
    """Triton's backends: CUDA for NVIDIA's GPUs, HIP for AMD's."""

    CUDA = "cuda"
    HIP = "hip"


Arch: TypeAlias = int | str
"""An architecture as Triton names it: the compute capability of CUDA, LLVM's processor of HIP."""


FEATURES_OF: dict[Backend, frozenset[Feature]] = {
    Backend.CUDA: frozenset(Feature) - {Feature.MFMA, Feature.LDS_DMA},
    Backend.HIP: frozenset({Feature.MFMA, Feature.LDS_DMA, Feature.FP8}),
}
"""Which instructions there can be. MFMA: products of a whole wave. LDS_DMA: copies from global
memory to the LDS, 16 bytes a lane, that pass no register."""


def arch_text(arch: Arch) -> str:
    """Return an architecture as people write it: sm_90, gfx942."""
    return f"sm_{arch}" if isinstance(arch, int) else arch


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One GPU.

    Names are CUDA's. AMD's compute units are SMs here, their waves warps, their LDS shared memory.

    Attributes:
        name: identifier, such as ``b200``; also the folder name under ``generated/``.
        doc: the product's name.
        backend: Triton's backend name.
        arch: as Triton wants it: 80, 90, 100, 103, 120, or gfx942, gfx950.
        warp_size: threads per warp.
        sms: streaming multiprocessors.
        clock_mhz: highest clock, MHz.
        mma_flops: dense bf16/fp16 tensor-core FLOP per clock per SM, fp32 accumulation.
        exp2_rate: exp2 results per clock per SM (the MUFU rate).
        fma_rate: fp32 fused multiply-adds per clock per SM.
        smem_read_rate: shared-memory bytes read per clock per SM.
        hbm_bandwidth: bytes per second, as specified by the vendor.
        l2_bytes: size of the L2 cache.
        registers_per_sm: 32-bit registers.
        registers_per_thread: most that one thread may hold.
        threads_per_block: most threads in one block.
        warps_per_sm: most resident warps.
        smem_per_sm: bytes of shared memory.
        smem_per_block: most bytes one block may ask for.
        smem_reserved: bytes the system takes per resident block.
        tmem_columns: columns of tensor memory, 0 where there is none.
        features: instructions it has.
        sources: (field, source) of every number above.
        span: the item's name.
    """

    name: str
    doc: str
    backend: str
    arch: Arch
    warp_size: int
    sms: int
    clock_mhz: int
    mma_flops: int
    exp2_rate: int
    fma_rate: int
    smem_read_rate: int
    hbm_bandwidth: int
    l2_bytes: int
    registers_per_sm: int
    registers_per_thread: int
    threads_per_block: int
    warps_per_sm: int
    smem_per_sm: int
    smem_per_block: int
    smem_reserved: int
    tmem_columns: int
    features: frozenset[Feature]
    sources: tuple[tuple[str, str], ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def capability(self) -> int:
        """The compute capability.

        Raises:
            TypeError: the GPU is not one of CUDA's and has none.
        """
        if isinstance(self.arch, int):
            return self.arch
        raise TypeError(f"{self.arch} is no compute capability")

    def has(self, feature: Feature) -> bool:
        """Whether the target has an instruction."""
        return feature in self.features
