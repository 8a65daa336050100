"""Warp-specialised kernels of 8-bit elements: numbers, faults that show, concurrency."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.expr import ALWAYS, Literal
from flash4gen.ir.nodes import DType, Lengths, Scales, descales
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.validate.cases import Case, Layout, Values
from flash4gen.validate.execute import Measure, on_virtual_gpu, one_thread, run_case
from flash4gen.validate.inputs import make_inputs
from flash4gen.validate.tolerance import accuracy_of
from flash4gen.vgpu import Check, Policy, virtual_gpu
from flash4gen.vgpu.mutate import pool
from tests.ir.notation import attention
from tests.long_matrix import slow
from tests.schedule.variants import SOFTCAP, pinning
from tests.validate.subjects import written

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention

B200 = library.target("b200")
SCALED = attention(
    name="scaled",
    dtype=DType.FP8_E4M3,
    out_dtype=DType.BF16,
    scales=Scales.PER_KV_HEAD,
    inputs=descales(Scales.PER_KV_HEAD),
    heads=2,
    kv_heads=1,
    head_dim=64,
    value_dim=64,
    scale=0.125,
    mask="k <= q_end",
)
BARE = replace(SCALED, scales=None, inputs=())
PER_TENSOR = replace(SCALED, scales=Scales.PER_TENSOR, inputs=descales(Scales.PER_TENSOR))

NORMAL = Case(name="normal", batch=2, seq_q=135, seq_k=200)
CASES = (
    NORMAL,
    Case(name="rising", seq_q=40, seq_k=300, values=Values.RISING),
    Case(name="rows without keys", seq_q=40, seq_k=20, layout=Layout.MISALIGNED),
)


def failures(
    variant: Attention, folder: Path, *changes: tuple[str, str], cases: tuple[Case, ...] = CASES
) -> list[str]:
    rendered, choice, path = written(variant, "b200", folder, *changes)
    assert isinstance(choice.schedule, BlackwellSchedule)
    measure = Measure(accuracy_of(choice.schedule, variant.dtype))
    module = load_module(path)
    with one_thread():
        runner = on_virtual_gpu(variant, module, B200.arch)
        found = [
            run_case(variant, module, rendered.text, case, runner, measure=measure)
            for case in cases
        ]
    return [failure.reason for result in found for failure in result.failures]


VARIANTS = {
    "p_in_s": SCALED,
    "shared_s, a factor per tensor": pinning(PER_TENSOR, plan="shared_s"),
    "disjoint, packed heads": pinning(
        replace(SCALED, head_dim=32, value_dim=32), plan="disjoint", pack=2
    ),
    "double_s, softcap, 16 wide, fp16": pinning(
        replace(
            SCALED,
            head_dim=16,
            value_dim=16,
            out_dtype=DType.FP16,
            score=attention(score=SOFTCAP).score,
        ),
        plan="double_s",
        query_tiles=1,
    ),
    "packed sequences, sink": replace(SCALED, lengths=Lengths.PACKED, sink=Literal(1.0)),
    "no factors, sink, every key": replace(BARE, sink=Literal(1.0), mask=ALWAYS),
}


QUICK = "shared_s, a factor per tensor"
"""What CI runs; the others belong to the long matrix."""


@pytest.mark.parametrize("name", [QUICK, *slow(*(it for it in VARIANTS if it != QUICK))])
def test_kernels_keep_the_budget(name: str, tmp_path: Path) -> None:
    assert failures(VARIANTS[name], tmp_path) == []


FAULTS = {
    "value factor": ("descale_v_b_hkv / row_sum", "1.0 / row_sum"),
    "lse": ("(row_max * to_log2 - SHIFT + gl.log2", "(row_max * to_log2 + gl.log2"),
    "score factor": (
        "to_log2 = TO_LOG2 * (descale_q_b_hkv * descale_k_b_hkv)",
        "to_log2 = TO_LOG2 * 1.0",
    ),
    "saturated": ("* -to_log2 + SHIFT", "* -to_log2 + SHIFT + 1.0"),
    "underflow": ("* -to_log2 + SHIFT", "* -to_log2 - 5.0"),
}


@pytest.mark.parametrize(
    "fault", ["value factor", *slow("lse", "score factor", "saturated", "underflow")]
)
def test_faults_show(fault: str, tmp_path: Path) -> None:
    assert failures(SCALED, tmp_path, FAULTS[fault], cases=(NORMAL,)) != []


@pytest.mark.parametrize("plan", ["p_in_s", *slow("shared_s")])
def test_no_order_of_warps_copies_and_products_matters(plan: str, tmp_path: Path) -> None:
    _, _, path = written(pinning(SCALED, plan=plan), "b200", tmp_path)
    module = load_module(path)
    inputs = make_inputs(SCALED, Case(name="here", seq_q=150, seq_k=300))
    with virtual_gpu(B200.arch, check=Check(policy=Policy.RANDOM)) as gpu:
        module.scaled(inputs.q, inputs.k, inputs.v, **inputs.tensors)
    (report,) = gpu.reports
    assert not report.findings, "\n".join(map(str, report.findings[:5]))


def test_8_bit_tensors_reach_the_processes_that_run_mutants() -> None:
    """Torch 2 writes a storage of 8-bit floats into a pickle, and cannot read it again."""
    sent = torch.arange(24.0).view(4, 6).to(torch.float8_e4m3fn).t()[1:]
    found = pickle.loads(pool.sent((sent, sent.bfloat16())))
    assert found[0].dtype is sent.dtype
    assert found[0].stride() == sent.stride()
    for ours, theirs in zip((sent, sent.bfloat16()), found, strict=True):
        assert torch.equal(ours.float(), theirs.float())
