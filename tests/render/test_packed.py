"""Modules for packed sequences: as if each were alone, whatever lies beside it."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.hardware import Feature
from flash4gen.ir.nodes import Lengths, Pin
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice, Family, Load, as_portable
from flash4gen.vgpu import virtual_gpu
from tests.ir.notation import attention

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

    from flash4gen.ir.hardware import Hardware
    from flash4gen.ir.nodes import Attention

PINS = (Pin("tile_q", 64), Pin("tile_k", 16), Pin("warps", 4), Pin("stages", 2))
PACKED = attention(name="packed", mask="k <= q_end", lengths=Lengths.PACKED, pins=PINS)
PADDED = attention(name="padded", mask="k <= q_end", pins=PINS)
QUERIES = (0, 5, 5, 138, 139, 139)
KEYS = (0, 7, 40, 40, 57, 60)
"""Sequences with queries and keys, without queries, without keys, of one query, without queries."""


def choice_of(variant: Attention, target: str) -> Choice:
    choice = choose(variant, library.target(target))
    assert isinstance(choice, Choice)
    return choice


@pytest.fixture(scope="module", params=["a100", "h100"])
def target(request: pytest.FixtureRequest) -> Hardware:
    """One that loads tiles by an address for each row, and one whose copy engine does."""
    return library.target(request.param)


@pytest.fixture(scope="module")
def modules(target: Hardware, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    folder = tmp_path_factory.mktemp("packed")
    load = Load.TMA if target.has(Feature.TMA) else Load.POINTER
    made = {}
    for variant in (PACKED, PADDED):
        path = folder / f"{variant.name}.py"
        pinned = replace(variant, pins=(*variant.pins, Pin("load", load.value)))
        choice = choice_of(pinned, target.name)
        path.write_text(render(pinned, target, choice).text, encoding="utf-8")
        made[variant.name] = load_module(path)
    return made


def arguments() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    sizes = {"q": (QUERIES[-1], 4, 16), "k": (KEYS[-1], 2, 16), "v": (KEYS[-1], 2, 16)}
    given = {name: torch.randn(size, generator=random).half() for name, size in sizes.items()}
    return given | {
        "cu_seqlens_q": torch.tensor(QUERIES, dtype=torch.int32),
        "cu_seqlens_k": torch.tensor(KEYS, dtype=torch.int32),
    }


def test_each_sequence_is_computed_as_if_it_were_alone(
    target: Hardware, modules: dict[str, ModuleType]
) -> None:
    given = arguments()
    with virtual_gpu(target.arch):
        out, lse = modules["packed"].packed(**given)
        assert (out.shape, lse.shape) == ((139, 4, 16), (4, 139))
        for (q, q_end), (k, k_end) in zip(pairwise(QUERIES), pairwise(KEYS), strict=True):
            alone = (
                given["q"][None, q:q_end],
                given["k"][None, k:k_end],
                given["v"][None, k:k_end],
            )
            own_out, own_lse = modules["padded"].padded(*alone)
            assert torch.equal(out[q:q_end], own_out[0])
            assert torch.equal(lse[:, q:q_end], own_lse[0])


def test_the_cpu_path_is_the_same(target: Hardware, modules: dict[str, ModuleType]) -> None:
    given = arguments()
    with virtual_gpu(target.arch):
        out, lse = modules["packed"].packed(**given)
    eager_out, eager_lse = modules["packed"].packed(**given)
    torch.testing.assert_close(out, eager_out, atol=2e-3, rtol=0)
    torch.testing.assert_close(lse, eager_lse, atol=1e-5, rtol=0)


@pytest.mark.parametrize("worst", [math.nan, math.inf])
def test_what_lies_in_a_neighbour_stays_there(
    target: Hardware, modules: dict[str, ModuleType], worst: float
) -> None:
    """A hidden key weighs 0, and 0 · NaN is NaN: rows of the next sequence must not be loaded."""
    given = arguments()
    with virtual_gpu(target.arch):
        plain, _ = modules["packed"].packed(**given)
        for x in (given["k"], given["v"]):
            x[KEYS[1] : KEYS[2]] = worst  # of a sequence without queries
        out, _ = modules["packed"].packed(**given)
    assert torch.equal(out, plain)


def test_no_sequences_at_all(modules: dict[str, ModuleType]) -> None:
    given = arguments()
    given = {name: x[:0] for name, x in given.items() if name in "qkv"}
    none = torch.zeros(1, dtype=torch.int32)
    out, lse = modules["packed"].packed(**given, cu_seqlens_q=none, cu_seqlens_k=none)
    assert (out.shape, lse.shape) == ((0, 4, 16), (4, 0))


@pytest.mark.parametrize(
    ("name", "starts", "message"),
    [
        (
            "cu_seqlens_q",
            [0, 5, 4, 138, 139, 139],
            "cu_seqlens_q: expected numbers that never fall",
        ),
        ("cu_seqlens_q", [1, 5, 5, 138, 139, 139], "cu_seqlens_q: expected 0 to 139, got 1 to 139"),
        ("cu_seqlens_k", [0, 7, 40, 40, 57, 61], "cu_seqlens_k: expected 0 to 60, got 0 to 61"),
    ],
)
def test_lengths_are_checked_on_demand(
    target: Hardware, modules: dict[str, ModuleType], name: str, starts: list[int], message: str
) -> None:
    given = arguments() | {name: torch.tensor(starts, dtype=torch.int32)}
    with virtual_gpu(target.arch) as gpu, pytest.raises(ValueError, match=message):
        modules["packed"].packed(**given, check_lengths=True)
    assert not gpu.launches
    with pytest.raises(ValueError, match=message):  # on the CPU there is nothing to wait for
        modules["packed"].packed(**given)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"q": torch.zeros(1, 139, 4, 16).half()}, ValueError, "q: expected shape"),
        ({"v": torch.zeros(59, 2, 16).half()}, ValueError, "v: expected shape .total_k, 2, 16."),
        ({"cu_seqlens_k": torch.zeros(5, dtype=torch.int32)}, ValueError, "cu_seqlens_k: expected"),
        ({"cu_seqlens_q": torch.zeros(6)}, TypeError, "cu_seqlens_q: expected dtype torch.int32"),
    ],
)
def test_an_argument_that_does_not_fit_is_named(
    modules: dict[str, ModuleType],
    change: dict[str, Tensor],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        modules["packed"].packed(**(arguments() | change))


def test_torch_compile_sees_one_operator(modules: dict[str, ModuleType]) -> None:
    torch.library.opcheck(modules["packed"]._op, tuple(arguments().values()))


def test_the_copy_engine_is_told_where_a_sequence_ends() -> None:
    free = attention(lengths=Lengths.PACKED)
    choice = choice_of(free, "h100")
    assert as_portable(choice.schedule).load is Load.TMA
    text = render(free, library.target("h100"), choice).text
    assert "desc.load([FAR, begin + length, h, FAR - length + first, 0])" in text


@pytest.mark.parametrize(
    ("pin", "reason"),
    [
        (Pin("pack", 2), "packed heads would need a sixth"),
        (Pin("ctas", 2), "512 rows of one sequence"),
    ],
    ids=["packed heads", "a pair of CTAs"],
)
def test_the_specialised_family_has_packed_sequences_but_not_all_else(
    pin: Pin, reason: str
) -> None:
    variant = attention(head_dim=128, value_dim=128, lengths=Lengths.PACKED)
    assert choice_of(variant, "b200").schedule.family is Family.BLACKWELL
    refused = choose(replace(variant, pins=(pin,)), library.target("b200"))
    assert isinstance(refused, tuple)
    assert reason in refused[0].notes[0]
