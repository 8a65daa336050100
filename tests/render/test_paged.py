"""Modules whose keys lie in blocks of a pool: as if they lay one behind the other, at any place."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.nodes import Lengths, Pin
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice, Load, as_portable
from flash4gen.vgpu import virtual_gpu
from flash4gen.vgpu.errors import VirtualGpuError
from tests.ir.notation import attention
from tests.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

PINS = (Pin("tile_q", 64), Pin("tile_k", 16), Pin("warps", 4), Pin("stages", 2))
CAUSAL = "k <= q_end"
VARIANTS = {
    variant.name: variant
    for variant in (
        attention(name="small_blocks", mask=CAUSAL, block_size=4, pins=PINS),
        attention(name="large_blocks", mask=CAUSAL, block_size=32, pins=PINS),
        attention(
            name="packed_queries",
            mask=CAUSAL,
            block_size=4,
            lengths=Lengths.PACKED,
            pins=PINS,
        ),
        attention(name="plain", mask=CAUSAL, pins=PINS),
    )
}
"""A tile of 16 keys lies in four blocks, or in a half of one."""

KEYS = (37, 0, 16, 5)
QUERIES = (0, 5, 7, 7, 10)
POOL = 24


def choice_of(variant: Attention, target: str) -> Choice:
    choice = choose(variant, library.target(target))
    assert isinstance(choice, Choice)
    return choice


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModuleType]:
    folder: Path = tmp_path_factory.mktemp("paged")
    made = {}
    for name, variant in VARIANTS.items():
        path = folder / f"{name}.py"
        text = render(variant, library.target("a100"), choice_of(variant, "a100")).text
        path.write_text(text, encoding="utf-8")
        made[name] = load_module(path)
    return made


def arguments(block_size: int) -> dict[str, Tensor]:
    """Return a batch of four whose blocks lie mixed up; unused entries point far outside."""
    random = torch.Generator().manual_seed(0)
    counts = [-(-length // block_size) for length in KEYS]
    order = torch.randperm(POOL, generator=random).tolist()
    table = torch.full((4, 12), 2**30, dtype=torch.int32)
    for entry, count in enumerate(counts):
        table[entry, :count] = torch.tensor([order.pop() for _ in range(count)])
    pool = (POOL, block_size, 2, 16)
    return {
        "q": torch.randn(4, 3, 4, 16, generator=random).half(),
        "k": torch.randn(pool, generator=random).half(),
        "v": torch.randn(pool, generator=random).half(),
        "block_table": table,
        "seqused_k": torch.tensor(KEYS, dtype=torch.int32),
    }


def packed_arguments(block_size: int) -> dict[str, Tensor]:
    """Return the same with packed queries, of which one sequence has none."""
    given = arguments(block_size)
    given["q"] = torch.randn(10, 4, 16, generator=torch.Generator().manual_seed(1)).half()
    return given | {"cu_seqlens_q": torch.tensor(QUERIES, dtype=torch.int32)}


def alone(given: dict[str, Tensor], entry: int) -> tuple[Tensor, Tensor]:
    """Return an entry's keys and values, one behind the other."""
    length = KEYS[entry]
    blocks = given["block_table"][entry, : -(-length // given["k"].shape[1])].long()
    k, v = (given[name][blocks].flatten(0, 1)[None, :length] for name in "kv")
    return k, v


@pytest.mark.parametrize(("name", "block_size"), [("small_blocks", 4), ("large_blocks", 32)])
def test_an_entry_is_computed_as_if_its_keys_lay_in_a_row(
    modules: dict[str, ModuleType], name: str, block_size: int
) -> None:
    given = arguments(block_size)
    with virtual_gpu(80):
        out, lse = getattr(modules[name], name)(**given)
        for entry in range(4):
            plain = modules["plain"].plain(given["q"][entry, None], *alone(given, entry))
            assert torch.equal(out[entry], plain[0][0])
            assert torch.equal(lse[entry], plain[1][0])


def test_queries_may_be_packed(modules: dict[str, ModuleType]) -> None:
    given = packed_arguments(4)
    with virtual_gpu(80):
        out, lse = modules["packed_queries"].packed_queries(**given)
        for entry, (start, end) in enumerate(pairwise(QUERIES)):
            plain = modules["plain"].plain(given["q"][None, start:end], *alone(given, entry))
            assert torch.equal(out[start:end], plain[0][0])
            assert torch.equal(lse[:, start:end], plain[1][0])


@pytest.mark.parametrize(("name", "block_size"), [("small_blocks", 4), ("large_blocks", 32)])
def test_the_cpu_path_is_the_same(
    modules: dict[str, ModuleType], name: str, block_size: int
) -> None:
    given = arguments(block_size)
    with virtual_gpu(80):
        out, lse = getattr(modules[name], name)(**given)
    eager_out, eager_lse = getattr(modules[name], name)(**given)
    torch.testing.assert_close(out, eager_out, atol=2e-3, rtol=0)
    torch.testing.assert_close(lse, eager_lse, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "block_size"), [("small_blocks", 4), ("large_blocks", 32)])
def test_what_no_key_owns_is_not_read(
    modules: dict[str, ModuleType], name: str, block_size: int
) -> None:
    """Rows behind the last key, and blocks of nobody: a hidden NaN times 0 would be NaN."""
    given = arguments(block_size)
    with virtual_gpu(80):
        plain, _ = getattr(modules[name], name)(**given)
        owned = torch.zeros(POOL, block_size, dtype=torch.bool)
        for entry, length in enumerate(KEYS):
            for key in range(length):
                block = int(given["block_table"][entry, key // block_size])
                owned[block, key % block_size] = True
        for pool in (given["k"], given["v"]):
            pool[~owned] = math.nan
        out, _ = getattr(modules[name], name)(**given)
    assert torch.equal(out, plain)


def test_a_pool_may_have_any_strides_and_is_not_copied(modules: dict[str, ModuleType]) -> None:
    given = arguments(4)
    both = torch.stack([given["k"], given["v"]], 1)
    heads_first = given["v"].transpose(1, 2).contiguous().transpose(1, 2)
    other = given | {"k": both[:, 0], "v": heads_first}
    with virtual_gpu(80):
        expected, _ = modules["small_blocks"].small_blocks(**given)
        out, _ = modules["small_blocks"].small_blocks(**other)
    assert torch.equal(out, expected)
    with virtual_gpu(80, execute=False) as gpu:
        modules["small_blocks"].small_blocks(**other)
    pointers = {x.data_ptr() for x in gpu.launches[-1].arguments if torch.is_tensor(x)}
    assert {both.data_ptr(), heads_first.data_ptr()} <= pointers


def test_a_pool_that_cannot_be_read_is_refused(modules: dict[str, ModuleType]) -> None:
    given = arguments(4)
    odd = given["k"].transpose(1, 3).contiguous().transpose(1, 3)
    with virtual_gpu(80), pytest.raises(ValueError, match=r"k: .* a pool of blocks is not copied"):
        modules["small_blocks"].small_blocks(**given | {"k": odd})


def test_a_table_may_be_a_part_of_a_larger_one(modules: dict[str, ModuleType]) -> None:
    given = arguments(4)
    wide = torch.cat([given["block_table"], given["block_table"]], 1)
    columns = given["block_table"].T.contiguous().T
    with virtual_gpu(80):
        expected, _ = modules["small_blocks"].small_blocks(**given)
        for table in (wide[:, :12], columns):
            out, _ = modules["small_blocks"].small_blocks(**given | {"block_table": table})
            assert torch.equal(out, expected)


def test_entries_of_the_table_are_not_read_for_keys_that_do_not_exist(tmp_path: Path) -> None:
    """Without its mask the look-up would follow an unused entry out of the pool: it is needed."""
    variant = VARIANTS["small_blocks"]
    text = render(variant, library.target("a100"), choice_of(variant, "a100")).text
    careless = text.replace("mask=seen, other=0.0", "other=0.0")
    careless = careless.replace(", mask=keys < seq_k, other=0)", ")")
    careless = careless.replace("tl.load(address, other=0.0)", "tl.load(address)")
    assert careless != text
    path = tmp_path / "careless.py"
    path.write_text(careless, encoding="utf-8")
    with virtual_gpu(80), pytest.raises(VirtualGpuError):
        load_module(path).small_blocks(**arguments(4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seqused_k": torch.tensor([37, 0, 49, 5])}, "seqused_k: expected 0 to 48, got 49 for"),
        ({"seqused_k": torch.tensor([37, -1, 16, 5])}, "seqused_k: expected 0 to 48, got -1 for"),
        ({"seqused_k": torch.tensor([37, 0, 16, 9])}, "block_table: expected blocks 0 to 23, got"),
    ],
)
def test_lengths_and_blocks_are_checked_on_demand(
    modules: dict[str, ModuleType], change: dict[str, Tensor], message: str
) -> None:
    given = arguments(4) | {name: x.int() for name, x in change.items()}
    with virtual_gpu(80) as gpu, pytest.raises(ValueError, match=message):
        modules["small_blocks"].small_blocks(**given, check_lengths=True)
    assert not gpu.launches
    with pytest.raises(ValueError, match=message):  # on the CPU there is nothing to wait for
        modules["small_blocks"].small_blocks(**given)


def test_packed_queries_are_checked_too(modules: dict[str, ModuleType]) -> None:
    given = packed_arguments(4) | {"cu_seqlens_q": torch.tensor([0, 5, 4, 7, 10]).int()}
    with pytest.raises(ValueError, match="cu_seqlens_q: expected numbers that never fall"):
        modules["packed_queries"].packed_queries(**given, check_lengths=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"k": torch.zeros(24, 8, 2, 16).half()},
            ValueError,
            r"k: expected shape .blocks, 4, 2, 16",
        ),
        ({"v": torch.zeros(23, 4, 2, 16).half()}, ValueError, "v: expected shape .*blocks = 24"),
        ({"block_table": torch.zeros(3, 12).int()}, ValueError, "block_table: expected shape"),
        ({"block_table": torch.zeros(4).int()}, ValueError, "block_table: expected shape"),
        ({"block_table": torch.zeros(4, 12)}, TypeError, "block_table: expected dtype torch.int32"),
        ({"seqused_k": torch.zeros(5).int()}, ValueError, "seqused_k: expected shape .batch."),
    ],
)
def test_an_argument_that_does_not_fit_is_named(
    modules: dict[str, ModuleType],
    change: dict[str, Tensor],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        modules["small_blocks"].small_blocks(**(arguments(4) | change))


OPCHECK = """
import sys
from pathlib import Path
import torch
from flash4gen.build.load import load_module
torch.library.opcheck(load_module(Path(sys.argv[1]))._op, torch.load(sys.argv[2]))
"""


@pytest.mark.parametrize("name", ["small_blocks", "packed_queries"])
def test_torch_compile_sees_one_operator(
    modules: dict[str, ModuleType], name: str, tmp_path: Path
) -> None:
    """In a process of its own: in this one torch ends in `std::bad_alloc` now and then.

    The error comes out of the dispatcher of `SchemaCheckMode`, of `small_blocks` alone, and only
    after other tests of this file; why is not known. 1,100 checks in new processes had none.
    """
    given = packed_arguments(4) if name == "packed_queries" else arguments(4)
    order = ("q", "k", "v", "cu_seqlens_q", "block_table", "seqused_k")
    torch.save(tuple(given[x] for x in order if x in given), tmp_path / "given.pt")
    files = [str(modules[name].__file__), str(tmp_path / "given.pt")]
    subprocess.run([sys.executable, "-c", OPCHECK, *files], cwd=ROOT, check=True)


def test_whole_tiles_are_never_loaded() -> None:
    choice = choice_of(attention(block_size=256), "h100")
    assert as_portable(choice.schedule).load is Load.POINTER
    reasons = {item.reason for item in choice.rejected if item.constraint == "load"}
    assert "whole tiles would bring in what lies in a block behind the last key" in reasons


def test_the_specialised_family_has_no_blocks() -> None:
    family = choice_of(attention(block_size=64), "b200").decisions[0]
    assert family.value == "portable"
    assert family.reason == (
        "not the blackwell family: its keys and values lie one behind the other, not in blocks "
        "that a table names"
    )
