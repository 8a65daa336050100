"""The loops of a module that Triton compiled here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from flash4gen.build.compile import compile_module
from flash4gen.build.sass.analyse import analyse_sass
from flash4gen.build.sass.kinds import Kind
from flash4gen.build.sass.model import Role
from flash4gen.ir import library
from flash4gen.render.module import render
from flash4gen.schedule.model import as_portable
from tests.ir.notation import attention
from tests.schedule.variants import portable

if TYPE_CHECKING:
    from pathlib import Path

VARIANT = attention(heads=2, kv_heads=1, head_dim=64, value_dim=64, mask="k <= q_end")


def test_a_portable_kernel_has_one_masked_loop_and_one_without_mask(tmp_path: Path) -> None:
    hardware = library.target("b200")
    choice = portable(VARIANT, hardware)
    file = tmp_path / "small.py"
    file.write_text(render(VARIANT, hardware, choice).text, encoding="utf-8")
    artefact = compile_module(file, VARIANT, hardware)

    start = time.perf_counter()
    kernel = analyse_sass(artefact.sass)
    seconds = time.perf_counter() - start
    # every compile pays for it: generous, for a busy machine takes several times the 0.05 s
    assert seconds < 0.5

    schedule = as_portable(choice.schedule)
    loops = kernel.main_loops(Role.FUSED)
    assert {loop.masked for loop in loops} == {True, False}
    for loop in loops:
        assert loop.elements == schedule.tile_q * schedule.tile_k // artefact.facts.threads
        # S = Q·Kᵀ in steps of 16 along head_dim, O += P·V in steps of 16 along the keys
        assert loop.count(Kind.MMA) % ((64 + schedule.tile_k) // 16) == 0
        assert loop.count(Kind.EXP2) >= loop.elements
        assert loop.least_instructions <= loop.instructions
    masked, free = sorted(loops, key=lambda loop: not loop.masked)
    assert free.instructions < masked.instructions

    (function,) = kernel.functions
    facts = artefact.facts
    assert (facts.spill_stores, facts.spill_loads) == (
        artefact.sass.count(" STL"),
        artefact.sass.count(" LDL"),
    )
    assert facts.loop_spills == kernel.loop_spills
    assert function.instructions <= facts.instructions
