"""Compiled modules on the clock: steady state, critical path, and what cannot be told."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from flash4gen.clock.program import Fence, GlobalLoad, Mma, TmaStore, Wait
from flash4gen.schedule.blackwell.model import BlackwellSchedule, Dispatch
from flash4gen.simulate.model import Simulation, SimulationError
from flash4gen.simulate.run import Recorded, record_module, resident_ctas, simulate_module
from tests.ir.notation import attention
from tests.schedule.variants import pinning
from tests.validate.subjects import FULL, LOCAL, subject

if TYPE_CHECKING:
    from flash4gen.simulate.timed import Timed
    from flash4gen.validate import Subject

BLACKWELL = attention(name="full", heads=2, kv_heads=1, head_dim=64, value_dim=64, scale=0.125)
CASES = {"a100": FULL, "h100": FULL, "rtx5090": FULL, "b200": BLACKWELL}


@pytest.fixture(scope="module", params=CASES)
def module(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return subject(CASES[request.param], request.param, tmp_path_factory.mktemp("modules"))


@pytest.fixture(scope="module")
def recorded(module: Subject) -> Recorded:
    return record_module(module)


@pytest.fixture(scope="module")
def simulation(recorded: Recorded) -> Simulation:
    return recorded.run()


def is_blackwell(simulation: Simulation) -> bool:
    return simulation.target == "b200"


def test_loops_over_key_tiles_follow_the_cubin(simulation: Simulation) -> None:
    assert simulation.seq_k == 14 * simulation.tile_k
    assert max(role.turns for role in simulation.roles) == 14
    assert all(role.from_sass == role.turns for role in simulation.roles)


def test_turns_of_the_steady_state_are_alike_and_not_shorter_than_a_unit_allows(
    simulation: Simulation,
) -> None:
    assert all(share <= 1 + 1e-6 for _, share in simulation.utilisation)
    assert dict(simulation.utilisation)["tensor"] > 0.05
    assert simulation.cycles_per_turn > 0
    assert 0 < simulation.prologue < simulation.end
    assert 0 <= simulation.epilogue < simulation.end
    # The first tiles must arrive before anything can begin.
    assert simulation.fill_drain > 460


def test_a_turn_of_the_model_has_the_products_of_the_module(
    module: Subject, simulation: Simulation
) -> None:
    """What the tensor core does in a turn is known from the tiles alone."""
    flops = 4 * simulation.tile_q * simulation.tile_k * module.attention.head_dim
    share = dict(simulation.utilisation)["tensor"]
    modelled = share * simulation.cycles_per_turn
    # Padding, smaller tiles at less than the dense rate, and gaps between groups come on top.
    assert modelled >= 0.95 * flops / module.hardware.mma_flops


def test_a_turn_of_the_model_has_the_exponentials_of_the_module(
    module: Subject, simulation: Simulation
) -> None:
    assert exponentials(simulation) >= 0.95 * least_exponentials(module, simulation)


def exponentials(simulation: Simulation) -> float:
    """Cycles of a turn in which the special function units are busy."""
    return dict(simulation.utilisation)["mufu"] * simulation.cycles_per_turn


def least_exponentials(module: Subject, simulation: Simulation) -> float:
    schedule = module.choice.schedule
    emulated = getattr(schedule, "emulated", 0) / schedule.tile_k
    scores = simulation.tile_q * simulation.tile_k
    return scores * (1 - emulated) / module.hardware.exp2_rate


def test_roles_with_as_many_waits_and_arrivals_are_told_apart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With scores and weights apart, softmax and correction have four waits and arrivals each."""
    module = subject(
        pinning(BLACKWELL, plan="disjoint"), "b200", tmp_path_factory.mktemp("disjoint")
    )
    found = simulate_module(module)
    assert all(role.from_sass == role.turns for role in found.roles)
    assert exponentials(found) >= 0.95 * least_exponentials(module, found)


def test_a_turn_that_went_a_way_of_its_own_is_estimated_and_the_others_are_not(
    blackwell: Timed,
) -> None:
    """In the first turns a correction may rescale one accumulator of two."""
    roles = blackwell.simulation.roles
    assert all(role.turns - 1 <= role.from_sass <= role.turns for role in roles)


def test_the_chain_of_a_turn_sums_to_the_turn(simulation: Simulation) -> None:
    total = sum(link.cycles for link in simulation.path)
    assert total == pytest.approx(simulation.cycles_per_turn * simulation.residents, rel=0.02)
    assert all(0 <= link.contended <= link.cycles for link in simulation.path)


def test_lines_are_lines_of_the_module(module: Subject, simulation: Simulation) -> None:
    lines = module.path.read_text(encoding="utf-8").splitlines()
    waits = [s for role in simulation.program.roles for s in role.steps if isinstance(s, Wait)]
    assert all(0 < step.line <= len(lines) for step in waits)
    if is_blackwell(simulation):
        assert all("mbarrier.wait" in lines[step.line - 1] for step in waits)
    else:
        steps = [s for role in simulation.program.roles for s in role.steps]
        copies = [s for s in steps if isinstance(s, GlobalLoad) and s.to_shared]
        products = [s for s in steps if isinstance(s, Mma)]
        assert simulation.target == "rtx5090" or copies or products
        assert all("tl.load" in lines[step.line - 1] for step in copies)
        assert all("tl.dot" in lines[step.line - 1] for step in products)
        assert {role.name for role in simulation.roles} == {"attend"}


def test_roles_and_barriers_have_the_names_of_the_module(simulation: Simulation) -> None:
    if not is_blackwell(simulation):
        pytest.skip("the portable kernel has one role, and Triton's own barriers")
    names = {role.name for role in simulation.roles}
    assert names == {"softmax 0", "softmax 1", "correct", "mma", "load", "store"}
    barriers = dict(simulation.program.barriers)
    assert barriers["p_ready[0]"] == 2
    assert {"s_full[0]", "s_full[1]", "kv_full[0]", "stats_full[1]"} <= barriers.keys()


def test_roles_stand_somewhere_and_not_longer_than_a_turn(simulation: Simulation) -> None:
    assert simulation.standing
    assert all(
        one.cycles <= 1.01 * simulation.cycles_per_turn * simulation.residents
        for one in simulation.standing
        if one.actor != "store"
    )
    assert all(a.cycles >= b.cycles for a, b in pairwise(simulation.standing))


def test_a_seed_decides_the_jitter(recorded: Recorded, simulation: Simulation) -> None:
    assert recorded.run() == simulation
    once = recorded.run(jitter=0.2, seed=3)
    assert recorded.run(jitter=0.2, seed=3).cycles_per_turn == once.cycles_per_turn
    assert once.end != simulation.end


def test_slower_exponentials_make_a_turn_longer(recorded: Recorded, simulation: Simulation) -> None:
    slow = replace(recorded, machine=replace(recorded.machine, mufu_interval=64.0))
    assert slow.run().cycles_per_turn > 1.2 * simulation.cycles_per_turn


def test_as_many_ctas_share_an_sm_as_registers_and_memories_allow(module: Subject) -> None:
    several = resident_ctas(module.artefact, module.hardware)
    facts = replace(module.artefact.facts, smem_bytes=module.hardware.smem_per_block)
    assert several >= 1
    assert resident_ctas(replace(module.artefact, facts=facts), module.hardware) == 1


def test_masked_loops_are_found_as_well(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = simulate_module(subject(LOCAL, "a100", tmp_path_factory.mktemp("local")))
    (role,) = found.roles
    assert role.from_sass == role.turns > 4


def test_a_target_without_constants_is_refused(module: Subject) -> None:
    unknown = replace(module, hardware=replace(module.hardware, arch=89))
    with pytest.raises(SimulationError, match="no constants for sm_89"):
        simulate_module(unknown)


def test_programs_that_take_over_work_are_refused_by_name(recorded: Recorded) -> None:
    module, choice = recorded.subject, recorded.subject.choice
    if not isinstance(choice.schedule, BlackwellSchedule):
        pytest.skip("portable programs have one work tile each")
    taking_over = replace(choice, schedule=replace(choice.schedule, dispatch=Dispatch.CLC))
    with pytest.raises(SimulationError, match="`dispatch = clc`"):
        simulate_module(replace(module, choice=taking_over))


def test_outputs_are_stored_once_per_query_tile(recorded: Recorded) -> None:
    """Also where the loop over work tiles, which stores them, follows the cubin."""
    if recorded.subject.hardware.name != "b200":
        pytest.skip("the portable kernel stores after its loops")
    (store,) = (role for role in recorded.program.roles if role.name == "store")
    stores = [step for step in store.steps if isinstance(step, TmaStore)]
    waits = [step for step in store.steps if isinstance(step, Fence) and step.needs]
    assert [step.bytes for step in stores] == [128 * 64 * 2] * 2
    assert [step.needs for step in waits] == [(step.gives,) for step in stores]


@pytest.mark.slow
def test_of_a_pair_of_ctas_the_first_is_simulated(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    variant = pinning(replace(BLACKWELL, head_dim=128, value_dim=128), ctas=2)
    found = simulate_module(subject(variant, "b200", tmp_path_factory.mktemp("pair")))
    assert found.tile_q == 512
    assert all(role.from_sass == role.turns for role in found.roles)
    assert dict(found.program.barriers)["p_ready[0]"] == 2  # as seen from the first CTA
    # Each CTA has 256 queries, and both together twice the products in the same time.
    busy = dict(found.utilisation)["tensor"] * found.cycles_per_turn
    assert busy == pytest.approx(2 * 16 * 64.7, rel=0.05)
