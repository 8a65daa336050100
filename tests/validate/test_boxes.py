"""Gradients of kernels whose tiles come by TMA, and that add up those of queries on their way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import Lengths
from flash4gen.schedule.backward.model import as_loops
from flash4gen.validate.cases import Case
from flash4gen.validate.gradient_rung import call_of, run_gradients
from flash4gen.validate.scenes import scenes
from flash4gen.vgpu import virtual_gpu
from tests.long_matrix import slow
from tests.validate.subjects import subject
from tests.validate.training import assert_right, training

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention
    from flash4gen.schedule.backward.model import LoopShape
    from flash4gen.validate import Subject
    from flash4gen.validate.gradients import Call, Upstream

LOCAL = {"mask": "k <= q_end and q_end - k < 100", "heads": 2, "pins": ()}
ALONE = training(**LOCAL, kv_heads=2)
SHARED = training(**LOCAL, kv_heads=1)
PACKED = training(**LOCAL, kv_heads=2, lengths=Lengths.PACKED)
ORDERED = training(**LOCAL, kv_heads=1, lengths=Lengths.PACKED, deterministic=True)

VARIANTS = {
    "a head each": ALONE,
    "shared keys": SHARED,
    "packed": PACKED,
    "packed, in order": ORDERED,
    "a table": training(**LOCAL, kv_heads=2, score="s + table[h, min(max(k - q, -4), 4) + 4]"),
    "slopes": training(**LOCAL, kv_heads=1, score="s + slopes[h] * float(k - q_end) * 0.1"),
    "biases": training(**LOCAL, kv_heads=1, score="s + bias[h, q, k]"),
}
SEVERAL = Case(name="several tiles", seq_q=150, seq_k=201)
QUICK = ("a head each", "packed, in order")


def adds(found: Subject) -> LoopShape | None:
    """Return the shape of the kernel that adds up all gradients, if there is one."""
    assert found.choice.backward is not None
    return as_loops(found.choice.backward.schedule).fused


@pytest.mark.parametrize("name", [*QUICK, *slow(*(it for it in VARIANTS if it not in QUICK))])
def test_gradients_are_right(name: str, tmp_path: Path) -> None:
    found = subject(VARIANTS[name], "h100", tmp_path)
    assert (adds(found) is None) is (name in ("packed, in order", "a table", "slopes", "biases"))
    assert_right(found, SEVERAL, Case(name="batch", batch=2, seq_q=65, seq_k=130))


FAULTS = {
    "another head's queries": (
        "dq_desc.atomic_add([b, h, start, 0]",
        "dq_desc.atomic_add([b, 0, start, 0]",
    ),
    "sums that begin elsewhere": ("torch.zeros_like(dq, dtype", "torch.ones_like(dq, dtype"),
    "sums without their scale": ("(x * SCALE).to", "x.to"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_sums_is_found(fault: str, tmp_path: Path) -> None:
    found = subject(ALONE, "h100", tmp_path, FAULTS[fault])
    with pytest.raises(AssertionError, match="gradient of q"):
        assert_right(found, SEVERAL)


def gradients(
    variant: Attention, found: Subject, call: Call, given: Upstream
) -> list[torch.Tensor]:
    with virtual_gpu(found.hardware.arch):
        by_name = run_gradients(variant, load_module(found.path), call, given)
    return [grad for grad in by_name.values() if grad is not None]


@pytest.mark.parametrize("variant", [PACKED, ORDERED], ids=["added up", "in order"])
def test_what_lies_in_a_neighbour_stays_there(variant: Attention, tmp_path: Path) -> None:
    """0 · NaN is NaN: no row of another sequence may come in, whatever its weight."""
    found = subject(variant, "h100", tmp_path)
    call, given = call_of(variant, SEVERAL)
    plain = gradients(variant, found, call, given)
    starts = [call.tensors[name].tolist() for name in ("cu_seqlens_q", "cu_seqlens_k")]
    (q, q_end), (k, k_end) = ((of[2], of[3]) for of in starts)
    assert q < q_end
    assert k < k_end
    for rows in (call.q[q:q_end], call.k[k:k_end], call.v[k:k_end], given.out[q:q_end]):
        rows.fill_(math.nan)
    for grad, other in zip(gradients(variant, found, call, given), plain, strict=True):
        begin, end = (q, q_end) if grad.shape[0] == starts[0][-1] else (k, k_end)
        assert grad[begin:end].isnan().any()
        assert torch.equal(grad[:begin], other[:begin])
        assert torch.equal(grad[end:], other[end:])


def test_the_first_program_of_a_packed_forward_kernel_has_queries(tmp_path: Path) -> None:
    """It has the last slot, which whole tiles leave empty: none of its copies would be watched."""
    found = subject(PACKED, "h100", tmp_path)
    shapes = [scene.shape.split(" x ") for scene in scenes(found, load_module(found.path))]
    assert len(shapes) >= 4
    assert all(int(seq_q) % found.choice.schedule.tile_rows for _, seq_q, _ in shapes)
