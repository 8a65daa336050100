"""Dropout: one mask for kernels, CPU path and reference; what PyTorch does with the function."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from flash4gen.build.load import load_module
from flash4gen.ir.nodes import DROPOUT_STATE, DType, Lengths, Pass, Pin, Weights
from flash4gen.validate.cases import Case
from flash4gen.validate.execute import on_virtual_gpu, run_case
from flash4gen.validate.gradient_rung import gradient_result, run_gradients
from flash4gen.validate.gradients import Call, Upstream, reference_gradients
from flash4gen.validate.inputs import make_inputs
from flash4gen.validate.philox import kept_weights, philox
from flash4gen.vgpu import virtual_gpu
from tests.ir.notation import expr
from tests.long_matrix import slow
from tests.validate.subjects import subject
from tests.validate.subjects import written as write_module
from tests.validate.training import compiled, module_of, training, written

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from flash4gen.ir.nodes import Attention

FORWARD = (Pass.FORWARD,)
CASE = Case(name="several tiles", batch=2, seq_q=37, seq_k=41)


def dropping(dropout: float = 0.3, **changes: object) -> Attention:
    """Return a small variant that drops weights."""
    variant = training(**changes)
    return replace(variant, dropout=dropout, inputs=(*variant.inputs, *DROPOUT_STATE))


PLAIN = dropping(mask="k <= q_end")
EVERYTHING = dropping(
    score="5.0 * tanh(s / 5.0) + slopes[h] * float(k - q_end) * 0.1 + bias[h, q, k]",
    mask="k <= q_end",
    sink=expr("slopes[h]"),
)


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [
        ((0, 0), (0, 0, 0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF, 0xFFFFFFFF),
            (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_known_answers_of_philox(
    key: tuple[int, int], counter: tuple[int, ...], words: tuple[int, ...], tmp_path: Path
) -> None:
    """Those of Random123, ``tests/kat_vectors``, ``philox4x32 10``."""
    c0, c1, c2, c3 = (torch.tensor(word) for word in counter)
    assert tuple(map(int, philox(key, (c0, c1, c2, c3)))) == words
    module = module_of(PLAIN, tmp_path)
    first, second = (torch.tensor(word) for word in key)
    assert tuple(map(int, module._philox((first, second), (c0, c1, c2, c3)))) == words


@pytest.mark.parametrize("seed", [0, -1, 12345, 2**63 - 1])
@pytest.mark.parametrize("offset", [0, 2**32, -(2**63)])
def test_the_cpu_path_drops_what_the_definition_says(
    seed: int, offset: int, tmp_path: Path
) -> None:
    module = module_of(PLAIN, tmp_path)
    tensors = {"dropout_seed": torch.tensor([seed]), "dropout_offset": torch.tensor([offset])}
    q, k = torch.zeros(2, 19, 4, 16), torch.zeros(2, 35, 2, 16)
    found = module._eager_kept(q, k, *tensors.values())
    for b in range(2):
        for h in range(4):
            wanted = kept_weights(PLAIN, 19, 35, tensors, b=b, h=h)
            assert torch.equal(found[b, h], wanted)
    # Other heads and entries have other draws.
    assert not torch.equal(found[0, 0], found[0, 1])
    assert not torch.equal(found[0, 0], found[1, 0])


@pytest.mark.parametrize("dropout", [0.01, 0.25, 0.9])
def test_the_share_that_is_dropped(dropout: float) -> None:
    variant = dropping(dropout)
    draws = []
    for seed in range(4):
        tensors = {"dropout_seed": torch.tensor([seed]), "dropout_offset": torch.tensor([3])}
        draws.append(kept_weights(variant, 256, 256, tensors, b=0, h=1))
    kept = torch.stack(draws).double()
    # Six standard deviations of so many draws, if they are independent.
    spread = 6 * (dropout * (1 - dropout) / kept.numel()) ** 0.5
    assert abs(kept.mean().item() - (1 - dropout)) < spread
    for other in (kept.roll(8, 1), kept.roll(1, 2), kept.roll(8, 2), kept.roll(1, 0)):
        both = (kept * other).mean().item()
        assert abs(both - (1 - dropout) ** 2) < 3 * spread


def test_every_kernel_drops_the_same(tmp_path: Path) -> None:
    made = compiled(written(EVERYTHING, "rtx5090", tmp_path))
    assert all(kernel.facts.spill_bytes == 0 for kernel in made.artefact.backward)
    case = Case(name="several tiles", seq_q=37, seq_k=21)
    result = gradient_result(made, load_module(made.path), case)
    assert not result.failures, result.failures
    assert set(result.found) == {"q", "k", "v", "slopes", "bias"}


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.9, "score": "s * slopes[h]"},
        {"block_size": 16, "lengths": Lengths.PACKED},
        *slow({"lengths": Lengths.PACKED}, {"weights": Weights.SIGMOID}),
    ],
    ids=["batched", "paged", "packed", "sigmoid"],
)
def test_forward_passes_alone(changes: dict[str, Any], tmp_path: Path) -> None:
    variant = dropping(passes=FORWARD, mask="k <= q_end", dtype=DType.FP16, **changes)
    made = subject(variant, "a100", tmp_path)
    runner = on_virtual_gpu(variant, load_module(made.path), 80)
    result = run_case(variant, load_module(made.path), made.rendered.text, CASE, runner)
    assert not result.failures, result.failures


def call_of(variant: Attention) -> tuple[Call, Upstream]:
    made = make_inputs(variant, Case(name="gradients", batch=2, seq_q=7, seq_k=9))
    random = torch.Generator().manual_seed(5)
    out = torch.randn(2, 7, variant.heads, variant.value_dim, generator=random)
    second = torch.randn(2, variant.heads, 7, generator=random)
    call = Call(made.q.double(), made.k.double(), made.v.double(), made.tensors)
    return call, Upstream(out.double(), second.double())


@pytest.mark.parametrize(
    "variant",
    [EVERYTHING, dropping(weights=Weights.SIGMOID, score="s * slopes[h]")],
    ids=["softmax", "sigmoid"],
)
def test_the_cpu_path_is_the_derivative_of_the_oracle(variant: Attention, tmp_path: Path) -> None:
    call, given = call_of(variant)
    reference = reference_gradients(variant, call, given)
    for argument, grad in run_gradients(variant, module_of(variant, tmp_path), call, given).items():
        assert grad is not None
        tolerance = {torch.float64: 1e-7, torch.float32: 1e-5, torch.bfloat16: 1e-2}[grad.dtype]
        error = (grad.double() - reference[argument]).abs().max().item()
        assert error <= tolerance * reference[argument].abs().max().item(), argument


def test_gradcheck(tmp_path: Path) -> None:
    module = module_of(dropping(heads=2, kv_heads=1, mask="k <= q_end"), tmp_path)
    random = torch.Generator().manual_seed(1)
    shapes = ((1, 2, 2, 16), (1, 3, 1, 16), (1, 3, 1, 16))
    given = [torch.randn(*shape, generator=random, dtype=torch.float64) for shape in shapes]

    def function(*arguments: torch.Tensor) -> Any:
        return module.trained(*arguments, dropout_seed=11)

    assert torch.autograd.gradcheck(function, [x.requires_grad_() for x in given], atol=1e-5)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return module_of(PLAIN, tmp_path_factory.mktemp("dropout"))


def arguments() -> list[torch.Tensor]:
    made = make_inputs(PLAIN, Case(name="op", batch=2, seq_q=17, seq_k=18))
    return [x.detach().requires_grad_() for x in (made.q, made.k, made.v)]


def test_seeds_are_numbers_or_tensors(module: ModuleType) -> None:
    given = arguments()
    out, lse = module.trained(*given, dropout_seed=7, dropout_offset=2)
    seeds = {"dropout_seed": torch.tensor([7]), "dropout_offset": torch.tensor([2])}
    again, same = module.trained(*given, **seeds)
    assert torch.equal(out, again)
    other, kept = module.trained(*given, dropout_seed=7, dropout_offset=3)
    assert not torch.equal(out, other)
    assert torch.equal(lse, same)
    assert torch.equal(lse, kept)


def test_without_a_seed_the_generator_draws_one(module: ModuleType) -> None:
    given = arguments()
    torch.manual_seed(3)
    first, second = module.trained(*given)[0], module.trained(*given)[0]
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(module.trained(*given)[0], first)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dropout_seed": 2**63}, "dropout_seed: expected an int of 64 bits, got 92233720"),
        ({"dropout_offset": "x"}, "dropout_offset: expected an int or a tensor, got str"),
        ({"dropout_seed": 1.5}, "dropout_seed: expected an int or a tensor, got float"),
        ({"dropout_offset": torch.tensor([1.0])}, "dropout_offset: expected dtype torch.int64"),
        ({"dropout_seed": torch.tensor([1, 2])}, r"dropout_seed: expected shape \[1\] = \[1\]"),
    ],
)
def test_seeds_that_are_none(given: dict[str, Any], message: str, module: ModuleType) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        module.trained(*arguments(), **given)


def test_pytorch_finds_nothing_wrong_with_the_op(module: ModuleType) -> None:
    torch.library.opcheck(module._op, (*arguments(), torch.tensor([1]), torch.tensor([0])))


@pytest.mark.parametrize("seeds", [{"dropout_seed": 5}, {}], ids=["given", "drawn"])
def test_activation_checkpointing_repeats_the_draw(
    seeds: dict[str, int], module: ModuleType
) -> None:
    given = arguments()

    def layer(*x: torch.Tensor) -> Any:
        return module.trained(*x, **seeds)[0].float().square().sum()

    torch.manual_seed(9)
    plain = torch.autograd.grad(layer(*given), given)
    torch.manual_seed(9)
    again = torch.autograd.grad(checkpoint(layer, *given, use_reentrant=False), given)
    for grad, other in zip(plain, again, strict=True):
        assert torch.equal(grad, other)


def test_a_training_step_compiles_to_one_graph(module: ModuleType) -> None:
    given = arguments()

    def step(seed: torch.Tensor | None, *x: torch.Tensor) -> Any:
        return module.trained(*x, dropout_seed=seed)[0].float().square().sum()

    compiled_step = torch.compile(step, fullgraph=True, backend="aot_eager")
    seed = torch.tensor([4])
    plain = torch.autograd.grad(step(seed, *given), given)
    for grad, other in zip(
        torch.autograd.grad(compiled_step(seed, *given), given), plain, strict=True
    ):
        torch.testing.assert_close(grad, other)
    assert compiled_step(None, *given).isfinite()


def test_tiles_do_not_change_what_is_dropped(tmp_path: Path) -> None:
    """Two schedules of the forward kernel: where a weight is dropped, its value has no part."""
    outs = []
    for tile_q, tile_k in ((64, 16), (128, 32)):
        tiles = {"tile_q": tile_q, "tile_k": tile_k, "warps": 4, "stages": 2}
        pins = tuple(Pin(name, value) for name, value in tiles.items())
        variant = dropping(0.5, passes=FORWARD, pins=pins, name=f"by_{tile_k}")
        made = subject(variant, "rtx5090", tmp_path)
        inputs = make_inputs(variant, CASE)
        with virtual_gpu(120):
            function = getattr(load_module(made.path), variant.name)
            out, _ = function(inputs.q * 0, inputs.k, inputs.v, dropout_seed=1)
        outs.append(out)
    torch.testing.assert_close(outs[0], outs[1], rtol=2e-2, atol=1e-2)


def test_lengths_are_checked_with_seeds_that_are_numbers(tmp_path: Path) -> None:
    variant = dropping(passes=FORWARD, lengths=Lengths.PACKED)
    function = module_of_forward(variant, tmp_path).trained
    x = torch.zeros(5, 4, 16, dtype=torch.bfloat16)
    ends = {name: torch.tensor([0, 5], dtype=torch.int32) for name in variant.length_tensors}
    with torch.no_grad():
        out, _ = function(x, x[:, :2], x[:, :2], **ends, check_lengths=True, dropout_seed=1)
    assert out.shape == x.shape


def module_of_forward(variant: Attention, folder: Path) -> ModuleType:
    _, _, path = write_module(variant, "rtx5090", folder)
    return load_module(path)
