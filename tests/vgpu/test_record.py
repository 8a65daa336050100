"""Recordings of what partitions do, on a kernel of which one can say what that is."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, attr-defined"

from __future__ import annotations

from collections import Counter

import pytest
import torch
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier

from flash4gen.vgpu import VirtualGpuError, virtual_gpu
from flash4gen.vgpu.record import Recording, record
from tests.vgpu.running import PINNED

TURNS = 5


@gluon.jit
def _give(full, empty, turns):
    for i in range(turns):
        mbarrier.wait(empty.index(i % 2), (i // 2 & 1) ^ 1)
        mbarrier.arrive(full.index(i % 2), count=1)


@gluon.jit
def _take(y_ptr, full, empty, turns):
    layout: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    column = gl.arange(0, 128, layout)
    for i in range(turns):
        mbarrier.wait(full.index(i % 2), i // 2 & 1)
        gl.store(y_ptr + i * 128 + column, gl.exp2(column.to(gl.float32)))
        mbarrier.arrive(empty.index(i % 2), count=1, pred=i < 3)


@gluon.jit
def relay(y_ptr, turns):
    full = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [2, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(2):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    gl.warp_specialize(
        [(_take, (y_ptr, full, empty, turns)), (_give, (full, empty, turns))], [1], [24]
    )


@pytest.fixture(scope="module")
def recording() -> Recording:
    y = torch.zeros(TURNS, 128)
    with virtual_gpu(90, execute=False) as gpu:
        relay[(1,)](y, TURNS, **PINNED)
    (launch,) = gpu.launches
    found = record(launch.asm["ttgir"], launch.arguments, launch.grid)
    assert torch.equal(y, torch.arange(128.0).exp2().expand(TURNS, 128))
    return found


def test_each_partition_has_a_track(recording: Recording) -> None:
    assert [(track.name, track.warps) for track in recording.tracks] == [
        ("default", 4),
        ("partition0", 1),
    ]


def test_waits_say_which_phase_of_which_barrier(recording: Recording) -> None:
    taker, giver = recording.tracks
    full, empty = (
        [(n.barriers, n.phase) for n in track.notes if n.op.name == "ttng.wait_barrier"]
        for track in (taker, giver)
    )
    assert [phase for _, phase in full] == [0, 0, 1, 1, 2]
    assert [phase for _, phase in empty] == [-1, -1, 0, 0, 1]
    assert full[0][0] == full[2][0] != full[1][0]


def test_operations_whose_predicate_is_false_did_not_act(recording: Recording) -> None:
    arrivals = [n for n in recording.tracks[0].notes if n.op.name == "ttng.arrive_barrier"]
    assert [note.acted for note in arrivals] == [True, True, True, False, False]


def test_work_between_registers_and_turns_of_loops_are_noted(recording: Recording) -> None:
    counts = Counter(note.op.name for note in recording.tracks[0].notes)
    assert counts["scf.for"] == TURNS
    assert counts["math.exp2"] >= 1
    assert counts["tt.store"] == TURNS


def test_barriers_say_how_far_they_came(recording: Recording) -> None:
    assert [seen.arrivals for seen in recording.barriers] == [1, 1, 1, 1]
    assert sorted(seen.phases for seen in recording.barriers) == [1, 2, 2, 3]
    assert not any(seen.shared for seen in recording.barriers)


def test_a_kernel_that_cannot_end_is_a_finding() -> None:
    y = torch.zeros(TURNS, 128)
    with virtual_gpu(90, execute=False) as gpu:
        relay[(1,)](y, TURNS + 4, **PINNED)  # nobody empties what is given from the sixth on
    (launch,) = gpu.launches
    with pytest.raises(VirtualGpuError, match="phase"):
        record(launch.asm["ttgir"], launch.arguments, launch.grid)
