"""Symbolic derivatives: readable by hand, and those of PyTorch's autograd in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flash4gen.ir.derivative import derivative, jumps
from flash4gen.ir.expr import SCORE, Apply, Expr, Literal, Lookup, Op, Var, walk
from flash4gen.ir.printer import format_expr
from flash4gen.ir.simplify import simplify
from flash4gen.validate.evaluate import evaluate
from tests.ir.notation import TENSORS, expr
from tests.ir.strategies import floats

if TYPE_CHECKING:
    from collections.abc import Callable

SLOPE = expr("slopes[h]")
BIAS = expr("bias[h, q, k]")


@pytest.mark.parametrize(
    ("score", "by_s"),
    [
        ("s", "1.0"),
        ("s + float(k)", "1.0"),
        ("float(q)", "0.0"),
        ("50.0 * tanh(s / 50.0)", "1.0 - tanh(s / 50.0) * tanh(s / 50.0)"),
        ("30.0 * tanh(s * 0.1)", "3.0 * (1.0 - tanh(s * 0.1) * tanh(s * 0.1))"),
        ("s * slopes[h]", "slopes[h]"),
        ("s / slopes[h]", "1.0 / slopes[h]"),
        ("s * s", "2.0 * s"),
        ("s ** 3.0", "3.0 * s ** 2.0"),
        ("abs(s)", "where(s < 0.0, -1.0, 1.0)"),
        ("max(s, 0.0)", "where(s >= 0.0, 1.0, 0.0)"),
        ("where(k < q, s, 2.0 * s)", "where(k < q, 1.0, 2.0)"),
        ("exp(2.0 * s)", "2.0 * exp(2.0 * s)"),
        ("-s", "-1.0"),
    ],
)
def test_by_the_score(score: str, by_s: str) -> None:
    assert format_expr(derivative(expr(score), SCORE)) == by_s


@pytest.mark.parametrize(
    ("score", "by", "expected"),
    [
        ("s + slopes[h] * float(k - q)", SLOPE, "float(k - q)"),
        ("s + bias[h, q, k]", BIAS, "1.0"),
        ("s + bias[h, q, k]", SLOPE, "0.0"),
        ("s / slopes[h]", SLOPE, "-(s / slopes[h] / slopes[h])"),
        ("slopes[h] * tanh(s / slopes[h])", SLOPE, None),
    ],
)
def test_by_an_input(score: str, by: Expr, expected: str | None) -> None:
    found = derivative(expr(score), by)
    if expected is not None:
        assert format_expr(found) == format_expr(simplify(found)) == expected
    _like_autograd(expr(score), by)


def test_it_is_built_from_what_the_score_computes_anyway() -> None:
    score = expr("50.0 * tanh(s / 50.0)")
    shared = [node for node in walk(derivative(score, SCORE)) if node in set(walk(score))]
    assert any(isinstance(node, Apply) and node.op is Op.TANH for node in shared)


_lookups = st.sampled_from((SLOPE, BIAS))


@st.composite
def scores(draw: st.DrawFn) -> Expr:
    """FLOAT expressions over the score, positions and two inputs."""
    drawn = draw(floats(3))
    # Some constants become elements of inputs.
    chosen: dict[Expr, Expr] = {}
    for node in walk(drawn):
        if isinstance(node, Literal) and isinstance(node.value, float) and draw(st.booleans()):
            chosen[node] = draw(_lookups)

    def changed(node: Expr) -> Expr:
        if node in chosen:
            return chosen[node]
        if isinstance(node, Apply):
            return Apply(node.op, tuple(map(changed, node.args)))
        return node

    return changed(drawn)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(score=scores(), by=st.sampled_from((SCORE, SLOPE, BIAS)), seed=st.integers(0, 5))
def test_it_is_that_of_autograd(score: Expr, by: Expr, seed: int) -> None:
    _like_autograd(score, by, seed)


def _like_autograd(score: Expr, by: Expr, seed: int = 0) -> None:
    """Compare at random points at which the score is smooth."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.randn(3, 4, dtype=torch.float64, generator=generator) * 2
    tensors = {
        "slopes": torch.rand(2, dtype=torch.float64, generator=generator) + 0.5,
        "bias": torch.randn(2, 3, 4, dtype=torch.float64, generator=generator),
    }
    leaf = s if by == SCORE else tensors[by.tensor.name if isinstance(by, Lookup) else ""]
    leaf.requires_grad_()
    env = {
        Var.S: s,
        Var.Q: torch.arange(3)[:, None],
        Var.K: torch.arange(4)[None, :],
        Var.H: torch.tensor(1),
        Var.SEQ_Q: torch.tensor(3),
        Var.SEQ_K: torch.tensor(4),
    }

    def value(e: Expr) -> torch.Tensor:
        return evaluate(e, env, tensors=tensors).expand(3, 4)

    smooth = _smooth(score, value)
    if not smooth.any():
        return
    ours = value(derivative(score, by)).detach()
    total = value(score)
    if not total.requires_grad:
        assert bool((ours[smooth] == 0).all())
        return
    # One element of slopes is in all values, every other leaf in one value each.
    places = smooth & (smooth.flatten().cumsum(0).view(3, 4) == 1) if by == SLOPE else smooth
    (grad,) = torch.autograd.grad(total[places].sum(), leaf, allow_unused=True)
    if grad is None:
        grad = torch.zeros_like(leaf)
    theirs = (grad[1] if leaf.dim() != 2 else grad).expand(3, 4)
    known = places & theirs.isfinite()
    torch.testing.assert_close(ours[known], theirs[known], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "score",
    [
        "s",
        "where(s > 0.0, s, 0.1 * s)",
        "where(0.0 < s, s, 0.1 * s)",
        "where(s > slopes[h], s, slopes[h])",
        "where(s < 3.0, s * s, 9.0)",
        "where(abs(s) > 2.0, abs(s), 2.0)",
        "where(bias[h, q, k] > 0.0, s, -s)",
        "min(max(s, -5.0), 5.0)",
        "where(k <= q, s, -1e30)",
    ],
)
def test_what_does_not_jump_has_a_derivative(score: str) -> None:
    assert jumps(expr(score)) == ()


@pytest.mark.parametrize(
    ("score", "culprit"),
    [
        ("where(s > 1.0, s, 0.1 * s)", "s > 1.0"),
        ("where(s > -30.0, s, -1e30)", "s > (-30.0)"),
        ("float(where(s > 0.0, 1, 0))", "s > 0.0"),
        ("where(s > 0.0 and s < 1.0, s, 0.0)", "s > 0.0"),
        ("where(s == 0.0, 1.0, s)", "s == 0.0"),
        ("where(tanh(s) < 0.5, s, 2.0 * s)", "tanh(s) < 0.5"),
    ],
)
def test_a_jump_is_found(score: str, culprit: str) -> None:
    assert format_expr(jumps(expr(score))[0]) == culprit


def test_inputs_of_the_tests_exist() -> None:
    assert {"slopes", "bias"} <= set(TENSORS)


def _smooth(score: Expr, value: Callable[[Expr], torch.Tensor]) -> torch.Tensor:
    """Return where no float of a score is infinite, and no operator changes sides."""
    smooth = torch.ones(3, 4, dtype=torch.bool)
    for node in walk(score):
        if not isinstance(node, Apply) or node.args[0].type != "float":
            continue
        if node.type == "float":
            smooth &= value(node).isfinite() & (value(node).abs() < 1e6)
        if node.op in (Op.MIN, Op.MAX):
            smooth &= value(node.args[0]) != value(node.args[1])
        if node.op in (Op.ABS, Op.SQRT, Op.LOG, Op.RSQRT):
            smooth &= value(node.args[0]).abs() > 1e-6
        if node.op is Op.POW:
            # PyTorch's derivative by the exponent exists for positive bases alone, as ours does.
            smooth &= value(node.args[0]) > 1e-6
        if node.op is Op.DIV:
            smooth &= value(node.args[1]).abs() > 1e-6
    return smooth
