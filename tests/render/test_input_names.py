"""No name of a module's own can be an input: a caller's tensor would be overwritten, or overwrite.

Modules of every kind are rendered with an input of a strange name, and looked through for what
stands beside it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from flash4gen.ir.input_names import TAKEN, TAKEN_BY_BLOCKS, TAKEN_BY_GRADIENTS, is_taken
from flash4gen.ir.library import target
from flash4gen.ir.lower import analyse
from flash4gen.ir.lower_functions import BUILTINS, CONSTANTS, VARIABLES
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice
from flash4gen.source import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterator

LANGUAGE = {*BUILTINS, *CONSTANTS, *VARIABLES, ""}
"""Names that no input can have anyway."""

STRANGE = "zz"
BOTH = "passes = forward, backward"
READS = {
    "a number for each head": "input zz : f32[heads]  score = s + zz[h] * (k - q_end)  sink = zz[h]"
    "  mask = causal(align = end)",
    "for each key": "input zz : f32[batch, seq_k]  score = s + zz[b, k]",
    "for each query": "input zz : f32[heads, seq_q]  score = s * zz[h, q]  mask = q < 5 or k < 3",
    "for each score": "input zz : bf16[heads, seq_q, seq_k]  score = softcap(s, 5) + zz[h, q, k]",
    "by distance": "input zz : f32[heads, 63]  score = s + zz[h, k - q_end + 31]",
    "documents": "input zz : i32[batch, seq_k]  mask = documents(zz) and causal(align = end)",
    "words of bits": "input zz : i32[batch, seq_q, 3]  mask = tree(zz)",
    "packed": "lengths = packed  input zz : f32[batch, heads]  score = s * zz[b, h]"
    "  sink = zz[b, h]  mask = causal(align = end)",
    "sigmoid weights": "weights = sigmoid  input zz : f32[heads]  score = s + zz[h]",
    "dropout": "dropout = 0.1  input zz : f32[heads]  score = s + zz[h]",
    "a gate": "input zz : bf16[batch, seq_q, heads, value_dim]  output = out * zz[b, q, h, d]",
    "a norm": "input zz : bf16[heads, head_dim]"
    "  q_norm = rms_norm(eps = 1e-6, weight = 1 + zz[h, d])",
    "blocks": "block_size = 16  input zz : f32[batch, heads]  score = s * zz[b, h]",
}


@cache
def modules(kind: str) -> tuple[tuple[str, bool], ...]:
    """Return the modules of a kind, and whether each has a backward pass."""
    return tuple(_modules(READS[kind]))


def _modules(fields: str) -> Iterator[tuple[str, bool]]:
    for head_dim in ("64", "192 / 128", "32"):
        for more in ("", BOTH, f"{BOTH}  deterministic = true"):
            numbers = f"heads = 4  kv_heads = 2  head_dim = {head_dim}"
            spec = f"attention small {{ dtype = bf16  {numbers}  {fields}  {more} }}"
            found = analyse(SourceFile("small.attn", spec))
            assert not found.diagnostics
            for name in ("h100", "b200"):
                choice = choose(found.attentions[0], target(name))
                if isinstance(choice, Choice):
                    yield render(found.attentions[0], target(name), choice).text, bool(more)


def beside(module: str) -> Iterator[str]:
    """Yield the names that the strange one would clash with, were it one of them.

    A function that takes the tensor has others beside it; one that takes what belongs to it, such
    as ``zz_ptr`` or ``zz_h``, has others that end alike.
    """
    for node in ast.walk(ast.parse(module)):
        if not isinstance(node, ast.FunctionDef):
            continue
        names = [it for it in ast.walk(node) if isinstance(it, ast.Name)]
        local = {it.id for it in names if isinstance(it.ctx, ast.Store)}
        local |= {it.arg for it in ast.walk(node) if isinstance(it, ast.arg)}
        others = {name for name in local if not re.search(rf"(^|_){STRANGE}(_|$)", name)}
        if STRANGE in local:
            yield from others
        ends = {name.removeprefix(STRANGE) for name in local if name.startswith(f"{STRANGE}_")}
        yield from (name.removesuffix(end) for name in others for end in ends if name.endswith(end))


@pytest.mark.parametrize("kind", READS)
def test_what_stands_beside_an_input_is_refused_as_its_name(kind: str) -> None:
    paged, seen = "block_size" in READS[kind], 0
    for module, trains in modules(kind):
        seen += 1
        free = {it for it in beside(module) if not is_taken(it, trains=trains, paged=paged)}
        assert free <= LANGUAGE
    assert seen >= 2


def test_every_name_that_is_refused_is_said_by_a_module() -> None:
    texts = (text for kind in READS for text, _ in modules(kind))
    found = {name for text in texts for name in beside(text)}
    assert found >= TAKEN_BY_GRADIENTS
    assert found >= TAKEN_BY_BLOCKS
    assert len(TAKEN & found) > len(TAKEN) / 2


@pytest.mark.parametrize(
    ("name", "fields", "refused"),
    [
        ("delta", BOTH, True),
        ("wide", BOTH, True),
        ("grad_out", BOTH, True),
        ("sum_a", BOTH, True),
        ("delta", "", False),
        ("sink", "", False),
        ("weight", "", True),
        ("table", "block_size = 16", True),
        ("table", BOTH, False),
    ],
)
def test_a_name_is_refused_where_a_module_has_it(name: str, fields: str, *, refused: bool) -> None:
    spec = "attention small { dtype = bf16  heads = 4  head_dim = 64"
    text = f"{spec}  input {name} : f32[heads]  score = s + {name}[h]  {fields} }}"
    codes = [str(it.code) for it in analyse(SourceFile("small.attn", text)).diagnostics]
    assert codes == (["F4G211"] if refused else [])
