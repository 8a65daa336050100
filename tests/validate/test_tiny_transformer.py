"""A tiny transformer trains with compiled attention: its loss follows that of plain PyTorch.

Forward and backward kernels run on the virtual GPU; everything around them is PyTorch. Two layers
of width 64: causal with a window, a softcap, grouped heads, and a learned sink for each head.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from flash4gen.build.load import load_module
from flash4gen.schedule.backward.model import as_loops
from flash4gen.validate.execute import one_thread
from flash4gen.vgpu import virtual_gpu
from tests.ir.notation import expr
from tests.validate.subjects import subject
from tests.validate.training import SLOPES, training, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from flash4gen.validate import Subject

    Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

LAYERS, WIDTH, HEADS, KV_HEADS, HEAD_DIM = 2, 64, 4, 2, 16
SEQ, WINDOW, CAP, WORDS = 44, 20, 8.0, 24
TARGET = "rtx5090"

VARIANT = training(
    heads=HEADS,
    kv_heads=KV_HEADS,
    head_dim=HEAD_DIM,
    value_dim=HEAD_DIM,
    score=f"{CAP} * tanh(s / {CAP})",
    mask=f"k <= q_end and q_end - k < {WINDOW}",
    sink=expr("slopes[h]"),
    inputs=(SLOPES,),
)


class Layer(nn.Module):
    """Attention and a perceptron, each added to what comes in."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.attend = attend
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.query = nn.Linear(WIDTH, HEADS * HEAD_DIM, bias=False)
        self.key = nn.Linear(WIDTH, KV_HEADS * HEAD_DIM, bias=False)
        self.value = nn.Linear(WIDTH, KV_HEADS * HEAD_DIM, bias=False)
        self.sinks = nn.Parameter(torch.zeros(HEADS))
        self.mixed = nn.Linear(HEADS * HEAD_DIM, WIDTH, bias=False)
        self.wide = nn.Sequential(nn.Linear(WIDTH, 128), nn.GELU(), nn.Linear(128, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return x [batch, seq, WIDTH] with what the layer adds."""
        normed = self.first(x)
        q, k, v = (
            each(normed).unflatten(-1, (-1, HEAD_DIM)).bfloat16()
            for each in (self.query, self.key, self.value)
        )
        out = self.attend(q, k, v, self.sinks).float()
        x = x + self.mixed(out.flatten(-2))
        wide: Tensor = self.wide(self.second(x))
        return x + wide


class Transformer(nn.Module):
    """Predicts the next word."""

    def __init__(self, attend: Attend) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(SEQ, WIDTH)
        self.layers = nn.Sequential(*(Layer(attend) for _ in range(LAYERS)))
        self.last = nn.Linear(WIDTH, WORDS, bias=False)

    def forward(self, words: Tensor) -> Tensor:
        """Return the logits of words [batch, seq]."""
        x = self.words(words) + self.places(torch.arange(words.shape[1]))
        logits: Tensor = self.last(self.layers(x))
        return logits


def weights_of(products: Tensor, sinks: Tensor) -> Tensor:
    """Return the weights of products of queries and keys, [batch, heads, seq, seq]."""
    s = CAP * torch.tanh(products / math.sqrt(HEAD_DIM) / CAP)
    behind = torch.arange(SEQ)[:, None] - torch.arange(SEQ)[None, :]
    s = s.masked_fill((behind < 0) | (behind >= WINDOW), -math.inf)
    sink = sinks[None, :, None, None].expand(s.shape[0], -1, SEQ, 1)
    return torch.cat([s, sink], -1).softmax(-1)[..., :-1]


def plainly(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor) -> Tensor:
    """Return the same attention by the textbook, in float32."""
    q, k, v = (x.float().transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(HEADS // KV_HEADS, 1) for x in (k, v))
    return (weights_of(q @ k.mT, sinks) @ v).transpose(1, 2)


def compiled_attention(module: Subject) -> Attend:
    """Return the module's function on the virtual GPU."""
    function: Any = load_module(module.path).trained

    def attend(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor) -> Tensor:
        return function(q, k, v, slopes=sinks)[0]  # type: ignore[no-any-return]

    return attend


@one_thread()
def losses(attend: Attend, steps: int) -> list[float]:
    """Train from the same beginning on the same words, and return the loss before each step."""
    torch.manual_seed(0)
    model = Transformer(attend)
    period = torch.randint(WORDS, (2, 11))
    words = period.repeat(1, SEQ // 11 + 1)[:, : SEQ + 1]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.8)
    found = []
    for _ in range(steps):
        logits = model(words[:, :-1]).flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, words[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        found.append(loss.item())
    return found


def rounded(q: Tensor, k: Tensor, v: Tensor, sinks: Tensor) -> Tensor:
    """Return the same as bfloat16 allows it: products of bfloat16 matrices, and their gradients."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(HEADS // KV_HEADS, 1) for x in (k, v))
    weights = weights_of((q @ k.mT).float(), sinks)
    return (weights.bfloat16() @ v).transpose(1, 2)


def departure(found: list[float], plain: list[float]) -> float:
    """Return by what share of a loss of plain PyTorch another one is off at most."""
    return max(abs(one / other - 1) for one, other in zip(found, plain, strict=True))


def trained(module: Subject, steps: int) -> list[float]:
    """Return the losses of the module, and see that its kernels were what computed them."""
    with virtual_gpu(module.hardware.arch) as gpu:
        found = losses(compiled_attention(module), steps)
    kernels = [launch.name for launch in gpu.launches]
    assert kernels.count("_forward_kernel") == steps * LAYERS
    assert kernels.count("_key_gradient_kernel") == steps * LAYERS
    return found


@pytest.mark.parametrize("steps", [6, pytest.param(40, marks=pytest.mark.slow)])
def test_its_loss_follows_plain_pytorch(steps: int, tmp_path: Path) -> None:
    plain, worked = losses(plainly, steps), losses(rounded, steps)
    assert plain[-1] < 0.1 * plain[0], "it does not learn, so that nothing is tested"
    found = trained(written(VARIANT, TARGET, tmp_path), steps)
    assert departure(found, plain) <= 2 * departure(worked, plain)


def test_it_trains_where_one_kernel_adds_up_all_gradients(tmp_path: Path) -> None:
    """Tiles come by TMA, and gradients of queries are added in memory, in any order."""
    steps = 6
    plain, worked = losses(plainly, steps), losses(rounded, steps)
    found = subject(replace(VARIANT, pins=()), "h100", tmp_path)
    assert found.choice.backward is not None
    assert as_loops(found.choice.backward.schedule).fused is not None
    assert departure(trained(found, steps), plain) <= 2 * departure(worked, plain)


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    [
        ("dk * SCALE,", "dk,"),
        ("return p * (dp - delta)", "return p * dp"),
        ("tl.range(GROUP * (length_a", "tl.range(1 * (length_a"),
    ],
)
def test_a_wrong_gradient_leads_elsewhere(broken: tuple[str, str], tmp_path: Path) -> None:
    plain, worked = losses(plainly, 6), losses(rounded, 6)
    found = trained(written(VARIANT, TARGET, tmp_path, broken), 6)
    assert departure(found, plain) > 2 * departure(worked, plain)
