"""A warp-specialised forward pass with portable gradients: who has it, and how to say otherwise."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from flash4gen.ir import library
from flash4gen.ir.nodes import Attention, Lengths, Pass, Weights
from flash4gen.schedule.backward.model import as_loops
from flash4gen.schedule.choose import choose
from flash4gen.schedule.explain import explain, explanation
from flash4gen.schedule.model import Choice, Family
from tests.ir.notation import attention
from tests.schedule.variants import CAUSAL, chosen, pinning

B200 = library.target("b200")
NARROW = attention(passes=(Pass.FORWARD, Pass.BACKWARD), head_dim=32, value_dim=32, mask=CAUSAL)
WIDEST = replace(NARROW, head_dim=256, value_dim=256)
SIGMOID = replace(NARROW, weights=Weights.SIGMOID)
PACKED = replace(NARROW, lengths=Lengths.PACKED)


def families(choice: Choice) -> tuple[Family, Family]:
    """Return the families of both passes."""
    assert choice.backward is not None
    return choice.schedule.family, choice.backward.schedule.family


@pytest.mark.parametrize("target", ["b200", "b300", "rubin"])
@pytest.mark.parametrize(
    "variant", [NARROW, WIDEST, SIGMOID, PACKED], ids=["32", "256", "sigmoid", "packed"]
)
def test_what_the_pipeline_refuses_keeps_its_forward_kernel(
    variant: Attention, target: str
) -> None:
    choice = chosen(variant, library.target(target))
    assert choice.mixed
    assert families(choice) == (Family.BLACKWELL, Family.PORTABLE)


def test_the_forward_kernel_is_that_of_the_forward_pass_alone() -> None:
    alone = replace(NARROW, passes=(Pass.FORWARD,))
    assert chosen(NARROW, B200).schedule == chosen(alone, B200).schedule


@pytest.mark.parametrize("change", [{"dropout": 0.1}, {"head_dim": 160}], ids=str)
def test_what_has_no_such_forward_kernel_is_portable(change: dict[str, object]) -> None:
    choice = chosen(replace(NARROW, **change), B200)  # type: ignore[arg-type]
    assert families(choice) == (Family.PORTABLE, Family.PORTABLE)
    assert not choice.mixed


def test_a_pinned_family_is_that_of_the_forward_pass() -> None:
    """`portable` leaves no choice for the gradients; `blackwell` takes them from where it can."""
    assert families(chosen(pinning(NARROW, family="portable"), B200))[0] is Family.PORTABLE
    assert chosen(pinning(NARROW, family="blackwell"), B200).mixed
    assert chosen(pinning(NARROW, plan="p_in_s"), B200).mixed


def test_pinned_shapes_of_gradients_leave_the_forward_kernel_as_it_is() -> None:
    both = replace(NARROW, head_dim=64, value_dim=64)
    shaped = chosen(pinning(both, keys_tile_q=32), B200)
    assert shaped.mixed
    assert shaped.backward is not None
    assert as_loops(shaped.backward.schedule).keys.tile_q == 32
    assert shaped.schedule == chosen(both, B200).schedule


def test_a_pair_for_gradients_needs_the_pipeline() -> None:
    found = choose(pinning(NARROW, gradient_ctas=2), B200)
    assert isinstance(found, tuple)
    assert found[0].code == "F4G506"
    assert "heads of 33 to 128 columns" in found[0].notes[0]
    assert "remove the pin" in found[0].helps[0]


def test_what_must_be_the_same_bits_has_kernels_that_add_in_one_order() -> None:
    choice = chosen(replace(NARROW, deterministic=True), B200)
    told = next(it for it in choice.decisions if it.field == "deterministic")
    assert "no kernel adds atomically" in told.reason


def test_a_pair_for_gradients_of_packed_sequences_is_refused_with_its_reason() -> None:
    wide = replace(PACKED, head_dim=128, value_dim=128)
    found = choose(pinning(wide, gradient_ctas=2), B200)
    assert isinstance(found, tuple)
    assert found[0].code == "F4G507"
    assert "know no packed sequences" in found[0].notes[0]
    assert "gradient_ctas = 1" in found[0].helps[0]


def test_the_explanation_says_why_and_shows_the_shapes() -> None:
    choice = chosen(NARROW, B200)
    text = explain(choice, NARROW, B200)
    assert "backward kernels, by what each is for" in text
    assert "heads of 33 to 128 columns" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100
    data = json.loads(json.dumps(explanation(choice, NARROW, B200)))
    assert data["backward"]["schedule"]["keys"]["tile_q"] > 0
    assert {"keys", "queries"} <= {*data["backward"]["reasons"]}
