"""Clocks, footprints, histories and barriers by themselves, on the smallest examples there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from flash4gen.vgpu import FindingKind
from flash4gen.vgpu.concurrent.barrier import Actor, CheckedBarrier
from flash4gen.vgpu.concurrent.clocks import VISIBLE, Clocks
from flash4gen.vgpu.concurrent.footprint import covers, footprint, overlap
from flash4gen.vgpu.concurrent.history import Access, History
from flash4gen.vgpu.concurrent.sites import Site
from flash4gen.vgpu.parse.tree import Operation

if TYPE_CHECKING:
    from torch import Tensor

SITE = Site(Operation(name="test.operation", line=1))


def partition(clocks: Clocks) -> tuple[int, int]:
    """Return clock and thread of a new partition, in its first epoch."""
    clock, thread = clocks.new(), clocks.thread()
    clocks.tick(clock, thread)
    return clock, thread


# --- clocks -----------------------------------------------------------------------------------


def test_what_one_learns_from_another() -> None:
    clocks = Clocks(())
    (a, a_thread), (b, b_thread) = partition(clocks), partition(clocks)
    assert not clocks.knows(b, a_thread, 1)
    clocks.join(b, a)
    assert clocks.knows(b, a_thread, 1)
    assert not clocks.knows(a, b_thread, 1)
    later = clocks.tick(a, a_thread)
    assert not clocks.knows(b, a_thread, later)


def test_a_fence_shows_what_came_before_it() -> None:
    clocks = Clocks(())
    clock, thread = partition(clocks)
    assert not clocks.knows(clock, thread, 1, VISIBLE)
    clocks.fence(clock)
    later = clocks.tick(clock, thread)
    assert clocks.knows(clock, thread, 1, VISIBLE)
    assert not clocks.knows(clock, thread, later, VISIBLE)


def test_an_edge_is_needed_if_nothing_else_gives_the_order() -> None:
    clocks = Clocks((7, 8))
    (a, a_thread), (b, _) = partition(clocks), partition(clocks)
    clocks.join(b, a, 7)
    clocks.join(b, a, 8)  # either of the two would do
    assert clocks.knows(b, a_thread, 1)
    clocks.settle()
    assert clocks.needed == set()
    second = clocks.tick(a, a_thread)
    clocks.join(b, a, 8)
    assert clocks.knows(b, a_thread, second)
    clocks.settle()
    assert clocks.needed == {8}


def test_a_copy_goes_its_own_way() -> None:
    clocks = Clocks((7,))
    (a, a_thread), (b, b_thread) = partition(clocks), partition(clocks)
    twin = clocks.copy(a)
    second = clocks.tick(a, a_thread)
    clocks.join(twin, b, 7)
    clocks.fence(twin)
    assert clocks.knows(twin, b_thread, 1)
    assert clocks.knows(twin, a_thread, 1, VISIBLE)
    assert not clocks.knows(twin, a_thread, second)
    assert not clocks.knows(a, b_thread, 1)
    assert not clocks.knows(a, a_thread, 1, VISIBLE)
    clocks.settle()
    assert clocks.needed == {7}


def test_more_threads_than_there_was_room_for() -> None:
    clocks = Clocks((7,))
    (a, a_thread), twin = partition(clocks), clocks.new()
    clocks.join(twin, a, 7)
    others = [partition(clocks) for _ in range(40)]
    for other, _ in others:
        clocks.join(a, other)
    assert all(clocks.knows(a, thread, 1) for _, thread in others)
    assert not any(clocks.knows(twin, thread, 1) for _, thread in others)
    assert clocks.needed == set()
    assert clocks.knows(twin, a_thread, 1)
    clocks.settle()
    assert clocks.needed == {7}


# --- footprints -------------------------------------------------------------------------------


def whole() -> Tensor:
    return torch.zeros(128 * 512, dtype=torch.uint8).view(torch.float32).view(128, 128)


def test_columns_overlap_only_where_they_share_bytes() -> None:
    scores = whole()
    left, right = footprint(scores[:, :64]), footprint(scores[:, 64:])
    halves = footprint(scores.view(torch.float16)[:, :128])
    assert not overlap(left, right)
    assert overlap(left, halves)  # 128 halves are 64 floats
    assert covers(left, halves)
    assert covers(halves, left)
    assert covers(footprint(scores), right)
    assert not covers(right, footprint(scores))
    assert overlap(footprint(scores[:, 60:68]), right)


def test_a_transposed_view_has_the_same_bytes() -> None:
    tile = whole()[32:64]
    assert footprint(tile).key == footprint(tile.T).key


# --- histories --------------------------------------------------------------------------------


def access(clocks: Clocks, who: tuple[int, int], view: Tensor, *, write: bool) -> Access:
    clock, thread = who
    return Access(
        footprint=footprint(view), write=write, asynchronous=False, thread=thread,
        count=clocks.counts[thread], clock=clock, site=SITE, partition="",
    )  # fmt: skip


def test_histories_forget_what_a_write_covers() -> None:
    clocks, history, tile = Clocks(()), History(proxies=True), whole()
    who = partition(clocks)
    for _ in range(50):
        for part in (tile[i : i + 32] for i in range(0, 128, 32)):
            assert not history.add(clocks, access(clocks, who, part, write=True))
            assert not history.add(clocks, access(clocks, who, part, write=False))
    assert len(history) == 8


def test_reads_do_not_collide_and_writes_do() -> None:
    clocks, history, tile = Clocks(()), History(proxies=True), whole()
    one, two = partition(clocks), partition(clocks)
    assert not history.add(clocks, access(clocks, one, tile, write=False))
    assert not history.add(clocks, access(clocks, two, tile, write=False))
    (collision,) = history.add(clocks, access(clocks, two, tile, write=True))
    assert collision.earlier.thread == one[1]


# --- barriers ---------------------------------------------------------------------------------


class Bench:
    """A barrier, two partitions that know it, and what is reported about it."""

    def __init__(self, count: int) -> None:
        self.clocks = Clocks(())
        self.found: list[FindingKind] = []
        self.one, self.two = partition(self.clocks), partition(self.clocks)
        init = self.one[1], 1
        self.clocks.join(self.two[0], self.one[0])
        self.clocks.tick(*self.one)
        self.barrier = CheckedBarrier(
            "bar", count, self.clocks, lambda kind, *_: self.found.append(kind), init
        )

    def arrive(self, who: tuple[int, int]) -> None:
        self.barrier.arrive(1, Actor(SITE, str(who), who[0]))
        self.clocks.tick(*who)

    def wait(self, who: tuple[int, int], parity: int) -> bool:
        actor = Actor(SITE, str(who), who[0])
        target = self.barrier.target(actor, parity)
        if self.barrier.phase <= target:
            return False
        self.barrier.pass_wait(actor, target, who[1])
        return True


def test_a_wait_means_the_phase_its_waiter_does_not_know() -> None:
    bench = Bench(1)
    assert bench.wait(bench.two, 1)  # before the first phase
    assert not bench.wait(bench.two, 0)
    bench.arrive(bench.one)
    assert bench.wait(bench.two, 0)
    assert bench.clocks.knows(bench.two[0], bench.one[1], 2)


def test_a_phase_that_runs_over_a_wait() -> None:
    bench = Bench(1)
    for _ in range(2):
        bench.arrive(bench.one)  # nothing makes the second wait for the waiter of the first
    assert bench.wait(bench.two, 0)
    assert bench.found == [FindingKind.PHASE_OVERRUN]


def test_an_arrival_that_may_count_for_the_phase_before() -> None:
    bench = Bench(1)
    bench.arrive(bench.one)
    bench.arrive(bench.two)  # it does not know that the first phase is complete
    assert FindingKind.BARRIER_OVER_ARRIVAL in bench.found


def test_a_phase_that_is_left_half_done() -> None:
    bench = Bench(2)
    bench.arrive(bench.one)
    bench.clocks.join(bench.two[0], bench.one[0])
    bench.barrier.close(Actor(SITE, "", bench.two[0]))
    assert bench.found == [FindingKind.LEFTOVER_PHASE]
