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
from flash4gen.vgpu import virtual_gpu

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
    schedule { tile_q = 64  tile_k = 16  warps = 4  stages = 2 }
}
"""
NODES, PREFIX = 70, 45


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    found = analyse(SourceFile("drafts.attn", SPEC))
    assert render_text(found.diagnostics) == ""
    (variant,) = found.attentions
    choice = choose(variant, library.target("a100"))
    assert isinstance(choice, Choice)
    path: Path = tmp_path_factory.mktemp("tree") / "drafts.py"
    path.write_text(render(variant, library.target("a100"), choice).text, encoding="utf-8")
    return load_module(path)


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
    mask = torch.cat([torch.ones(2, NODES, PREFIX, dtype=torch.bool), sees], -1)
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
