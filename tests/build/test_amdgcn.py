"""Facts of kernels for AMD, read from what LLVM writes into their assembly."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from flash4gen.build.amdgcn import read_wave_facts
from flash4gen.build.artefact import WaveFacts

LAUNCH = SimpleNamespace(shared=33_248, num_warps=4, warp_size=64)

KERNEL = """\
_forward_kernel:                        ; @_forward_kernel
; %bb.0:
\ts_load_dwordx2 s[2:3], s[0:1], 0x0
\tscratch_store_dword off, v19, off offset:8 ; 4-byte Folded Spill
.LBB0_1:                                ; =>This Inner Loop Header: Depth=1
\ts_add_i32 s4, s4, 1
\ts_cbranch_scc1 .LBB0_1
.LBB0_2:                                ;   in Loop: Header=BB0_3 Depth=1
\tscratch_load_dword v19, off, off offset:8 ; 4-byte Folded Reload
.LBB0_3:                                ; =>This Inner Loop Header: Depth=1
\tv_mfma_f32_16x16x32_bf16 v[0:3], v[4:7], v[8:11], v[0:3]
\tv_mfma_f32_16x16x32_bf16 v[0:3], v[4:7], v[8:11], v[0:3]
; %bb.4:                                ;   in Loop: Header=BB0_3 Depth=1
\ts_cbranch_vccnz .LBB0_2
; %bb.5:
\tscratch_load_dword v20, off, off offset:8 ; 4-byte Folded Reload
\tv_mfma_f32_16x16x16_bf16 v[0:3], v[4:5], v[8:9], v[0:3]
\ts_endpgm
.Lfunc_end0:
\t.size\t_forward_kernel, .Lfunc_end0-_forward_kernel
; Occupancy: 2
\tv_never_an_instruction v0
amdhsa.kernels:
  - .agpr_count:     4
    .private_segment_fixed_size: 12
    .sgpr_count:     106
    .sgpr_spill_count: 5
    .vgpr_count:     248
    .vgpr_spill_count: 3
"""


def test_what_a_wave_needs() -> None:
    facts = read_wave_facts(KERNEL, LAUNCH)
    assert facts.registers == 248
    assert facts.spill_bytes == 12
    assert (facts.smem_bytes, facts.tmem_columns, facts.threads) == (33_248, 0, 256)
    assert facts.wave == WaveFacts(
        accumulation_registers=4, scalar_registers=106, scalar_spills=5, waves_per_simd=2
    )


def test_instructions_are_counted_to_the_end_of_the_kernel() -> None:
    facts = read_wave_facts(KERNEL, LAUNCH)
    assert facts.instructions == 11
    assert facts.tensor_instructions == (
        ("v_mfma_f32_16x16x16_bf16", 1),
        ("v_mfma_f32_16x16x32_bf16", 2),
    )


def test_spills_count_twice_in_loops_over_keys() -> None:
    """Those are the loops with matrix instructions; others search, or copy."""
    facts = read_wave_facts(KERNEL, LAUNCH)
    assert (facts.spill_stores, facts.spill_loads, facts.loop_spills) == (1, 2, 1)


@pytest.mark.parametrize("name", ["vgpr_count", "private_segment_fixed_size", "Occupancy"])
def test_assembly_that_does_not_say_is_a_fault(name: str) -> None:
    with pytest.raises(RuntimeError, match=name):
        read_wave_facts(KERNEL.replace(name, "other"), LAUNCH)
