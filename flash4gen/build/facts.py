"""Facts about a cubin, read with the disassemblers that Triton's wheel carries."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import triton

from flash4gen.build.artefact import Facts
from flash4gen.build.sass.analyse import analyse_listings
from flash4gen.build.sass.kinds import Kind
from flash4gen.build.sass.listing import read_listings

_UNKNOWN = "Cannot decode architecture"
_USAGE = re.compile(r"REG:(\d+) STACK:(\d+)")


def disassemble(cubin: bytes) -> str:
    """Return the SASS of a cubin; nothing for an architecture that nvdisasm does not know yet."""
    try:
        return _tool("nvdisasm", "-c", cubin=cubin)
    except RuntimeError as error:
        if _UNKNOWN in str(error):
            return ""
        raise


def read_facts(cubin: bytes, sass: str, metadata: Any) -> Facts:
    """Return what a compiled kernel needs and holds.

    Args:
        cubin: the binary; registers and stack are the driver's own numbers for it.
        sass: its disassembly; where that is empty, so is what is read from it.
        metadata: Triton's, for shared memory, tensor memory and warps, which are set at launch.

    Raises:
        RuntimeError: the tools of the wheel gave something else than expected.
    """
    registers, stack = _usage(cubin)
    listings = read_listings(sass)
    instructions = [i for listing in listings for i in listing.instructions]
    tensor = Counter(i.mnemonic for i in instructions if i.kind is Kind.MMA)
    kernel = analyse_listings(listings)
    return Facts(
        registers=registers,
        spill_bytes=stack,
        smem_bytes=int(metadata.shared),
        tmem_columns=int(metadata.tmem_size or 0),
        threads=int(metadata.num_warps) * 32,
        tensor_instructions=tuple(sorted(tensor.items())),
        instructions=len(instructions),
        spill_stores=kernel.spill_stores,
        spill_loads=kernel.spill_loads,
        loop_spills=kernel.loop_spills,
    )


def spilled_bytes(cubin: bytes) -> int:
    """Return the bytes per thread that a kernel spills, the same as its facts say.

    Raises:
        RuntimeError: cuobjdump gave something else than expected.
    """
    return _usage(cubin)[1]


def _usage(cubin: bytes) -> tuple[int, int]:
    """Return registers and bytes of stack per thread.

    Triton's kernels call nothing and index no local array: their stack is spilled registers.
    """
    usage = _USAGE.search(_tool("cuobjdump", "-res-usage", cubin=cubin))
    if usage is None:
        raise RuntimeError("cuobjdump printed no resource usage")
    return int(usage[1]), int(usage[2])


def _tool(name: str, *options: str, cubin: bytes) -> str:
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    with tempfile.TemporaryDirectory(prefix="flash4gen-") as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        result = subprocess.run(
            [program, *options, file], capture_output=True, text=True, check=False
        )
    if result.returncode:
        raise RuntimeError(f"{name} failed: {result.stderr.strip()}")
    return result.stdout
