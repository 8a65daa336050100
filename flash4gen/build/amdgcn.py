"""Facts about a kernel for AMD, read from its assembly: LLVM writes down what a wave needs.

In: the text that Triton assembles to a hsaco. Out: ``Facts``. The metadata at its end is what the
loader goes by (LLVM, "User Guide for AMDGPU Backend", code object V5 metadata); comments say which
block belongs to which loop.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from flash4gen.build.artefact import Facts, WaveFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

_MATRIX = "v_mfma_"
_STORE, _LOAD = "scratch_store", "scratch_load"
_INSTRUCTION = re.compile(r"\t([a-z]\w*_\w+)")
_BLOCK = re.compile(r"\.LBB\w+:|; %bb\.\d+:")
_HEADER = re.compile(r"=> *This (?:Inner )?Loop Header|in Loop: Header=(BB\w+)")


class Instruction(NamedTuple):
    """An instruction's mnemonic, and the innermost loop that it stands in; empty if in none."""

    mnemonic: str
    loop: str


def read_wave_facts(amdgcn: str, metadata: Any) -> Facts:
    """Return what a kernel compiled for AMD needs and holds.

    Args:
        amdgcn: its assembly.
        metadata: Triton's, for the LDS and the warps, which are set at launch.

    Raises:
        RuntimeError: the assembly lacks what LLVM is known to write.
    """
    found = tuple(_instructions(amdgcn))
    matrix = Counter(i.mnemonic for i in found if i.mnemonic.startswith(_MATRIX))
    key_loops = {i.loop for i in found if i.loop and i.mnemonic.startswith(_MATRIX)}
    spills = [i for i in found if i.mnemonic.startswith((_STORE, _LOAD))]
    return Facts(
        registers=_number(amdgcn, "vgpr_count"),
        # Triton's kernels call nothing and index no local array: scratch is spilled registers.
        spill_bytes=_number(amdgcn, "private_segment_fixed_size"),
        smem_bytes=int(metadata.shared),
        tmem_columns=0,
        threads=int(metadata.num_warps) * int(metadata.warp_size),
        tensor_instructions=tuple(sorted(matrix.items())),
        instructions=len(found),
        spill_stores=sum(i.mnemonic.startswith(_STORE) for i in spills),
        spill_loads=sum(i.mnemonic.startswith(_LOAD) for i in spills),
        loop_spills=sum(i.loop in key_loops for i in spills),
        wave=WaveFacts(
            accumulation_registers=_number(amdgcn, "agpr_count"),
            scalar_registers=_number(amdgcn, "sgpr_count"),
            scalar_spills=_number(amdgcn, "sgpr_spill_count"),
            waves_per_simd=_comment(amdgcn, "Occupancy"),
        ),
    )


def _instructions(amdgcn: str) -> Iterator[Instruction]:
    """Yield the instructions of the kernel, up to the end of its function."""
    loop, block = "", ""
    for line in amdgcn.partition("\n.Lfunc_end")[0].splitlines():
        label = _BLOCK.match(line)
        if label:
            loop, block = "", label[0].removeprefix(".L").rstrip(":")
        header = _HEADER.search(line)
        if header:
            loop = header[1] or block
        mnemonic = _INSTRUCTION.match(line)
        if mnemonic:
            yield Instruction(mnemonic[1], loop)


def _number(amdgcn: str, name: str) -> int:
    return _matched(rf"^ +(?:- )?\.{name}: +(\d+)$", amdgcn, name)


def _comment(amdgcn: str, name: str) -> int:
    return _matched(rf"^; {name}: (\d+)$", amdgcn, name)


def _matched(pattern: str, amdgcn: str, name: str) -> int:
    found = re.search(pattern, amdgcn, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"the assembly of the kernel does not say its {name}")
    return int(found[1])
