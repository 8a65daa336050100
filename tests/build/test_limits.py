"""The target's limits, enforced on facts of the binary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flash4gen.build.artefact import Facts
from flash4gen.build.limits import limit_findings
from flash4gen.ir import library

FITS = Facts(
    registers=128,
    spill_bytes=0,
    smem_bytes=90_000,
    tmem_columns=256,
    threads=256,
    tensor_instructions=(),
    instructions=1000,
    spill_stores=0,
    spill_loads=0,
    loop_spills=0,
)


def test_a_kernel_that_fits_gives_no_finding() -> None:
    assert limit_findings(FITS, library.target("b200"), None) == ()


# the first line is what Triton 3.9 made of a naive kernel without complaint
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smem_bytes": 264_856, "tmem_columns": 896}, "264,856 bytes of shared memory"),
        ({"smem_bytes": 264_856, "tmem_columns": 896}, "896 columns of tensor memory"),
        ({"registers": 256}, "256 per thread of registers"),
        ({"threads": 2048, "registers": 16}, "2,048 per block of threads"),
        ({"threads": 1024, "registers": 65}, "66,560 registers of the register file"),
    ],
)
def test_what_can_never_launch_is_an_error_with_its_source(
    change: dict[str, Any], message: str
) -> None:
    found = limit_findings(replace(FITS, **change), library.target("b200"), None)
    assert any(message in diagnostic.message for diagnostic in found)
    assert all(diagnostic.notes and " from " in diagnostic.notes[0] for diagnostic in found)


def test_tensor_memory_does_not_exist_on_older_targets() -> None:
    assert limit_findings(FITS, library.target("h100"), None)
