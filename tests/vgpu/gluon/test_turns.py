"""Programs that wait for each other by numbers in global memory, and add there in turns."""

# ruff: noqa: N803 - constants of a kernel are written in capitals
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, tma
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from flash4gen.vgpu import FindingKind, check_ttgir, virtual_gpu
from flash4gen.vgpu.check import Order, Policy
from flash4gen.vgpu.launch import HostDescriptor, copied

if TYPE_CHECKING:
    from torch import Tensor

    from flash4gen.vgpu import Launch, Report

PROGRAMS, SIZE = 4, 32


def layouts(ctas: int) -> tuple[Any, Any]:
    """Return how a tile lies in registers and in shared memory: some of its rows in each CTA."""
    halves = [[1, 0]] if ctas > 1 else []
    return (
        gl.BlockedLayout([1, 4], [4, 8], [4, 1], [1, 0], cga_layout=halves),
        gl.NVMMASharedLayout.get_default_for([SIZE, SIZE], gl.float32, cga_layout=halves or None),
    )


@gluon.jit
def add_in_turns(desc, x_ptr, turn_ptr, programs, LAYOUT: gl.constexpr, SIZE: gl.constexpr):
    """Add x of each program to one tile: the first program first."""
    program = gl.program_id(0)
    row = gl.arange(0, SIZE, gl.SliceLayout(1, LAYOUT))
    column = gl.arange(0, SIZE, gl.SliceLayout(0, LAYOUT))
    staging = gl.allocate_shared_memory(gl.float32, [SIZE, SIZE], desc.layout)
    staging.store(gl.load(x_ptr + (program * SIZE + row)[:, None] * SIZE + column[None, :]))
    fence_async_shared()
    gl.atomic_poll(turn_ptr, program)
    tma.async_atomic_add(desc, [0, 0], staging)
    tma.store_wait(0, read_only=False)
    gl.atomic_xchg(turn_ptr, (program + 1) % programs, sem="release")


def tensors() -> tuple[Tensor, Tensor, Tensor]:
    """Return the sum, what is added (its order shows in the bits), and whose turn it is."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(PROGRAMS, SIZE, SIZE, generator=random) * 10.0 ** torch.arange(4)[:, None, None]
    return torch.zeros(SIZE, SIZE), x, torch.zeros(1, dtype=torch.int32)


@cache
def launched(ctas: int) -> Launch:
    total, x, turn = tensors()
    registers, shared = layouts(ctas)
    with virtual_gpu(100, keep=True) as gpu:
        desc = TensorDescriptor.from_tensor(total, [SIZE, SIZE], shared)
        add_in_turns[(PROGRAMS,)](
            desc, x, turn, PROGRAMS, registers, SIZE, num_ctas=ctas, enable_fp_fusion=False
        )
    return gpu.launches[-1]


def text(ctas: int = 1) -> str:
    return str(launched(ctas).asm["ttgir"])


def run(
    order: Order,
    *changes: tuple[str, str],
    turn: int = 0,
    ctas: int = 1,
    policy: Policy = Policy.IN_ORDER,
) -> tuple[Report, Tensor]:
    changed = text(ctas)
    for old, new in changes:
        assert old in changed
        changed = changed.replace(old, new)
    given = [copied(argument) for argument in launched(ctas).arguments]
    (desc,) = (it for it in given if isinstance(it, HostDescriptor))
    (word,) = (it for it in given if isinstance(it, torch.Tensor) and it.dtype == torch.int32)
    desc.base.zero_()
    word.fill_(turn)
    return check_ttgir(changed, given, (PROGRAMS,), order=order, policy=policy), desc.base


@pytest.mark.parametrize("ctas", [1, 2])
@pytest.mark.parametrize("policy", Policy)
@pytest.mark.parametrize("order", Order)
def test_the_sum_has_one_order_whatever_the_order_of_programs(
    order: Order, policy: Policy, ctas: int
) -> None:
    """Both CTAs of a pair have added before either's turn is over, whoever is ahead."""
    report, total = run(order, ctas=ctas, policy=policy)
    assert not report.findings, report.findings
    expected = torch.zeros(SIZE, SIZE)
    for x in tensors()[1]:
        expected += x
    assert torch.equal(total, expected)


def test_without_the_wait_the_order_is_that_of_the_programs() -> None:
    poll = next(line for line in text().splitlines() if "tt.atomic_poll" in line)
    (_, first), (_, last) = (
        run(order, (poll, "")) for order in (Order.FIRST_TO_LAST, Order.LAST_TO_FIRST)
    )
    assert not torch.equal(first, last)


def test_a_number_that_nobody_writes_is_a_deadlock() -> None:
    report, _ = run(Order.SHUFFLED, turn=7)
    assert report.findings[0].kind is FindingKind.DEADLOCK
    assert (
        "in global memory, which holds 7, and no program changes it" in report.findings[0].message
    )


def test_a_program_may_not_wait_for_one_that_has_not_started() -> None:
    """All places on a GPU may be taken by programs that wait."""
    report, _ = run(Order.FIRST_TO_LAST, turn=1)
    assert report.findings[0].kind is FindingKind.DEADLOCK


@pytest.mark.parametrize("ctas", [1, 2])
def test_a_release_before_the_writes_are_there_is_a_race(ctas: int) -> None:
    only_read = " {pendings = 0 : i32}", " {pendings = 0 : i32, read_only}"
    report, _ = run(Order.FIRST_TO_LAST, only_read, ctas=ctas)
    assert report.findings[0].kind is FindingKind.RACE_GLOBAL
    assert "while TMA stores may still write" in report.findings[0].message
