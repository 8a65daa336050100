"""Draft trees behind a prefix: a node sees the prefix, its ancestors and itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.diagnostics.text import render_text
from flash4gen.ir import library
from flash4gen.ir.lower import analyse
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice
from flash4gen.source import SourceFile
from flash4gen.vgpu import Check, Policy, virtual_gpu

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

SPEC = """
attention drafts {
    dtype    = fp16
    heads    = 2
    head_dim = 16
    input bits : i32[batch, seq_q, 3]
    mask     = tree(bits)
    PINS
}
"""
PINS = {"a100": "schedule { tile_q = 64  tile_k = 16  warps = 4  stages = 2 }", "b200": ""}
NODES, PREFIX = 70, 45


def made(target: str, folder: Path) -> ModuleType:
    found = analyse(SourceFile("drafts.attn", SPEC.replace("PINS", PINS[target])))
    assert render_text(found.diagnostics) == ""
    (variant,) = found.attentions
    choice = choose(variant, library.target(target))
    assert isinstance(choice, Choice)
    path = folder / f"{target}.py"
    path.write_text(render(variant, library.target(target), choice).text, encoding="utf-8")
    return load_module(path)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return made("a100", tmp_path_factory.mktemp("tree"))


def ancestors(seed: int) -> Tensor:
    """Return which nodes each node of a random tree sees, bool [NODES, NODES]."""
    random = torch.Generator().manual_seed(seed)
    sees = torch.eye(NODES, dtype=torch.bool)
    for node in range(1, NODES):
        parent = int(torch.randint(0, node, (), generator=random))
        sees[node] |= sees[parent]
    return sees


def packed(sees: Tensor) -> Tensor:
    """Return rows of bits as words: int32 [NODES, 3]."""
    padded = torch.zeros(NODES, 96, dtype=torch.int64)
    padded[:, :NODES] = sees
    words = (padded.view(NODES, 3, 32) << torch.arange(32)).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).int()


@pytest.mark.parametrize("on_gpu", [True, False], ids=["kernel", "cpu"])
def test_nodes_see_their_ancestors_and_all_of_the_prefix(
    module: ModuleType, *, on_gpu: bool
) -> None:
    random = torch.Generator().manual_seed(0)
    q = torch.randn(2, NODES, 2, 16, generator=random).half()
    k, v = (torch.randn(2, PREFIX + NODES, 2, 16, generator=random).half() for _ in "kv")
    sees = torch.stack([ancestors(1), ancestors(2)])
    bits = torch.stack([packed(one) for one in sees])
    assert (bits < 0).any()  # the highest bit of a word is one like any other
    if on_gpu:
        with virtual_gpu(80):
            out, _ = module.drafts(q, k, v, bits=bits)
    else:
        out, _ = module.drafts(q, k, v, bits=bits)
    compare(out, q, k, v, sees)


def test_the_specialised_family_reads_a_word_for_32_nodes(tmp_path: Path) -> None:
    """Fragments of 32 keys begin inside of a word: the prefix has 45 keys, then 150."""
    module = made("b200", tmp_path)
    random = torch.Generator().manual_seed(0)
    for prefix in (PREFIX, 150):
        q = torch.randn(1, NODES, 2, 16, generator=random).half()
        k, v = (torch.randn(1, prefix + NODES, 2, 16, generator=random).half() for _ in "kv")
        sees = ancestors(1)[None]
        bits = packed(sees[0])[None]
        with virtual_gpu(100, check=Check(policy=Policy.RANDOM)) as gpu:
            out, _ = module.drafts(q, k, v, bits=bits)
        assert not gpu.reports[0].findings
        compare(out, q, k, v, sees)


def compare(out: Tensor, q: Tensor, k: Tensor, v: Tensor, sees: Tensor) -> None:
    prefix = k.shape[1] - NODES
    mask = torch.cat([torch.ones(len(q), NODES, prefix, dtype=torch.bool), sees], -1)
    queries, keys, values = (x.float().transpose(1, 2) for x in (q, k, v))
    expected = torch.nn.functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask[:, None]
    )
    torch.testing.assert_close(out.float(), expected.transpose(1, 2), atol=3e-3, rtol=0)


def test_one_tree_serves_a_whole_batch_without_a_copy(module: ModuleType) -> None:
    random = torch.Generator().manual_seed(0)
    q = torch.randn(2, NODES, 2, 16, generator=random).half()
    k, v = (torch.randn(2, PREFIX + NODES, 2, 16, generator=random).half() for _ in "kv")
    words = packed(ancestors(1))
    with virtual_gpu(80):
        shared, _ = module.drafts(q, k, v, bits=words.expand(2, NODES, 3))
        copied, _ = module.drafts(q, k, v, bits=words.repeat(2, 1, 1))
    assert torch.equal(shared, copied)
