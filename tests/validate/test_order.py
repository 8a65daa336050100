"""`deterministic = true`: the compile rung says that sums have one order, or which have not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.ir import library
from flash4gen.ir.nodes import Pin
from flash4gen.schedule.choose import choose
from flash4gen.schedule.explain import explain
from flash4gen.schedule.model import Choice
from flash4gen.validate.certificate import Status
from flash4gen.validate.order import FIXED, IN_TURN, kept_order, unordered
from flash4gen.validate.structure import compile_rung
from tests.validate.training import compiled, training, written

if TYPE_CHECKING:
    from flash4gen.validate import Subject

ORDERED = training(mask="k <= q_end", deterministic=True)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return compiled(written(ORDERED, "rtx5090", tmp_path_factory.mktemp("ordered")))


def test_the_certificate_says_it(subject: Subject) -> None:
    rung = compile_rung(subject)
    assert rung.status is Status.PASSED
    assert rung.details["deterministic"] == FIXED
    assert rung.summary.endswith("; deterministic; 3 backward kernels")
    assert "the same bits in every run" in subject.rendered.text


def test_a_kernel_that_adds_atomically_fails(subject: Subject) -> None:
    first, *others = subject.artefact.backward
    adds = replace(first, ttgir=first.ttgir + "%0 = tt.atomic_rmw fadd, relaxed, gpu, %p, %x")
    artefact = replace(subject.artefact, backward=(adds, *others))
    rung = compile_rung(replace(subject, artefact=artefact))
    assert rung.status is Status.FAILED
    assert rung.summary.startswith("deterministic = true, and _rows_kernel adds floats")
    free = replace(subject, artefact=artefact, attention=replace(ORDERED, deterministic=False))
    assert compile_rung(free).status is Status.PASSED


def test_the_schedule_says_it() -> None:
    hardware = library.target("h100")
    choice = choose(ORDERED, hardware)
    assert isinstance(choice, Choice)
    assert "asked for: no kernel adds atomically" in explain(choice, ORDERED, hardware)


def test_a_pin_of_the_warp_specialised_family_goes_with_it() -> None:
    wide = training(head_dim=128, value_dim=128, mask="k <= q_end", pins=(Pin("ctas", 1),))
    hardware = library.target("b200")
    choice = choose(replace(wide, deterministic=True), hardware)
    assert isinstance(choice, Choice)
    assert "programs add to the gradient of q in turns" in explain(choice, wide, hardware)


def test_kernels_that_add_in_turns_are_told_from_those_that_do_not(subject: Subject) -> None:
    first = subject.artefact.backward[0]
    adds = replace(first, ttgir="ttng.async_tma_reduce add, %d")
    turns = "tt.atomic_poll acquire, gpu, %p\nttng.async_tma_reduce add, %d\n"
    kept = replace(first, ttgir=f"{turns}tt.atomic_rmw exch, release, gpu, %p")
    too_late = replace(first, ttgir=f"tt.atomic_rmw exch, release, gpu, %p\n{turns}")
    also = replace(kept, ttgir=f"{kept.ttgir}\ntt.atomic_rmw fadd, relaxed, gpu, %p, %x")
    assert unordered((adds, kept, too_late, also)) == (first.kernel,) * 3
    assert kept_order((first, kept)) == IN_TURN
    assert kept_order((first,)) == FIXED
