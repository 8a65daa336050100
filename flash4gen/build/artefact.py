"""A compiled kernel and what is known about it without running it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class WaveFacts:
    """What a kernel for AMD is known by besides.

    Attributes:
        accumulation_registers: of the registers of a lane, those that only MFMA and moves reach.
        scalar_registers: registers that all lanes of a wave share.
        scalar_spills: of those, the ones kept in lanes of vector registers; no memory is used.
        waves_per_simd: how many waves the registers leave room for in one of the four SIMDs.
    """

    accumulation_registers: int
    scalar_registers: int
    scalar_spills: int
    waves_per_simd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the compiled binary needs and holds.

    Attributes:
        registers: 32-bit registers per thread; on AMD vector registers per lane, both kinds.
        spill_bytes: local memory per thread in bytes; more than 0 means that registers spill.
        smem_bytes: shared memory of one block.
        tmem_columns: tensor-memory columns of one block.
        threads: threads of one block.
        tensor_instructions: (mnemonic, count) of the tensor-core instructions in the SASS, or of
            AMD's matrix instructions in the assembly.
        instructions: all instructions there.
        spill_stores, spill_loads: of these, those that store and load spilled registers.
        loop_spills: of these, those inside the innermost loops over the keys, where they cost
            time on every turn; spills around the loops cost next to nothing.
        wave: of kernels for AMD.
    """

    registers: int
    spill_bytes: int
    smem_bytes: int
    tmem_columns: int
    threads: int
    tensor_instructions: tuple[tuple[str, int], ...]
    instructions: int
    spill_stores: int
    spill_loads: int
    loop_spills: int
    wave: WaveFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """One kernel, compiled for one target.

    Attributes:
        kernel: name of the kernel function.
        target: name of the hardware item.
        ttgir: Triton's GPU IR, the text that the virtual GPU runs.
        ptx: PTX assembly; empty on AMD.
        sass: disassembly of the cubin; empty where the tools do not know the architecture.
        cubin: the binary: on AMD a hsaco.
        amdgcn: AMD's assembly; empty on NVIDIA.
        facts: read from the above.
        short: the kernel that the module launches for short queries, if that is another one.
    """

    kernel: str
    target: str
    ttgir: str = field(repr=False)
    ptx: str = field(repr=False)
    sass: str = field(repr=False)
    cubin: bytes = field(repr=False)
    facts: Facts
    short: Artefact | None = None
    amdgcn: str = field(default="", repr=False)

    @property
    def hsaco(self) -> bytes:
        """The binary, by its name on AMD."""
        return self.cubin

    @property
    def kernels(self) -> tuple[Artefact, ...]:
        """All kernels of the module, this one first."""
        return (self,) if self.short is None else (self, self.short)
