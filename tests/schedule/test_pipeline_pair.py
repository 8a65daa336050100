"""The backward pipeline of a pair of CTAs: its pin, its plan, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flash4gen.ir import library
from flash4gen.ir.expr import Apply, Extent, Input, InputDType, Literal, Lookup, Op, Var, Variable
from flash4gen.ir.nodes import Attention, Pass, Pin
from flash4gen.schedule.backward.pipeline.choose import choose_pipeline
from flash4gen.schedule.backward.pipeline.model import KeyOrder, PipelineSchedule, QuerySum
from flash4gen.schedule.backward.pipeline.plan import pipeline_faults, pipeline_plan
from flash4gen.schedule.blackwell.model import BlackwellSchedule
from flash4gen.schedule.choose import choose
from flash4gen.schedule.explain import explain
from flash4gen.schedule.model import Choice
from tests.ir.notation import attention, expr

B200 = library.target("b200")
BOTH = (Pass.FORWARD, Pass.BACKWARD)
PAIR = Pin("gradient_ctas", 2)
WIDE = attention(passes=BOTH, head_dim=128, value_dim=128, mask="k <= q_end", pins=(PAIR,))
NARROW = replace(WIDE, head_dim=64, value_dim=64)
TWO_PARTS = replace(WIDE, head_dim=192, value_dim=128)
QUERY, KEY = Variable(Var.Q), Variable(Var.K)
SIZES = pytest.mark.parametrize("variant", [WIDE, NARROW, TWO_PARTS], ids=["128", "64", "192"])


READING: dict[str, object] = {
    "passes": BOTH,
    "head_dim": 128,
    "value_dim": 128,
    "mask": "k <= q_end",
    "pins": (PAIR,),
}


def reading(numbers: int, variant: Attention) -> Attention:
    """Return a variant whose mask compares so many numbers of a query with those of a key."""
    axes = (Extent.BATCH, Extent.SEQ_Q)
    tensors = [Input(f"at{i}", InputDType.I32, axes) for i in range(numbers)]
    mask = expr("k <= q_end")
    for tensor in tensors:
        of_query, of_key = (Lookup(tensor, (Variable(Var.B), at)) for at in (QUERY, KEY))
        mask = Apply(Op.AND, (mask, Apply(Op.EQ, (of_query, of_key))))
    return replace(variant, mask=mask, inputs=tuple(tensors))


def schedule(variant: Attention = WIDE) -> PipelineSchedule:
    """Return what is chosen where a spec pins a pair."""
    choice = choose(variant, B200)
    assert isinstance(choice, Choice)
    assert choice.backward is not None
    assert isinstance(choice.backward.schedule, PipelineSchedule)
    return choice.backward.schedule


def test_a_pair_has_to_be_pinned() -> None:
    assert schedule().ctas == 2
    assert schedule(replace(WIDE, pins=())).ctas == 1
    assert schedule(replace(WIDE, pins=(Pin("gradient_ctas", 1),))).ctas == 1


@pytest.mark.parametrize("target", ["b200", "b300"])
@SIZES
def test_its_plan_is_sound(variant: Attention, target: str) -> None:
    found = schedule(variant)
    plan = pipeline_plan(found)
    assert pipeline_faults(found, library.target(target)) == ()
    assert plan.tmem_columns == 512
    reasons = dict(choose_pipeline(variant, B200, pair=True).reasons)
    derived = {"hardware", "head_pad", "value_pad", "argument_bytes", "row_bytes"}
    derived |= {"packed", "normalised"}
    assert {*found.__dataclass_fields__} - derived == {*reasons}


def test_each_cta_has_half_of_dq_beside_all_else_or_where_gradients_of_scores_were() -> None:
    """64 rows over 128 lanes take half as many columns as heads have."""
    wide, narrow = (
        {region.name: region for region in pipeline_plan(schedule(it)).regions}
        for it in (WIDE, NARROW)
    )
    assert (narrow["dq"].columns, narrow["dq"].inside) == (32, "")
    assert wide["ds, dq"].inside == "dp"


def test_heads_of_192_columns_have_a_lane_for_each_and_dq_a_column_for_each_query() -> None:
    found = schedule(TWO_PARTS)
    plan = pipeline_plan(found)
    regions = {region.name: region for region in plan.regions}
    buffers = {buffer.name: buffer.bytes for buffer in plan.buffers}
    assert (found.tile_q, found.share, found.rest) == (64, 32, 64)
    assert (regions["dq"].columns, regions["dq"].inside) == (64, "")
    assert sum(region.columns for region in plan.regions if not region.inside) == 512
    # All keys of both CTAs, and 128 columns of heads, of which the second CTA fills half.
    assert buffers["k by columns"] == 256 * 128 * 2
    assert buffers["dq on its way out"] == 2 * 16 * 128 * 4


def test_heads_of_192_columns_leave_room_for_what_tensors_hold() -> None:
    mask = "k <= q_end and docs[b, q_end] == docs[b, k]"
    read = attention(passes=BOTH, head_dim=192, value_dim=128, mask=mask, pins=(PAIR,))
    found, free = schedule(read), schedule(TWO_PARTS)
    assert (found.row_bytes, found.dq_slots) == (4, free.dq_slots)
    assert pipeline_faults(found, B200) == ()
    assert found.compute_registers > free.compute_registers


def test_dq_leaves_in_two_pieces_where_tensors_take_the_room() -> None:
    """A slope fits beside all of it, in 24 of 56 bytes; documents need their numbers as well."""
    slope = schedule(attention(**READING, score="s + slopes[h] * float(k - q_end)"))
    documents = schedule(reading(1, WIDE))
    assert (slope.dq_columns, documents.dq_columns) == (128, 64)
    whole, pieces = (
        {it.name: it.bytes for it in pipeline_plan(one).buffers} for one in (slope, documents)
    )
    assert whole["dq on its way out"] == 64 * 128 * 4
    assert pieces["dq on its way out"] == 64 * 64 * 4
    reasons = dict(choose_pipeline(reading(1, WIDE), B200, pair=True).reasons)
    assert "no room for all" in reasons["dq_columns"]
    assert "when the copy engine has read the first" in reasons["dq_slots"]


@pytest.mark.parametrize("deterministic", [False, True], ids=["as they come", "in turns"])
@pytest.mark.parametrize(("variant", "numbers"), [(WIDE, 15), (NARROW, 16), (TWO_PARTS, 16)])
def test_a_pair_reads_numbers_of_each_query(
    variant: Attention, numbers: int, *, deterministic: bool
) -> None:
    """At 192 / 128 one CTA has room for two; at 128 a pair has as much as one CTA."""
    read = replace(reading(numbers, variant), deterministic=deterministic)
    found = schedule(read)
    assert found.row_bytes == 4 * numbers
    assert pipeline_faults(found, B200) == ()


def test_slots_are_as_many_as_fit() -> None:
    wide, narrow = schedule(), schedule(NARROW)
    assert (wide.query_stages, wide.out_stages, wide.dq_slots) == (1, 1, 1)
    assert (narrow.query_stages, narrow.out_stages, narrow.dq_slots) == (2, 2, 2)
    assert (wide.row_stages, narrow.row_stages) == (2, 4)
    parts = schedule(TWO_PARTS)
    assert (parts.query_stages, parts.out_stages, parts.dq_slots) == (1, 1, 2)


@pytest.mark.parametrize("variant", [WIDE, NARROW], ids=["128", "64"])
def test_a_pair_adds_to_dq_in_turns_where_bits_must_be_the_same(variant: Attention) -> None:
    """One slot: what is in it has been written before the next turn. It takes a pair to meet."""
    ordered = replace(variant, deterministic=True)
    found, free = schedule(ordered), schedule(variant)
    assert (found.query_sum, found.order) == (QuerySum.ORDERED, KeyOrder.SHORTEST_FIRST)
    assert (found.dq_slots, found.query_stages) == (1, free.query_stages)
    assert pipeline_faults(found, B200) == ()
    names = [{it.name for it in pipeline_plan(one).buffers} for one in (found, free)]
    assert names[0] - names[1] == {"meetings of both CTAs"}
    reasons = dict(choose_pipeline(ordered, B200, pair=True).reasons)
    assert "before the next turn" in reasons["dq_slots"]
    assert "whose turn it is" in reasons["query_sum"]


def test_pieces_of_dq_are_sent_in_one_turn() -> None:
    """All of it would have no room, and what one slot holds is sent while the other is filled."""
    ordered = replace(TWO_PARTS, deterministic=True)
    found = schedule(ordered)
    assert (found.query_sum, found.dq_slots) == (QuerySum.ORDERED, 2)
    assert pipeline_faults(found, B200) == ()
    reasons = dict(choose_pipeline(ordered, B200, pair=True).reasons)
    assert "all are sent in one turn" in reasons["dq_slots"]


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"tile_q": 128}, "memory_plan"),
        ({"compute_roles": 1}, "roles"),
        ({"query_stages": 2}, "memory_plan"),
        ({"dq_slots": 4}, "memory_plan"),
    ],
)
def test_a_pair_for_wide_heads_that_cannot_be_is_found_out(
    change: dict[str, int], constraint: str
) -> None:
    found = pipeline_faults(replace(schedule(TWO_PARTS), **change), B200)  # type: ignore[arg-type]
    assert constraint in {violation.constraint for violation in found}


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"tile_k": 128}, "tiles"),
        ({"tile_q": 64}, "tiles"),
        ({"compute_roles": 4}, "roles"),
        ({"query_stages": 2}, "memory_plan"),
        ({"head_pad": 256}, "memory_plan"),
        ({"compute_registers": 184}, "registers"),
        ({"dq_columns": 32}, "columns"),
    ],
)
def test_a_pair_that_cannot_be_is_found_out(change: dict[str, int], constraint: str) -> None:
    found = pipeline_faults(replace(schedule(), **change), B200)  # type: ignore[arg-type]
    assert constraint in {violation.constraint for violation in found}


def test_a_pair_without_gradients_is_refused() -> None:
    found = choose(replace(WIDE, passes=(Pass.FORWARD,)), B200)
    assert isinstance(found, tuple)
    assert found[0].code == "F4G507"
    assert "a forward pass only" in found[0].notes[0]
    assert "`passes = forward, backward`" in found[0].helps[0]


def test_what_has_no_room_beside_a_pair_is_refused_with_its_bytes() -> None:
    """One CTA has no room either, and portable kernels need none."""
    found = choose(reading(16, WIDE), B200)
    assert isinstance(found, tuple)
    assert found[0].code == "F4G506"
    assert "buffers have 232,728 bytes, a block may have 232,448" in found[0].notes[0]
    assert "portable kernels" in found[0].helps[0]


def test_where_one_cta_has_room_and_a_pair_has_none_it_is_said() -> None:
    """A pair takes 224 bytes more, of barriers and of descriptors handed to its roles."""
    read = reading(15, WIDE)
    flags = tuple(Input(f"flag{i}", InputDType.I32, (Extent.HEADS,)) for i in range(40))
    mask = read.mask
    for flag in flags:
        seen = Apply(Op.EQ, (Lookup(flag, (Variable(Var.H),)), Literal(1)))
        mask = Apply(Op.AND, (mask, seen))
    found = choose(replace(read, mask=mask, inputs=(*read.inputs, *flags)), B200)
    assert isinstance(found, tuple)
    assert found[0].code == "F4G507"
    assert "buffers have 232,520 bytes, a block may have 232,448" in found[0].notes[0]
    assert "`gradient_ctas = 1`" in found[0].helps[0]


def test_what_no_pipeline_computes_names_the_pin() -> None:
    found = choose(replace(WIDE, head_dim=32, value_dim=32), B200)
    assert isinstance(found, tuple)
    assert found[0].code == "F4G506"
    assert "`gradient_ctas = 2` needs the blackwell family" in found[0].message


def test_pairs_compute_both_passes_or_neither_of_them_the_first() -> None:
    """What both passes call is printed for pairs, or for CTAs by themselves."""
    forward = Pin("ctas", 2)
    alone = replace(WIDE, mask=expr("true"), pins=(forward,))
    found = choose(alone, B200)
    assert isinstance(found, tuple)
    assert found[0].code == "F4G507"
    assert found[0].helps == ("write `ctas = 2  gradient_ctas = 2`",)
    both = choose(replace(alone, pins=(forward, PAIR)), B200)
    assert isinstance(both, Choice)
    assert isinstance(both.schedule, BlackwellSchedule)
    assert both.schedule.ctas == 2


def test_the_explanation_says_that_it_is_a_pair() -> None:
    choice = choose(WIDE, B200)
    assert isinstance(choice, Choice)
    text = explain(choice, WIDE, B200)
    assert "half of ds goes to the other" in " ".join(text.split())
    assert "k by columns" in text
    assert max(map(len, text.splitlines())) <= 100
