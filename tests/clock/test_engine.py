"""The engine on programs small enough to time by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from flash4gen.clock.engine import simulate
from flash4gen.clock.machine import ClockMachine, machine_for
from flash4gen.clock.program import (
    Arrive,
    Commit,
    Compute,
    Fence,
    GlobalLoad,
    Mma,
    Operand,
    Program,
    Role,
    SharedLoad,
    Step,
    Sync,
    TmaLoad,
    TmemLoad,
    TmemStore,
    Wait,
    Work,
)
from flash4gen.clock.state import DeadlockError
from flash4gen.clock.timeline import Kind, Timeline
from flash4gen.ir.library import target
from tests.clock.sketches import flash_attention_4

B200 = machine_for(target("b200"))
B300 = machine_for(target("b300"))


def run(
    *roles: tuple[int, list[Step]],
    machine: ClockMachine = B200,
    barriers: dict[str, int] | None = None,
    residents: int = 1,
) -> Timeline:
    """Run roles of some warps that are called a, b, c, ..."""
    program = Program(
        roles=tuple(
            Role(name=name, warps=warps, steps=tuple(steps))
            for name, (warps, steps) in zip("abcdef", roles, strict=False)
        ),
        barriers=tuple((barriers or {}).items()),
        residents=residents,
    )
    return simulate(program, machine)


def busy(timeline: Timeline, unit: str) -> float:
    return dict(timeline.busy)[unit]


def products(timeline: Timeline) -> list[float]:
    return [span.cycles for span in timeline.spans if span.kind is Kind.PRODUCT]


# --- the tensor core ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mma", "interval"),
    [
        (Mma(m=128, n=128, count=8, a_from=Operand.TMEM), 64.49),
        (Mma(m=128, n=128, count=8), 64.62),
        (Mma(m=128, n=64, count=8), 48.56),  # shared memory, not 32
        (Mma(m=128, n=64, count=8, a_from=Operand.TMEM), 32.49),
        (Mma(m=64, n=128, count=8), 64.55),  # half rate
        (Mma(m=256, n=128, count=8, ctas=2), 64.75),  # twice the work
    ],
)
def test_products_take_their_measured_interval(mma: Mma, interval: float) -> None:
    gap = B200.get("mma_group_gap")
    assert products(run((1, [mma]))) == [pytest.approx(8 * interval + gap)]


def test_a_lone_product_takes_as_long_as_was_measured_from_issue_to_the_end_of_the_wait() -> None:
    alone = Mma(m=128, n=128, count=1)
    timeline = run((1, [alone, Commit(barrier="done"), Wait(barrier="done", use=0)]),
                   barriers={"done": 1})  # fmt: skip
    assert timeline.end == pytest.approx(
        B200.get("mma_issue") + B200.get("mma_group_gap") + 200  # the row's latency
    )


def test_products_keep_the_order_of_their_issue_whoever_is_ready() -> None:
    long, short = Mma(m=128, n=256, count=8, label="long"), Mma(m=128, n=64, count=1, label="short")
    timeline = run((1, [long]), (1, [Compute(work=Work(other=1)), short]))
    ordered = [span for span in timeline.spans if span.kind is Kind.PRODUCT]
    assert [span.label for span in ordered] == ["long", "short"]
    assert ordered[1].start == pytest.approx(ordered[0].end)


def test_wgmma_on_hopper_takes_half_its_columns() -> None:
    h100 = machine_for(target("h100"))
    timeline = run((4, [Mma(m=64, n=256, count=4, gives="s"), Fence(needs=("s",))]), machine=h100)
    assert products(timeline) == [pytest.approx(4 * 128)]


# --- the pipes of a sub-core ----------------------------------------------------------------------


def test_exponentials_take_8_cycles_a_warp_on_b200_and_4_on_b300() -> None:
    block: list[Step] = [Compute(work=Work(mufu=100))]
    assert run((4, block)).end == pytest.approx(800)
    assert run((4, block), machine=B300).end == pytest.approx(400)


def test_a_block_takes_as_long_as_its_busiest_pipe() -> None:
    block = Compute(work=Work(mufu=10, fma2=60, alu=5, other=30))
    assert run((4, [block])).end == pytest.approx(120)  # 60 packed instructions, 2 cycles each


def test_two_roles_that_want_the_same_pipe_take_the_sum() -> None:
    block: list[Step] = [Compute(work=Work(mufu=32))]
    timeline = run((4, block), (4, block))
    assert timeline.end == pytest.approx(2 * 32 * 8)
    assert all(span.alone == pytest.approx(256) for span in timeline.spans)
    assert busy(timeline, "mufu") == pytest.approx(timeline.end)


def test_two_roles_that_want_different_pipes_do_not_wait_for_each_other() -> None:
    timeline = run((4, [Compute(work=Work(mufu=32))]), (4, [Compute(work=Work(alu=100))]))
    assert timeline.end == pytest.approx(256)


def test_eight_warps_are_two_agents_that_share_the_pipes() -> None:
    assert run((8, [Compute(work=Work(mufu=32))])).end == pytest.approx(2 * 256)


def test_resident_ctas_share_an_sm() -> None:
    block: list[Step] = [Compute(work=Work(alu=50))]
    assert run((4, block), residents=3).end == pytest.approx(3 * 100)


def test_resident_ctas_can_start_apart() -> None:
    role = Role(name="a", warps=4, steps=(Compute(work=Work(alu=50)),))
    timeline = simulate(Program(roles=(role,), residents=3, stagger=150), B200)
    assert [span.start for span in timeline.spans] == [0, 150, 300]
    assert timeline.end == pytest.approx(400)


# --- memories -------------------------------------------------------------------------------------


def test_a_load_from_tensor_memory_goes_on_in_the_background_until_it_is_needed() -> None:
    load = TmemLoad(bytes=128 * 128 * 4, gives="s")
    other, reader = Compute(work=Work(alu=100)), Compute(work=Work(alu=1), needs=("s",))
    timeline = run((4, [load, other, reader]))
    there = 256 + B200.get("tmem_load_latency")  # 64 bytes a cycle on each of four sub-cores
    assert timeline.end == pytest.approx(there + 2)


def test_loads_and_stores_share_the_port_of_tensor_memory() -> None:
    load, store = TmemLoad(bytes=65536), TmemStore(bytes=65536)
    both = run((4, [load, Fence()]), (4, [store, Fence()]))
    assert busy(both, "tmem") == pytest.approx(256 + 65536 / 4 / B200.get("tmem_store_rate"))
    assert both.end > busy(both, "tmem")


def test_a_fence_orders_stores_and_waits_for_copies_only_where_it_is_told_to() -> None:
    """PTX ISA, cp.async: a copy is there when its group has been waited for."""
    copy = GlobalLoad(bytes=16384, to_shared=True, gives="tile")
    passed = run((4, [copy, Fence(copies=False)]))
    waited = run((4, [copy, Fence()]))
    by_group = run((4, [copy, Fence(copies=False), Fence(needs=("tile",))]))
    assert passed.of("a")[-1][1].end < B200.get("global_latency")
    assert waited.end > B200.get("global_latency") < by_group.end


def test_products_come_before_loads_at_shared_memory() -> None:
    steps: list[Step] = [
        SharedLoad(bytes=12800, gives="x"),
        Compute(work=Work(alu=1), needs=("x",)),
    ]
    free = run((4, steps))
    beside = run((4, [Compute(work=Work(alu=20)), *steps]), (1, [Mma(m=128, n=128, count=8)]))
    assert free.end == pytest.approx(100 + B200.get("smem_latency") + 2)
    assert beside.end > 8 * 64  # the product reads 128 bytes in each cycle


@pytest.mark.parametrize(("kilobytes", "cycles"), [(16, 556), (32, 652), (64, 844)])
def test_tma_loads_follow_their_latency_law(kilobytes: int, cycles: int) -> None:
    load = TmaLoad(bytes=kilobytes * 1024, barrier="full")
    timeline = run((1, [load, Wait(barrier="full", use=0)]), barriers={"full": 1})
    assert timeline.end == pytest.approx(cycles)


def test_wide_boxes_are_several_requests() -> None:
    wide = TmaLoad(bytes=16384, barrier="full", inner_bytes=1024)
    timeline = run((1, [wide, Wait(barrier="full", use=0)]), barriers={"full": 1})
    assert timeline.end == pytest.approx(556 + 240)


def test_more_bytes_than_l2_has_come_late() -> None:
    loads = [TmaLoad(bytes=32768, barrier="full") for _ in range(64)]
    timeline = run((1, [*loads, Wait(barrier="full", use=0)]), barriers={"full": 64})
    assert timeline.end >= (64 * 32768 - 65536) / B200.l2_rate


# --- waiting --------------------------------------------------------------------------------------


def test_a_wait_lasts_until_the_arrival_is_seen_and_says_who_ended_it() -> None:
    timeline = run(
        (4, [Compute(work=Work(alu=100)), Arrive(barrier="go", line=7)]),
        (4, [Wait(barrier="go", use=0, line=9)]),
        barriers={"go": 1},
    )
    (wait,) = [span for span in timeline.spans if span.kind is Kind.WAIT]
    assert (wait.actor, wait.line) == ("b", 9)
    assert wait.cycles == pytest.approx(200 + B200.get("mbarrier_latency"))
    assert wait.cause is not None
    assert timeline.spans[wait.cause].line == 7


def test_a_wait_for_what_is_long_done_costs_a_test() -> None:
    steps: list[Step] = [
        Arrive(barrier="go"),
        Compute(work=Work(alu=500)),
        Wait(barrier="go", use=0),
    ]
    timeline = run((4, steps), barriers={"go": 1})
    (wait,) = [span for span in timeline.spans if span.kind is Kind.WAIT]
    assert wait.cycles == pytest.approx(B200.get("mbarrier_test"))
    assert wait.cause is None


def test_a_barrier_of_two_waits_for_both_and_then_begins_anew() -> None:
    def phases(alu: int) -> list[Step]:
        block, arrive = Compute(work=Work(alu=alu)), Arrive(barrier="both")
        return [block, arrive, Wait(barrier="both", use=0), block, arrive]

    waits: list[Step] = [Wait(barrier="both", use=0), Wait(barrier="both", use=1)]
    timeline = run((4, phases(10)), (4, phases(100)), (4, waits), barriers={"both": 2})
    ends = [span.end for span in timeline.spans if span.actor == "c"]
    # Both roles together: 10 + 10 and 90 more instructions of two cycles.
    assert ends[0] == pytest.approx(220 + B200.get("mbarrier_latency"))
    assert ends[1] - ends[0] == pytest.approx(220 + B200.get("mbarrier_latency"))


def test_what_was_before_the_first_use_is_not_waited_for() -> None:
    assert run((1, [Wait(barrier="empty", use=-1)]), barriers={"empty": 1}).end == 0


def test_agents_of_a_role_meet() -> None:
    timeline = run((8, [Compute(work=Work(alu=50)), Sync(), Compute(work=Work(alu=1))]))
    assert timeline.end == pytest.approx(2 * 100 + B200.get("sync_latency") + 4)


def test_a_deadlock_names_who_waits_for_what() -> None:
    with pytest.raises(DeadlockError, match="a waits for use 0 of left") as caught:
        run(
            (4, [Wait(barrier="left", use=0, line=3), Arrive(barrier="right")]),
            (4, [Wait(barrier="right", use=0, line=5), Arrive(barrier="left")]),
            barriers={"left": 1, "right": 1},
        )
    assert caught.value.waiting == (("a", "use 0 of left", 3), ("b", "use 0 of right", 5))


def test_a_result_that_nothing_gives_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="nothing gives 'x'"):
        run((4, [Compute(work=Work(alu=1), needs=("x",))]))


# --- whole kernels --------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_answer_and_another_one_another() -> None:
    program = flash_attention_4(8)
    first = simulate(program, B200, jitter=0.2, seed=1)
    assert simulate(program, B200, jitter=0.2, seed=1) == first
    assert simulate(program, B200, jitter=0.2, seed=2).end != first.end
    assert simulate(program, B200).end != first.end


@pytest.mark.parametrize(
    ("machine", "settings", "cycles"),
    [
        # Estimates of a prototype that was written from the same constants, on its own; 10 %.
        (B200, {"emulated": 0.1875}, 2682),
        (B200, {"emulated": 0.125}, 2716),
        (B300, {"emulated": 0.0}, 2330),
        (B300, {"emulated": 0.0, "head_dim": 64}, 1833),
        (B200, {"emulated": 0.1875, "head_dim": 64}, 2254),
    ],
)
def test_flash_attention_4_comes_out_near_what_was_expected(
    machine: ClockMachine, settings: dict[str, float], cycles: float
) -> None:
    program = flash_attention_4(12, **settings)  # type: ignore[arg-type]
    assert simulate(program, machine).period() == pytest.approx(cycles, rel=0.1)


def test_no_turn_is_shorter_than_its_busiest_unit() -> None:
    timeline = simulate(flash_attention_4(12), B200)
    (_, begin), (_, end) = timeline.turns_of("softmax 0")[4], timeline.turns_of("softmax 0")[10]
    shares = dict(timeline.utilisation(begin, end))
    assert all(share <= 1 + 1e-6 for share in shares.values())
    assert shares["tensor"] * timeline.period() == pytest.approx(2 * (16 * 64.5 + 3 * 12), rel=0.02)


def test_rescaling_always_costs_more_than_the_ports_alone() -> None:
    plain = simulate(flash_attention_4(12), B200).period()
    always = simulate(flash_attention_4(12, rescaled=True), B200).period()
    assert 1.03 < always / plain < 1.3  # 1.07 and 1.21 were measured (arXiv:2603.05451)


def test_the_critical_path_of_a_turn_goes_through_tensor_core_and_softmax() -> None:
    timeline = simulate(flash_attention_4(12), B200)
    end = timeline.turns_of("softmax 0")[9][1]
    last = max(i for i, span in timeline.of("softmax 0") if span.end <= end)
    chain = timeline.path(last, end - timeline.period())
    assert {"tensor", "softmax 0"} <= {span.actor for span in chain}
    assert all(a.end <= b.end + 1e-6 for a, b in pairwise(chain))
