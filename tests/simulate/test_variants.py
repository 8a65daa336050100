"""Scores with positions, and sinks: which unit they ask for, and that the clock asks for no more.

ALiBi turns a position into a float for every score. ``I2FP`` does that in the ALU; as long as the
clock took it for a special function, its turns were modelled a fifth too long.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.clock.program import Compute, Turn, Work
from flash4gen.schedule.blackwell.pace import kernel, pace
from flash4gen.simulate.run import Recorded, record_module
from flash4gen.simulate.ways import Do, read_loops
from tests.ir.notation import attention, expr
from tests.simulate.conftest import CAUSAL
from tests.validate.subjects import subject

if TYPE_CHECKING:
    from flash4gen.simulate.timed import Timed

ALIBI = attention(
    name="alibi",
    heads=16,
    kv_heads=8,
    head_dim=64,
    value_dim=64,
    scale=0.125,
    score="s + slopes[h] * float(k - (q + (seq_k - seq_q)))",
    mask="k <= q_end",
)
SCORES = 128
"""Of a thread in a turn: a row of them."""


@pytest.fixture(scope="module")
def alibi(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record_module(subject(ALIBI, "b200", tmp_path_factory.mktemp("alibi")))


def turn_of(recorded: Recorded, name: str) -> Work:
    """Return the work of one warp in a turn in the middle."""
    (role,) = (role for role in recorded.program.roles if role.name == name)
    number, total = -1, Work()
    for step in role.steps:
        number += isinstance(step, Turn)
        if number == 7 and isinstance(step, Compute):
            total += step.work
    return total


def test_positions_become_floats_in_the_alu(alibi: Recorded) -> None:
    schedule = alibi.subject.choice.schedule
    assert "I2FP.F32.S32" in alibi.subject.artefact.sass
    work = turn_of(alibi, "softmax 0")
    # Exponentials that are not computed in software, and the factor of the row.
    assert work.mufu == SCORES - getattr(schedule, "emulated", 0) + 1
    # Of each score: a subtraction, a conversion, and half of a maximum of three.
    assert 2.5 * SCORES <= work.alu <= 3 * SCORES


def test_a_turn_issues_what_the_cubin_has(alibi: Recorded) -> None:
    """Each instruction of the loop takes a slot, those about memory by themselves."""
    ways = [way for loop in read_loops(alibi.subject.artefact.sass) for way in loop.ways]
    softmax = [way for way in ways if way.count(Do.TMEM_STORE) and way.count(Do.SYNC)]
    counted = {sum(piece.work.issue for piece in way.pieces) for way in softmax}
    assert turn_of(alibi, "softmax 0").issue in counted
    assert 6 * SCORES <= turn_of(alibi, "softmax 0").issue <= 8 * SCORES


def test_the_sketch_knows_of_it(alibi: Recorded) -> None:
    found = alibi.subject
    schedule = found.choice.schedule
    what = kernel(schedule, found.attention, found.hardware)  # type: ignore[arg-type]
    assert pace(what).step == pytest.approx(alibi.run().cycles_per_turn, rel=0.2)


def test_no_unit_is_full_but_the_turn_hangs_on_one_row(alibi: Recorded) -> None:
    shares = dict(alibi.run().utilisation)
    assert max(shares, key=lambda unit: shares[unit]) in ("issue", "alu", "mufu")
    assert 0.4 < shares["alu"] < 0.8
    assert shares["mufu"] < 0.7


def test_a_sink_costs_a_turn_nothing(
    tmp_path_factory: pytest.TempPathFactory, blackwell: Timed
) -> None:
    sinks = replace(CAUSAL, name="sinks", inputs=ALIBI.inputs, sink=expr("slopes[h]"))
    found = record_module(subject(sinks, "b200", tmp_path_factory.mktemp("sinks")))
    same = record_module(blackwell.subject)
    assert turn_of(found, "softmax 0") == turn_of(same, "softmax 0")
    assert found.run().cycles_per_turn == pytest.approx(same.run().cycles_per_turn, rel=0.03)
