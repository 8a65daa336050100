"""Printed expressions: their text, and that both languages compute what the oracle says."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flash4gen.build.load import load_module
from flash4gen.ir.expr import Apply, Expr, Literal, Op, Type, Var, variables, walk
from flash4gen.ir.simplify import simplify
from flash4gen.render.context import Arithmetic
from flash4gen.render.environment import environment as environment_of_templates
from flash4gen.render.source_expr import (
    TORCH,
    TRITON,
    Dialect,
    Helper,
    helpers,
    source,
    statements,
    variable_names,
)
from flash4gen.validate.evaluate import evaluate
from flash4gen.vgpu import virtual_gpu
from tests.ir.notation import expr
from tests.ir.strategies import bools, floats, ints

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = variable_names({var: var.value for var in Var})
SIZE = 16


@pytest.mark.parametrize(
    ("text", "dialect", "printed"),
    [
        ("k <= q and q - k < 4", TRITON, "(k <= q) & (q - k < 4)"),
        ("50.0 * tanh(s / 50.0)", TRITON, "50.0 * _tanh(s * 0.02)"),
        ("50.0 * tanh(s / 50.0)", TORCH, "50.0 * torch.tanh(s / 50.0)"),
        ("q // 8 == k // 8", TRITON, "q // 8 == k // 8"),
        ("(q - k) % 4 == 0", TRITON, "_floor_mod(q - k, 4) == 0"),
        ("(q - k) % 4 == 0", TORCH, "(q - k) % 4 == 0"),
        ("not (k < 4 or q < k)", TRITON, "~((k < 4) | (q < k))"),
        ("s - 0.5 * float(q - k)", TRITON, "s - 0.5 * (q - k).to(tl.float32)"),
        ("s ** 2.0", TRITON, "s * s"),
        ("min(q, 7) < k", TORCH, "torch.clamp(q, max=7) < k"),
        ("q - (k - 1) < -3", TRITON, "q - (k - 1) < -3"),
    ],
)
def test_text(text: str, dialect: Dialect, printed: str) -> None:
    assert source(expr(text), dialect, NAMES) == printed


def test_long_expressions_are_split_into_named_parts() -> None:
    long = expr(" or ".join(f"(q + {i} < k and k < q + {i + 2})" for i in range(0, 12, 3)))
    lines = statements([("return ", long)], TRITON, NAMES, 60)
    assert len(lines) > 1
    assert max(map(len, lines)) <= 60
    assert lines[-1].startswith("return ")


def test_only_needed_helpers_are_asked_for() -> None:
    assert helpers(expr("q // 8 == k // 8"), TRITON) == frozenset()
    assert helpers(expr("(q - k) // 8 == 0"), TRITON) == {Helper.FLOOR_DIV}
    assert helpers(expr("tanh(s)"), TORCH) == frozenset()


def printable(node: Expr) -> bool:
    """Whether no operator is left whose operands are all literals: lowering folds or refuses it."""
    return all(
        not isinstance(part, Apply) or any(not isinstance(a, Literal) for a in part.args)
        for part in walk(node)
    )


KINDS = {Type.INT: ints(2), Type.BOOL: bools(2), Type.FLOAT: floats(2)}


@st.composite
def expressions(draw: st.DrawFn) -> Expr:
    """Simplified expressions of all three types."""
    while True:
        node = simplify(draw(KINDS[draw(st.sampled_from(Type))]))
        if printable(node):
            return node


def environment(*, double: bool = True) -> dict[Var, torch.Tensor]:
    """Return values for all variables, over a tile of 16 × 16 elements."""
    positions = torch.arange(SIZE)
    score = torch.linspace(-3, 3, SIZE * SIZE, dtype=torch.float64).reshape(SIZE, SIZE)
    return {
        Var.S: score if double else score.float(),
        Var.Q: positions[:, None] + 3,
        Var.K: positions[None, :] + 5,
        Var.H: torch.tensor(2),
        Var.HKV: torch.tensor(1),
        Var.B: torch.tensor(3),
        Var.SEQ_Q: torch.tensor(23),
        Var.SEQ_K: torch.tensor(29),
    }


@contextmanager
def float64_by_default() -> Iterator[None]:
    """The oracle computes in float64, so the text has to; ``where(c, 0.0, 1.0)`` asks for this."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@settings(max_examples=150, deadline=None)
@example(expr("exp(where(q < k, 0.0, 1.0))"))
@given(expressions())
def test_pytorch_text_means_the_same(node: Expr) -> None:
    values = environment()
    scope = {"torch": torch, **{var.value: value for var, value in values.items()}}
    lines = statements([("result = ", node)], TORCH, NAMES, 70)
    with float64_by_default():
        exec("\n".join(lines).replace(".float()", ".double()"), scope)
    got: Any = scope["result"]
    want = evaluate(node, values)
    if not isinstance(got, torch.Tensor):
        got = torch.tensor(got, dtype=want.dtype)
    torch.testing.assert_close(
        got.to(want.dtype).expand_as(want), want, rtol=1e-12, atol=1e-12, equal_nan=True
    )


def triton_module(nodes: list[Expr], folder: Path) -> Path:
    """Write a kernel that stores every expression over the tile of ``environment``."""
    template = environment_of_templates().get_template("shared/arithmetic.py.j2")
    used = Arithmetic(
        tanh=True,
        tanh_approx=False,
        tanh_packed=False,
        floor_div=True,
        floor_mod=True,
        libdevice=True,
    )
    functions: Any = template.module
    functions = functions.define(used)
    body = [
        "import triton",
        "import triton.language as tl",
        "from triton.language.extra import libdevice",
        functions,
        "@triton.jit",
        "def kernel(s_ptr, out_ptr, h, hkv, b, seq_q, seq_k):",
        f"    tile = tl.arange(0, {SIZE})",
        "    q = tile[:, None] + 3",
        "    k = tile[None, :] + 5",
        f"    where = tile[:, None] * {SIZE} + tile[None, :]",
        "    s = tl.load(s_ptr + where)",
    ]
    for index, node in enumerate(nodes):
        lines = statements([("x = ", node)], TRITON, NAMES, 80)
        body += [f"    {line}" for line in lines]
        body.append(f"    x = tl.zeros([{SIZE}, {SIZE}], tl.float32) + x")
        body.append(f"    tl.store(out_ptr + {index * SIZE * SIZE} + where, x)")
    file = folder / "printed.py"
    file.write_text("\n".join(body) + "\n", encoding="utf-8")
    return file


def is_tame(node: Expr) -> bool:
    """Whether float32 and float64 agree closely: no pole or branch at the tested values."""
    exact = environment()
    value = evaluate(node, exact).double()
    single = evaluate(node, {**exact, Var.S: exact[Var.S].float().double() + 1e-7}).double()
    finite = bool(value.isfinite().all()) and float(value.abs().max()) < 1e4
    return finite and bool(torch.allclose(value, single, rtol=1e-4, atol=1e-4))


@st.composite
def batches(draw: st.DrawFn) -> list[Expr]:
    """Ten expressions: one kernel compiles them all."""
    nodes: list[Expr] = []
    while len(nodes) < 10:
        node = draw(expressions())
        if variables(node) and is_tame(node):
            nodes.append(node)
    return nodes


@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.filter_too_much,
        HealthCheck.too_slow,
    ],
)
@given(batches())
def test_triton_text_means_the_same(tmp_path: Path, nodes: list[Expr]) -> None:
    module = load_module(triton_module(nodes, tmp_path))
    values = environment(double=False)
    out = torch.full((len(nodes), SIZE, SIZE), float("nan"))
    scalars = [int(values[var]) for var in (Var.H, Var.HKV, Var.B, Var.SEQ_Q, Var.SEQ_K)]
    with virtual_gpu(80):
        module.kernel[(1,)](values[Var.S], out, *scalars, enable_fp_fusion=True)
    for node, got in zip(nodes, out, strict=True):
        want = evaluate(node, environment()).float().expand(SIZE, SIZE)
        exact = node.type is not Type.FLOAT
        tolerance = 0.0 if exact else 2e-5
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance, msg=repr(node))


def test_every_operator_is_covered_by_the_strategies() -> None:
    # the two properties above say nothing about an operator that is never drawn
    drawn = {Op.NEG, Op.NOT, Op.WHERE, Op.TO_FLOAT, Op.ABS, Op.AND, Op.OR}
    drawn |= {Op.ADD, Op.SUB, Op.MUL, Op.DIV, Op.FLOOR_DIV, Op.MOD, Op.MIN, Op.MAX, Op.POW}
    drawn |= {Op.EXP, Op.LOG, Op.TANH, Op.SIGMOID, Op.SQRT, Op.RSQRT}
    drawn |= {Op.LT, Op.LE, Op.GT, Op.GE, Op.EQ, Op.NE}
    bits = {Op.BIT_AND, Op.BIT_OR, Op.BIT_XOR, Op.SHIFT_LEFT, Op.SHIFT_RIGHT}
    assert drawn | bits == set(Op)  # those of words: tests/ir/test_bits.py
