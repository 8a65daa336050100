"""Gradients on the CPU path: against autograd of the float64 oracle, and as PyTorch wants ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from flash4gen.ir.expr import Extent, Input, InputDType
from flash4gen.ir.nodes import EmptyRow, Lengths, Weights
from flash4gen.validate.cases import Case
from flash4gen.validate.gradient_rung import run_gradients
from flash4gen.validate.gradients import Call, Upstream
from flash4gen.validate.inputs import make_inputs
from tests.ir.notation import expr
from tests.validate.training import EVERYTHING, SLOPES, assert_like_the_oracle, module_of, training

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.nodes import Attention

VARIANTS = {
    "plain": training(),
    "causal": training(mask="k <= q_end"),
    "empty rows": training(mask="k < q - 3", empty_row=EmptyRow.NAN),
    "nothing visible": training(mask="k < 0"),
    "one head each": training(heads=3, kv_heads=3, score="s * s * 0.1"),
    "widths": training(head_dim=32, value_dim=24, scale=0.1),
    "everything": EVERYTHING,
    "slopes per group": training(
        score=expr("s * slopes[hkv] + float(q)"),
        inputs=(Input("slopes", InputDType.F32, (Extent.HEADS,)),),
    ),
    "sigmoid": training(weights=Weights.SIGMOID, score="s * slopes[h]", mask="k <= q"),
    "equal lengths": training(lengths=Lengths.EQUAL, mask="k <= q and q - k < 5"),
    "function of a sink": training(sink=expr("2.0 * tanh(slopes[h])"), inputs=(SLOPES,)),
    "constant sink": training(sink=expr("0.0")),
    "infinite derivative where hidden": training(score="log(1.0 + abs(s)) / float(k - q)",
                                                 mask="k != q"),
}  # fmt: skip


def _call(variant: Attention, seq_q: int = 7, seq_k: int = 9) -> tuple[Call, Upstream]:
    """Return float64 arguments of a call, and gradients of its results."""
    if variant.lengths is Lengths.EQUAL:
        seq_k = seq_q
    made = make_inputs(variant, Case(name="cpu", batch=2, seq_q=seq_q, seq_k=seq_k))
    random = torch.Generator().manual_seed(0)
    out = torch.randn(2, seq_q, variant.heads, variant.value_dim, generator=random)
    second = torch.randn(2, variant.heads, seq_q, generator=random)
    call = Call(made.q.double(), made.k.double(), made.v.double(), made.tensors)
    return call, Upstream(out.double(), second.double())


@pytest.mark.parametrize("name", VARIANTS)
def test_the_cpu_path_is_the_derivative_of_the_oracle(name: str, tmp_path: Path) -> None:
    assert_like_the_oracle(VARIANTS[name], *_call(VARIANTS[name]), tmp_path)


def test_autograd_of_the_formula_says_the_same(tmp_path: Path) -> None:
    """The CPU path computes derivatives that the compiler found; `_eager` is the formula itself."""
    module = module_of(EVERYTHING, tmp_path)
    call, given = _call(EVERYTHING)
    q, k, v = (x.detach().requires_grad_() for x in (call.q, call.k, call.v))
    out, lse = module._eager(q, k, v, **call.tensors)
    by_autograd = torch.autograd.grad((out, lse), (q, k, v), (given.out, given.second))
    found = run_gradients(EVERYTHING, module, call, given)
    for name, grad in zip("qkv", by_autograd, strict=True):
        torch.testing.assert_close(found[name], grad, rtol=1e-6, atol=1e-8)


def test_gradcheck(tmp_path: Path) -> None:
    variant = training(score="5.0 * tanh(s / 5.0)", mask="k <= q_end", heads=2, kv_heads=1)
    function = module_of(variant, tmp_path).trained
    random = torch.Generator().manual_seed(1)
    shapes = ((1, 2, 2, 16), (1, 3, 1, 16), (1, 3, 1, 16))
    given = [torch.randn(*shape, generator=random, dtype=torch.float64) for shape in shapes]
    assert torch.autograd.gradcheck(function, [x.requires_grad_() for x in given], atol=1e-5)


def _arguments(variant: Attention) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return bfloat16 arguments that need gradients, and the inputs."""
    made = make_inputs(variant, Case(name="op", batch=2, seq_q=5, seq_k=6))
    given = [x.detach().requires_grad_() for x in (made.q, made.k, made.v)]
    return given, list(made.tensors.values())


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_pytorch_finds_nothing_wrong_with_the_op(name: str, tmp_path: Path) -> None:
    module = module_of(VARIANTS[name], tmp_path)
    given, tensors = _arguments(VARIANTS[name])
    torch.library.opcheck(module._op, (*given, *tensors))


def test_a_training_step_compiles_to_one_graph(tmp_path: Path) -> None:
    module = module_of(EVERYTHING, tmp_path)
    given, tensors = _arguments(EVERYTHING)
    names = [tensor.name for tensor in EVERYTHING.inputs]

    def step(q: Any, k: Any, v: Any) -> Any:
        out, lse = module.trained(q * 2, k, v, **dict(zip(names, tensors, strict=True)))
        return out.float().square().sum() + lse.clamp(min=-10).sum()

    plain = torch.autograd.grad(step(*given), given)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for grad, other in zip(torch.autograd.grad(compiled(*given), given), plain, strict=True):
        torch.testing.assert_close(grad, other)


def test_gradients_that_are_not_needed_are_none(tmp_path: Path) -> None:
    module = module_of(EVERYTHING, tmp_path)
    (q, k, v), tensors = _arguments(EVERYTHING)
    named = {x.name: t for x, t in zip(EVERYTHING.inputs, tensors, strict=True)}
    out, _ = module.trained(q.detach(), k, v.detach(), **named)
    out.transpose(0, 1).float().sum().backward()  # a gradient that is not contiguous
    assert q.grad is None
    assert v.grad is None
    assert k.grad is not None
    assert all(tensor.grad is None for tensor in tensors)


def test_a_second_derivative_is_refused(tmp_path: Path) -> None:
    given, _ = _arguments(VARIANTS["plain"])
    out, _ = module_of(VARIANTS["plain"], tmp_path).trained(*given)
    grads = torch.autograd.grad(out.float().square().sum(), given, create_graph=True)
    with pytest.raises(RuntimeError, match="trained: its gradients are not differentiable"):
        torch.autograd.grad(grads[0].float().sum(), given)


def test_an_input_without_a_gradient_says_so_and_what_to_do(tmp_path: Path) -> None:
    variant = training(score="s + table[h, (q + k) % 9]")
    module = module_of(variant, tmp_path)
    given, (table,) = _arguments(variant)
    out, _ = module.trained(*given, table=table)
    out.float().sum().backward()
    assert given[0].grad is not None
    with pytest.raises(ValueError, match=r"table: no gradient .* pass an input with an element"):
        module.trained(*given, table=table.requires_grad_())


def test_nothing_that_grows_with_both_lengths_is_saved(tmp_path: Path) -> None:
    variant = VARIANTS["plain"]
    given, _ = _arguments(variant)
    sizes: list[int] = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        sizes.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        out, lse = module_of(variant, tmp_path).trained(*given)
    assert sorted(sizes) == sorted(x.numel() for x in (*given, out, lse))


def test_under_autocast_arguments_keep_their_dtype(tmp_path: Path) -> None:
    """A linear layer gives the spec's dtype there; what it was made from stays float32."""
    variant = VARIANTS["plain"]
    function = module_of(variant, tmp_path).trained
    layer = torch.nn.Linear(variant.head_dim, variant.head_dim)
    x = torch.randn(1, 5, variant.heads, variant.head_dim)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q, k = layer(x), layer(x[:, :, : variant.kv_heads])
        out, _ = function(q, k, k)
        with pytest.raises(TypeError, match=r"q: expected dtype torch.bfloat16, got torch.float32"):
            function(x, k, k)
    assert out.dtype is torch.bfloat16
    out.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype is torch.float32


def test_autocast_changes_no_bit_of_the_cpu_path(tmp_path: Path) -> None:
    function = module_of(EVERYTHING, tmp_path).trained
    given, tensors = _arguments(EVERYTHING)
    named = {x.name: t for x, t in zip(EVERYTHING.inputs, tensors, strict=True)}

    def results() -> tuple[torch.Tensor, ...]:
        out, lse = function(*given, **named)
        return out, lse, *torch.autograd.grad(out.float().sum() + lse.sum(), given)

    plain = results()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = results()
    assert plain[1].dtype is torch.float32
    assert all(x.dtype is y.dtype and torch.equal(x, y) for x, y in zip(plain, cast, strict=True))


@pytest.mark.parametrize("name", ["q", "k", "v", "slopes", "bias"])
def test_what_is_no_tensor_is_named(name: str, tmp_path: Path) -> None:
    function = module_of(EVERYTHING, tmp_path).trained
    given, tensors = _arguments(EVERYTHING)
    named = dict(zip("qkv", given, strict=True))
    named |= {x.name: t for x, t in zip(EVERYTHING.inputs, tensors, strict=True)}
    with pytest.raises(TypeError, match=f"^{name}: expected a tensor, got NoneType$"):
        function(**named | {name: None})


def test_strides_of_arguments_and_gradients_do_not_matter(tmp_path: Path) -> None:
    function = module_of(EVERYTHING, tmp_path).trained
    given, tensors = _arguments(EVERYTHING)
    named = {x.name: t for x, t in zip(EVERYTHING.inputs, tensors, strict=True)}
    random = torch.Generator().manual_seed(3)
    upstream = torch.randn(
        2, 5, EVERYTHING.heads, EVERYTHING.value_dim, generator=random
    ).bfloat16()
    out, _ = function(*given, **named)
    plain = torch.autograd.grad(out, given, upstream)
    views = [x.detach().transpose(1, 2).contiguous().transpose(1, 2) for x in given]
    out, _ = function(*(x.requires_grad_() for x in views), **named)
    heads_first = upstream.transpose(1, 2).contiguous().transpose(1, 2)
    for grad, other in zip(torch.autograd.grad(out, views, heads_first), plain, strict=True):
        assert torch.equal(grad, other)


def test_activation_checkpointing_gives_the_same_gradients(tmp_path: Path) -> None:
    function = module_of(VARIANTS["plain"], tmp_path).trained
    given, _ = _arguments(VARIANTS["plain"])

    def loss(*x: Any) -> Any:
        out, lse = function(*x)
        return out.float().square().sum() + torch.nan_to_num(lse, neginf=0.0).sum()

    plain = torch.autograd.grad(loss(*given), given)
    again = torch.autograd.grad(checkpoint(loss, *given, use_reentrant=False), given)
    for grad, other in zip(again, plain, strict=True):
        assert torch.equal(grad, other)
