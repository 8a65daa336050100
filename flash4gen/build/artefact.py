"""A compiled kernel and what is known about it without running it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the compiled binary needs and holds.

    Attributes:
        registers: 32-bit registers per thread.
        spill_bytes: local memory per thread in bytes; more than 0 means that registers spill.
        smem_bytes: shared memory of one block.
        tmem_columns: tensor-memory columns of one block.
        threads: threads of one block.
        tensor_instructions: (mnemonic, count) of the tensor-core instructions in the SASS.
        instructions: all instructions in the SASS.
        spill_stores, spill_loads: of these, those that store and load spilled registers.
        loop_spills: of these, those inside the innermost loops over the keys, where they cost
            time on every turn; spills around the loops cost next to nothing.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """One kernel, compiled for one target.

    Attributes:
        kernel: name of the kernel function.
        target: name of the hardware item.
        ttgir: Triton's GPU IR, the text that the virtual GPU runs.
        ptx: PTX assembly.
        sass: disassembly of the cubin; empty where the tools do not know the architecture.
        cubin: the binary.
        facts: read from the above.
        short: the kernel that the module launches for short queries, if that is another one.
        backward: the kernels of its backward pass, in the order in which they are launched.
    """

    kernel: str
    target: str
    ttgir: str = field(repr=False)
    ptx: str = field(repr=False)
    sass: str = field(repr=False)
    cubin: bytes = field(repr=False)
    facts: Facts
    short: Artefact | None = None
    backward: tuple[Artefact, ...] = ()

    @property
    def kernels(self) -> tuple[Artefact, ...]:
        """The kernels of the forward pass, this one first."""
        return (self,) if self.short is None else (self, self.short)
