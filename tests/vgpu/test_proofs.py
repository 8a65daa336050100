"""Proofs for every launch: what can never happen is proven, and nothing that can."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash4gen.vgpu.mutate import mutants
from flash4gen.vgpu.mutate.scoring import proven_without_effect
from flash4gen.vgpu.prove import proofs
from flash4gen.vgpu.prove.integers import (
    All,
    Formula,
    NotNegative,
    Some,
    Sum,
    Variables,
    Zero,
    less,
    negation,
)
from tests.vgpu.gluon.all_cases import ALL

if TYPE_CHECKING:
    from tests.vgpu.gluon.case import Case

BARRIER = "!ttg.memdesc<1xi64, #bar, #smem, mutable>"
RING = "!ttg.memdesc<3x1xi64, #bar, #smem, mutable>"
HEAD = f"""
%c0 = arith.constant 0 : i32
%c1 = arith.constant 1 : i32
%c2 = arith.constant 2 : i32
%c63 = arith.constant 63 : i32
%c64 = arith.constant 64 : i32
%ring = ttg.local_alloc : () -> {RING}
%first = ttg.memdesc_index %ring[%c0] : {RING} -> {BARRIER}
ttng.init_barrier %first, 1 : {BARRIER}
%second = ttg.memdesc_index %ring[%c1] : {RING} -> {BARRIER}
ttng.init_barrier %second, 1 : {BARRIER}
"""
# Tiles of 64 keys that are not full: at most one.
PARTIAL = """
%keys = arith.maxsi %n, %c0 : i32
%above = arith.addi %keys, %c63 : i32
%tiles = arith.divsi %above, %c64 : i32
%whole = arith.divsi %keys, %c64 : i32
%partial = arith.subi %tiles, %whole : i32
"""


def kernel(body: str) -> str:
    """Return a kernel of an argument %n: some lines of TTGIR behind the head."""
    lines = [line for line in (HEAD + body).split("\n") if line.strip()]
    ends = [line if line.rstrip().endswith("{") else f"{line} loc(#loc)" for line in lines]
    text = "\n".join(ends)
    return (
        "#bar = #ttg.swizzled_shared<{vec = 1, perPhase = 1, maxPhase = 1, order = [0]}>\n"
        "#loc = loc(unknown)\n#smem = #ttg.shared_memory\nmodule {\n"
        f"tt.func public @k(%n: i32 loc(#loc)) {{\n{text}\ntt.return loc(#loc)\n"
        "} loc(#loc)\n} loc(#loc)\n"
    )


def line_of(text: str, part: str) -> int:
    (line,) = [i for i, line in enumerate(text.split("\n"), 1) if part in line]
    return line


def never(body: str, part: str) -> bool:
    text = kernel(body)
    return proofs(text).never(line_of(text, part))


def idle(body: str, name: str) -> bool:
    text = kernel(body)
    return proofs(text).idle(line_of(text, f"init_barrier %{name},"))


# --- what never happens ---------------------------------------------------------------------------


@pytest.mark.parametrize(("bound", "expected"), [(0, False), (1, True), (2, True)])
def test_a_predicate_that_no_length_makes_true(bound: int, expected: bool) -> None:
    body = f"%more = arith.cmpi sgt, %partial, %c{bound} : i32\n"
    body += f"ttng.wait_barrier %first, %c0, %more : {BARRIER}"
    assert never(PARTIAL + body, "wait_barrier") is expected


@pytest.mark.parametrize(("start", "expected"), [("c0", False), ("c1", True)])
def test_a_loop_without_turns(start: str, expected: bool) -> None:
    body = f"scf.for %i = %{start} to %partial step %c1 : i32 {{\n"
    body += f"ttng.wait_barrier %first, %c0 : {BARRIER}\n}}"
    assert never(PARTIAL + body, "wait_barrier") is expected


def test_a_branch_that_contradicts_another() -> None:
    body = f"""
%few = arith.cmpi slt, %n, %c2 : i32
scf.if %few {{
  %many = arith.cmpi sgt, %n, %c2 : i32
  ttng.arrive_barrier %first, 1, %many : {BARRIER}
  ttng.arrive_barrier %second, 1, %few : {BARRIER}
}}"""
    assert never(body, "arrive_barrier %first")
    assert not never(body, "arrive_barrier %second")


def test_of_an_unknown_number_nothing_is_proven() -> None:
    body = f"""
%product = arith.muli %n, %n : i32
%odd = arith.cmpi slt, %product, %c0 : i32
ttng.wait_barrier %first, %c0, %odd : {BARRIER}"""
    assert not never(body, "wait_barrier")


# --- which barriers idle --------------------------------------------------------------------------


def test_a_barrier_that_is_only_made_idles() -> None:
    body = f"ttng.wait_barrier %second, %c0 : {BARRIER}\nttng.inval_barrier %first : {BARRIER}"
    assert idle(body, "first")
    assert not idle(body, "second")


def ring_in_a_loop(turns: str) -> str:
    return f"""
scf.for %i = %c0 to %{turns} step %c1 : i32 {{
  %now = ttg.memdesc_index %ring[%i] : {RING} -> {BARRIER}
  ttng.wait_barrier %now, %c0 : {BARRIER}
}}"""


def test_a_loop_of_one_turn_uses_one_buffer() -> None:
    assert idle(PARTIAL + ring_in_a_loop("partial"), "second")
    assert not idle(PARTIAL + ring_in_a_loop("partial"), "first")


def test_a_loop_of_many_turns_may_use_each() -> None:
    assert not idle(PARTIAL + ring_in_a_loop("tiles"), "second")


def test_a_barrier_handed_from_turn_to_turn_may_be_any_of_its_ring() -> None:
    body = f"""
%last = scf.for %i = %c0 to %n step %c1 iter_args(%b = %first) -> ({BARRIER}) : i32 {{
  ttng.arrive_barrier %b, 1 : {BARRIER}
  %next = ttg.memdesc_index %ring[%i] : {RING} -> {BARRIER}
  scf.yield %next : {BARRIER}
}}"""
    assert not idle(body, "second")


def test_what_a_loop_without_turns_hands_on_is_what_it_got() -> None:
    body = f"""
%last = scf.for %i = %c1 to %partial step %c1 iter_args(%b = %first) -> ({BARRIER}) : i32 {{
  scf.yield %second : {BARRIER}
}}
ttng.wait_barrier %last, %c0 : {BARRIER}"""
    assert idle(PARTIAL + body, "second")
    assert not idle(PARTIAL + body, "first")


def test_a_barrier_made_in_every_turn_is_not_judged() -> None:
    """Turns share the names of their variables and nothing else."""
    body = f"""
scf.for %i = %c0 to %n step %c1 : i32 {{
  %now = ttg.memdesc_index %ring[%i] : {RING} -> {BARRIER}
  ttng.init_barrier %now, 1 : {BARRIER}
  %j = arith.subi %i, %c1 : i32
  %before = ttg.memdesc_index %ring[%j] : {RING} -> {BARRIER}
  ttng.wait_barrier %before, %c0 : {BARRIER}
}}"""
    assert not idle(body, "now")


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
def test_nothing_is_proven_of_operations_that_take_effect(case: Case) -> None:
    """In these kernels each operation does: other tests flag its mutants."""
    text = case.text()
    assert [mutant for mutant in mutants(text) if proven_without_effect(text, mutant)] == []


# --- the arithmetic -------------------------------------------------------------------------------

NUMBERS = range(-4, 5)


def holds(formula: Formula, values: tuple[int, ...]) -> bool:
    match formula:
        case All(parts):
            return all(holds(part, values) for part in parts)
        case Some(parts):
            return any(holds(part, values) for part in parts)
        case Zero(total):
            return value(total, values) == 0
        case NotNegative(total):
            return value(total, values) >= 0


def value(total: Sum, values: tuple[int, ...]) -> int:
    return total.constant + sum(factor * values[variable] for variable, factor in total.terms)


SUMS = st.builds(
    lambda factors, constant: sum(
        (Sum(((i, 1),)) * factor for i, factor in enumerate(factors)), Sum((), constant)
    ),
    st.tuples(*[st.integers(-3, 3)] * 3),
    st.integers(-5, 5),
)
FORMULAS = st.recursive(
    st.builds(NotNegative, SUMS) | st.builds(Zero, SUMS),
    lambda parts: (
        st.builds(All, st.tuples(parts, parts)) | st.builds(Some, st.tuples(parts, parts))
    ),
    max_leaves=6,
)


@given(FORMULAS)
def test_what_is_refuted_has_no_solution(formula: Formula) -> None:
    variables = Variables()
    for _ in range(3):
        variables.new()
    solvable = any(holds(formula, values) for values in product(NUMBERS, repeat=3))
    if variables.refuted(formula):
        assert not solvable


@given(FORMULAS, st.tuples(*[st.sampled_from(NUMBERS)] * 3))
def test_a_formula_or_its_negation_holds(formula: Formula, values: tuple[int, ...]) -> None:
    assert holds(formula, values) is not holds(negation(formula), values)


def test_rounding_refutes_what_fractions_would_not() -> None:
    """No even number is odd: 2 x = 2 y + 1; nor lies an integer between 1/3 and 2/3."""
    variables = Variables()
    x, y = variables.new(), variables.new()
    assert variables.refuted(Zero(x * 2 - y * 2 - 1))
    assert variables.refuted(less(Sum(), x * 3), less(x * 3, Sum((), 3)))
    assert not variables.refuted(less(Sum(), x * 3), less(x * 3, Sum((), 4)))
