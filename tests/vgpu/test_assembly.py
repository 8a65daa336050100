"""Inline assembly with a meaning: the functions computed, and that kernels use these very texts."""

from __future__ import annotations

import ast
import math
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.driver import check_spec, plan_spec
from flash4gen.ir.library import target
from flash4gen.ir.nodes import DType, Pass, Weights
from flash4gen.render.module import render
from flash4gen.vgpu.numerics import reciprocal
from flash4gen.vgpu.ops.assembly import (
    ANEW,
    BITS_BELOW,
    EXP2,
    MULTIPLY_ADD,
    NARROW_EXP2,
    TANH,
    bits_below,
    exp2,
    multiply_add,
    narrow_exp2,
    select,
    selected,
    tanh,
)
from flash4gen.vgpu.ops.elementwise import _ASM
from tests.ir.notation import attention
from tests.project import ROOT
from tests.schedule.variants import chosen, pinning, portable

if TYPE_CHECKING:
    from collections.abc import Iterator

INF = float("inf")
RECIPROCAL = "rcp.approx.ftz.f32 $0, $1;"


def power(x: torch.Tensor) -> torch.Tensor:
    """Return 2^x by the block, which takes exponents as (x + 127) / 256."""
    return exp2(x, torch.tensor(1 / 256), torch.tensor(127 / 256))


def test_the_polynomial_is_close_to_the_power_of_two() -> None:
    x = torch.linspace(-126, 8, 200_001)
    error = power(x).double() / x.double().exp2() - 1
    assert float(error.abs().max()) < 9.3e-5


@pytest.mark.parametrize("x", [-INF, -1e30, -1000.0, -127.0, float("nan")])
def test_what_is_masked_weighs_exactly_nothing(x: float) -> None:
    result = power(torch.tensor([x]))
    assert result.view(torch.int32).tolist() == [0]  # +0, and not −0


def test_the_narrow_polynomial_ends_below_infinity() -> None:
    def narrow(x: torch.Tensor) -> torch.Tensor:
        """Return 2^x by the block, which takes exponents as x / 254 + 1 / 2."""
        return narrow_exp2(x, torch.tensor(1 / 254), torch.tensor(0.5))

    x = torch.linspace(-126, 126, 200_001)
    error = narrow(x).double() / x.double().exp2() - 1
    assert float(error.abs().max()) < 9.3e-5
    ends = torch.tensor([-INF, -1000.0, 0.0, 1000.0, INF])
    assert narrow(ends).tolist() == [0.0, 0.0, 1.0, 2.0**127, 2.0**127]
    # The reciprocal of what a hidden key has: a subnormal number, which is flushed to nothing.
    assert reciprocal(narrow(ends)).tolist()[3:] == [0.0, 0.0]


@pytest.mark.parametrize("whole", [-126, -20, -1, 0, 1, 8])
def test_whole_powers_are_exact(whole: int) -> None:
    assert power(torch.tensor([float(whole)])).tolist() == [2.0**whole]


def test_scale_and_shift_are_applied_with_one_rounding() -> None:
    """The product is 1 + 2^−11 + 2^−24, of which float32 would lose the last bit."""
    x, shift = torch.tensor([1 + 2.0**-12]), torch.tensor(-1 - 2.0**-11)
    assert (x * x + shift).tolist() == [0.0]
    assert exp2(x, x, shift).view(torch.int32).tolist() == [round(math.log(2) * 2**7)]


@pytest.mark.parametrize(
    ("end", "bits"),
    [(-5, 0), (0, 0), (1, 0b1), (5, 0b11111), (31, 2**31 - 1), (32, -1), (33, -1), (100, -1)],
)
def test_the_lowest_bits_of_a_word(end: int, bits: int) -> None:
    assert bits_below(torch.tensor([end], dtype=torch.int32)).tolist() == [bits]


def test_numbers_whose_bits_are_set_stay() -> None:
    x = torch.arange(128.0).reshape(2, 64)
    words = torch.tensor([[0b101], [-(2**31)]], dtype=torch.int32)
    kept = selected(x, words.expand(2, 64))
    assert (kept > -INF).nonzero().tolist() == [[0, 0], [0, 2], [0, 32], [0, 34], [1, 31], [1, 63]]
    assert torch.equal(kept[kept > -INF], x[kept > -INF])


def test_tanh_is_as_coarse_as_it_may_be_and_no_coarser() -> None:
    x = torch.cat([torch.linspace(-9, 9, 100_001), torch.logspace(-6, 0, 1001)])
    error = (tanh(x).double() / x.double().tanh() - 1).nan_to_num().abs().max()
    assert 2**-13 < float(error) <= 2**-11
    assert tanh(torch.tensor([0.0, INF, -INF])).tolist() == [0.0, 1.0, -1.0]


def normal(text: str) -> str:
    """Return assembly with single blanks: white space means nothing."""
    return " ".join(text.split())


def assembly_of(text: str) -> Iterator[str]:
    """Yield the first argument of each ``inline_asm_elementwise``; a function's result, called."""
    tree = ast.parse(text)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="inline_asm_elementwise"), args=args):
                block = args[0]
                if isinstance(block, ast.Call):
                    assert isinstance(block.func, ast.Name)
                    yield result_of(functions[block.func.id])
                else:
                    yield str(ast.literal_eval(block))


def result_of(function: ast.FunctionDef) -> str:
    """Run a compile-time function of a module as the plain Python that it is."""
    function.decorator_list = []
    scope: dict[str, object] = {}
    exec(ast.unparse(function), scope)
    result = scope[function.name]
    assert callable(result)
    return str(result())


@pytest.mark.parametrize(
    ("spec", "pins", "blocks"),
    [
        ("llama3_8b", {}, {EXP2, BITS_BELOW, select()}),
        ("gemma2_9b_local", {"tanh": "approx"}, {EXP2, BITS_BELOW, select(), TANH}),
        ("gemma2_9b_local", {}, {EXP2, BITS_BELOW, select(), RECIPROCAL}),
    ],
    ids=["no score", "approximate tanh", "precise tanh"],
)
def test_kernels_use_the_blocks_whose_meaning_is_known(
    spec: str, pins: dict[str, str], blocks: set[str]
) -> None:
    plans, problems = plan_spec(check_spec(ROOT / "specs" / f"{spec}.attn"), ["b200"])
    assert not problems
    what, hardware = pinning(plans[0].attention, **pins), plans[0].hardware
    module = render(what, hardware, chosen(what, hardware))
    assert {normal(text) for text in assembly_of(module.text)} == {normal(text) for text in blocks}
    assert all(normal(text) in _ASM for text in blocks)


def test_sigmoid_weights_use_the_narrow_block() -> None:
    what = attention(head_dim=64, value_dim=64, weights=Weights.SIGMOID)
    module = render(what, target("b200"), chosen(what, target("b200")))
    known = {normal(text) for text in (NARROW_EXP2, RECIPROCAL)}
    assert {normal(text) for text in assembly_of(module.text)} >= known


def test_pairs_are_multiplied_and_added_with_one_rounding() -> None:
    x = torch.tensor([1 + 2.0**-12, 3.0, INF, 2.0**-127])
    z = torch.tensor([-1 - 2.0**-11, 1.0, 1.0, 0.0])
    result = multiply_add(x, x, z).tolist()
    assert result[:3] == [2.0**-24, 10.0, INF]
    assert multiply_add(x[3:], torch.ones(1), z[3:]).tolist() == [0.0]  # a subnormal number
    assert result != (x * x + z).tolist()


def test_what_the_compiler_is_not_to_know_stays_what_it_is() -> None:
    passes = (Pass.FORWARD, Pass.BACKWARD)
    what = attention(dtype=DType.BF16, head_dim=64, value_dim=64, passes=passes)
    text = render(what, target("b200"), chosen(what, target("b200"))).text
    assert normal(ANEW) in {normal(block) for block in assembly_of(text)}
    assert _ASM[normal(ANEW)](torch.arange(3)).tolist() == [0, 1, 2]


def test_softcaps_on_tensor_memory_use_the_pairs() -> None:
    what = attention(dtype=DType.BF16, score="30.0 * tanh(s / 30.0)")
    blocks = {
        name: {normal(text) for text in assembly_of(render(what, it, portable(what, it)).text)}
        for name, it in (("b200", target("b200")), ("h100", target("h100")))
    }
    reciprocals, pairs = {normal(RECIPROCAL)}, {normal(RECIPROCAL), normal(MULTIPLY_ADD)}
    assert blocks == {"b200": pairs, "h100": reciprocals}
    assert normal(MULTIPLY_ADD) in _ASM
