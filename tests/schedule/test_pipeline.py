"""The schedule of the backward pipeline: who has one, what its plan holds, and what breaks it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flash4gen.ir import library
from flash4gen.ir.expr import Extent, Input, InputDType
from flash4gen.ir.nodes import Attention, Lengths, Pass, Weights
from flash4gen.render.module import render
from flash4gen.schedule.backward.model import (
    BackwardSchedule,
    KernelShape,
    Unfit,
    as_loops,
)
from flash4gen.schedule.backward.pipeline.choose import choose_pipeline, no_pipeline
from flash4gen.schedule.backward.pipeline.model import (
    RESTING,
    KeyOrder,
    PipelineSchedule,
    QuerySum,
)
from flash4gen.schedule.backward.pipeline.plan import pipeline_faults, pipeline_plan
from flash4gen.schedule.backward.space import shape_of
from flash4gen.schedule.choose import choose
from flash4gen.schedule.explain import explain, explanation
from flash4gen.schedule.model import Choice, Family
from tests.ir.notation import attention, expr
from tests.schedule.variants import chosen

B200 = library.target("b200")
BOTH = (Pass.FORWARD, Pass.BACKWARD)
TRAINED = attention(passes=BOTH, head_dim=128, value_dim=128, mask="k <= q_end")
NARROW = replace(TRAINED, head_dim=64, value_dim=64)
WIDER = {"head_dim": 192, "value_dim": 128}
WIDE = replace(TRAINED, head_dim=192, value_dim=128)
SIGMOID = replace(TRAINED, weights=Weights.SIGMOID)
PACKED = replace(TRAINED, lengths=Lengths.PACKED)


def schedule(variant: object = TRAINED) -> PipelineSchedule:
    found = choose_pipeline(variant, B200).schedule  # type: ignore[arg-type]
    assert isinstance(found, PipelineSchedule)
    return found


@pytest.mark.parametrize("target", ["b200", "b300"])
@pytest.mark.parametrize(
    "variant",
    [TRAINED, NARROW, WIDE, SIGMOID, PACKED],
    ids=["128", "64", "192/128", "sigmoid", "packed"],
)
def test_both_passes_are_specialised(variant: object, target: str) -> None:
    choice = choose(variant, library.target(target))  # type: ignore[arg-type]
    assert isinstance(choice, Choice)
    assert choice.schedule.family is Family.BLACKWELL
    assert choice.backward is not None
    assert isinstance(choice.backward.schedule, PipelineSchedule)
    assert pipeline_faults(choice.backward.schedule, library.target(target)) == ()


@pytest.mark.parametrize("variant", [TRAINED, WIDE], ids=["128", "192/128"])
def test_every_field_has_a_reason(variant: Attention) -> None:
    reasons = dict(choose_pipeline(variant, B200).reasons)
    derived = {"hardware", "head_pad", "value_pad", "argument_bytes", "row_bytes", "ctas"}
    derived |= {"normalised", "packed"}
    assert {*schedule().__dataclass_fields__} - derived == {*reasons}


@pytest.mark.parametrize("variant", [TRAINED, WIDE], ids=["128", "192/128"])
def test_two_score_tiles_and_two_gradients_fill_tensor_memory(variant: Attention) -> None:
    plan = pipeline_plan(schedule(variant))
    assert plan.tmem_columns == 512
    assert plan.smem_bytes <= B200.smem_per_block
    outer = [region for region in plan.regions if not region.inside]
    assert sum(region.columns for region in outer) == 512


def test_the_first_role_rests_with_the_fewest_registers_there_are() -> None:
    """Twenty warps start with 96 registers a thread, of 65,536 in steps of eight."""
    alone = schedule()
    assert pipeline_plan(alone).roles[0] == ("rest", 4)
    split = (alone.compute_registers, alone.reduce_registers, alone.other_registers)
    assert 2 * split[0] + split[1] + split[2] + RESTING == 5 * 96
    (fault,) = pipeline_faults(replace(alone, other_registers=split[2] + 8), B200)
    assert fault.reason.startswith("2 · 152 + 96 + 64 + 24 = 488 registers for 5 groups of warps")


def test_heads_in_two_parts_have_no_registers_for_a_role_that_rests() -> None:
    wide = schedule(WIDE)
    assert pipeline_plan(wide).roles[0] == ("reduce", 4)
    (fault,) = pipeline_faults(replace(wide, other_registers=120), B200)
    assert fault.reason.startswith("2 · 152 + 96 + 120 = 520 registers for 4 groups of warps")


@pytest.mark.parametrize(
    ("variant", "copied"),
    [
        (TRAINED, True),
        (PACKED, False),
        (SIGMOID, False),
        (attention(passes=BOTH, score="s * temperature[h, q]"), False),
    ],
    ids=["batch", "packed", "sigmoid", "beside a tensor"],
)
def test_lse_and_delta_come_by_tma_where_nothing_else_does(
    variant: Attention, *, copied: bool
) -> None:
    assert schedule(variant).rows_copied == copied
    text = render(variant, B200, chosen(variant, B200)).text
    assert ("tma.async_load(lse_desc, [line, q]" in text) == copied


def test_narrow_heads_leave_room_for_a_second_tile() -> None:
    assert (schedule().out_stages, schedule(NARROW).out_stages) == (1, 2)


def test_heads_of_192_columns_have_steps_of_64_queries() -> None:
    wide = schedule(WIDE)
    assert (wide.tile_q, wide.share, wide.rest) == (64, 32, 64)
    whole = pipeline_faults(replace(wide, tile_q=128), B200)
    assert "columns 512 to 703, an SM has 512" in " ".join(fault.reason for fault in whole)


def test_the_longest_key_tiles_start_first_where_they_differ() -> None:
    assert schedule().order is KeyOrder.LONGEST_FIRST
    assert schedule(replace(TRAINED, mask=expr("true"))).order is KeyOrder.KEY_TILES_FIRST


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"compute_registers": 160}, "registers"),
        ({"other_registers": 113}, "registers"),
        ({"query_stages": 1}, "stages"),
        ({"query_stages": 3}, "memory_plan"),
        ({"dq_columns": 48}, "columns"),
        ({"tile_q": 64}, "tiles"),
        ({"head_pad": 256}, "memory_plan"),
        ({"compute_roles": 8}, "roles"),
    ],
)
def test_a_schedule_that_cannot_be_is_found_out(change: dict[str, int], constraint: str) -> None:
    found = pipeline_faults(replace(schedule(), **change), B200)  # type: ignore[arg-type]
    assert constraint in {violation.constraint for violation in found}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"weights": Weights.SIGMOID, "score": "s * temperature[h, q]"},
            "`temperature[h, q]`, and the kernels beside it know no sigmoid weights",
        ),
        (
            {"lengths": Lengths.PACKED, "score": "s * gains[b, h]"},
            "`gains[b, h]`, and the kernels beside it know no packed sequences",
        ),
        ({"head_dim": 256, "value_dim": 256}, "head_dim 256 with value_dim 256"),
        (
            {
                **WIDER,
                "score": "s * temperature[h, q]",
                "mask": "docs[b, q] == docs[b, k] and q_docs[b, q] < 4",
            },
            "does not fit: buffers have 232,880 bytes, a block may have 232,448",
        ),
        ({"head_dim": 32, "value_dim": 32}, "heads of 33 to 128 columns"),
        ({"mask": "k < 0"}, "scores that move with q and k"),
    ],
)
def test_what_it_cannot_compute_has_portable_gradients_and_says_why(
    change: dict[str, object], reason: str
) -> None:
    size = {"head_dim": 64, "value_dim": 64}
    variant = attention(**{"passes": BOTH, **size, **change})
    assert reason in no_pipeline(variant, B200)
    choice = choose(variant, B200)
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    assert isinstance(choice.backward.schedule, BackwardSchedule)
    assert choice.mixed
    told = next(decision for decision in choice.decisions if decision.field == "backward")
    assert reason in told.reason


@pytest.mark.parametrize(
    ("score", "lookup", "kernels"),
    [
        ("s + bias[h, q, k]", "bias[h, q, k]", ("pairs",)),
        ("s * bias[h, q, k]", "bias[h, q, k]", ("pairs",)),
        ("s + temperature[h, q]", "temperature[h, q]", ("queries",)),
        ("tanh(s * slopes[h])", "slopes[h]", ("queries",)),
        ("s * float(k) * slopes[h]", "slopes[h]", ("queries",)),
        ("s * key_bias[h, k]", "key_bias[h, k]", ("keys",)),
        ("s * slopes[h] + slopes[h]", "slopes[h]", ("queries",)),
        ("tanh(s + key_bias[h, k]) + bias[h, q, k]", "bias[h, q, k]", ("keys", "pairs")),
    ],
)
def test_what_it_does_not_sum_has_portable_kernels_beside_it(
    score: str, lookup: str, kernels: tuple[str, ...]
) -> None:
    variant = attention(passes=BOTH, head_dim=64, value_dim=64, score=score)
    choice = choose(variant, B200)
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    assert isinstance(choice.backward.schedule, PipelineSchedule)
    assert choice.backward.beside is not None
    assert tuple(name for name, _ in choice.backward.beside.reasons) == kernels
    told = next(decision for decision in choice.decisions if decision.field == "backward")
    assert f"the gradient of `{lookup}`" in told.reason or f", `{lookup}` has" in told.reason
    text = explain(choice, variant, B200)
    assert "portable sums beside the pipeline" in text
    data = json.loads(json.dumps(explanation(choice, variant, B200)))
    assert {*data["beside"]["reasons"]} == {*kernels}


@pytest.mark.parametrize(
    "change",
    [
        {"score": "s + slopes[h] * float(k - q_end)"},
        {"score": "s * temperature[h, q]"},
        {"score": "s + table[h, (q + k) % 8]"},
        {"mask": "docs[b, q] == docs[b, k]"},
        {"mask": "bias[h, q, k] > 0.0"},
    ],
    ids=["slopes", "a temperature", "a table without gradient", "documents", "a mask of scores"],
)
def test_what_it_sums_itself_or_nobody_does_has_none(change: dict[str, str]) -> None:
    """A table that is read at sums of positions has no gradient, nor has what only a mask reads."""
    variant = attention(**{"passes": BOTH, "head_dim": 64, "value_dim": 64, **change})
    choice = choose(variant, B200)
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    assert isinstance(choice.backward.schedule, PipelineSchedule)
    assert choice.backward.beside is None
    assert "backward" not in {decision.field for decision in choice.decisions}


def test_shapes_beside_it_that_spill_are_replaced() -> None:
    """The pipeline has one shape; what a compile found of a kernel beside it is remembered."""
    variant = attention(passes=BOTH, head_dim=64, value_dim=64, score="s + bias[h, q, k]")
    first = _beside(variant, ())
    assert shape_of(first, "_bias_h_q_k_gradient_kernel") == KernelShape("pairs", first.pairs)
    assert first.queries is not None
    assert shape_of(first, "_query_sum_kernel") == KernelShape("queries", first.queries)
    second = _beside(variant, ((KernelShape("pairs", first.pairs), "spills"),))
    assert second.pairs != first.pairs


def _beside(variant: Attention, unfit: Unfit) -> BackwardSchedule:
    choice = choose(variant, B200, unfit=unfit)
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    assert choice.backward.beside is not None
    assert not choice.backward.exhausted
    assert choice.backward.schedule_of("_gradient_kernel") == choice.backward.schedule
    found = choice.backward.schedule_of("_bias_h_q_k_gradient_kernel")
    assert found == choice.backward.beside.schedule
    return as_loops(found)


@pytest.mark.parametrize(
    ("change", "row_bytes"),
    [
        ({"score": "s + slopes[h] * float(k - q_end)"}, 0),
        ({"score": "s + key_bias[h, k]"}, 0),
        ({"score": "s * temperature[h, q]"}, 4),
        ({"score": "s + bias[h, q, k]"}, 0),
        ({"score": "s + table[h, max(docs[b, k] - q_docs[b, q], 0)]"}, 4),
        ({"mask": "docs[b, q] == docs[b, k] and k < lengths[b]"}, 4),
        ({"score": "s * temperature[h, q] + slopes[h]", "mask": "docs[b, q_end] == docs[b, k]"}, 8),
    ],
)
@pytest.mark.parametrize("head_dim", [128, 192])
def test_tensors_are_read_by_head_by_key_or_by_query(
    change: dict[str, object], row_bytes: int, head_dim: int
) -> None:
    variant = attention(**{"passes": BOTH, "head_dim": head_dim, "value_dim": 128, **change})
    assert no_pipeline(variant, B200) == ""
    found = schedule(variant)
    assert found.row_bytes == row_bytes
    assert pipeline_faults(found, B200) == ()
    reasons = dict(choose_pipeline(variant, B200).reasons)
    assert "argument_bytes" in reasons
    assert ("a thread holds 32 weights" in reasons["compute_registers"]) == (head_dim == 192)


@pytest.mark.parametrize("variant", [TRAINED, NARROW, WIDE], ids=["128", "64", "192/128"])
def test_what_must_be_the_same_bits_has_key_tiles_add_in_turn(variant: Attention) -> None:
    """From the last on: a program waits for those with lower numbers only, which have started."""
    found = schedule(replace(variant, deterministic=True))
    assert (found.query_sum, found.order) == (QuerySum.ORDERED, KeyOrder.SHORTEST_FIRST)
    assert pipeline_faults(found, B200) == ()
    choice = choose(replace(variant, deterministic=True), B200)
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    assert choice.backward.schedule == found
    told = next(decision for decision in choice.decisions if decision.field == "deterministic")
    assert "in turns" in told.reason


def test_sigmoid_weights_need_one_number_of_each_query() -> None:
    plain, sigmoid = pipeline_plan(schedule()), pipeline_plan(schedule(SIGMOID))
    numbers = {it.name: it.bytes for it in (*plain.buffers, *sigmoid.buffers)}
    assert numbers["lse and delta"] == 2 * numbers["gradients of totals"]
    reasons = dict(choose_pipeline(SIGMOID, B200).reasons)
    assert "sigmoid weights need nothing before the pipeline" in reasons["rows"]


def test_a_sink_is_no_hindrance() -> None:
    sinks = Input("slopes", InputDType.F32, (Extent.HEADS,))
    variant = replace(TRAINED, inputs=(sinks,), sink=expr("slopes[h]"))
    assert no_pipeline(variant, B200) == ""


def test_the_explanation_shows_its_plan() -> None:
    choice = choose(TRAINED, B200)
    assert isinstance(choice, Choice)
    text = explain(choice, TRAINED, B200)
    assert "dq on its way out" in text
    assert "inside dp" in text
    assert max(map(len, text.splitlines())) <= 100
    data = json.loads(json.dumps(explanation(choice, TRAINED, B200)))["backward"]
    assert sum(data["buffers"].values()) == pipeline_plan(schedule()).smem_bytes
    assert {*data["reasons"]} <= {*data["schedule"]}
