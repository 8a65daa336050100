"""Modules with input tensors: what they are handed, what they check, and names that stay apart."""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.nodes import Lengths, Weights
from flash4gen.render.inputs import attention_names
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice
from flash4gen.vgpu import virtual_gpu
from tests.ir.notation import attention, expr

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

READS = attention(
    name="reads",
    heads=4,
    kv_heads=2,
    score="s * slopes[h] + bias[h, q, k] + table[h, k - q + 4]",
    mask="q_docs[b, q] == docs[b, k] and k < lengths[b]",
)


@cache
def text(variant: Attention = READS, target: str = "a100") -> str:
    hardware = library.target(target)
    choice = choose(variant, hardware)
    assert isinstance(choice, Choice)
    return render(variant, hardware, choice).text


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    path: Path = tmp_path_factory.mktemp("inputs") / "reads.py"
    path.write_text(text(), encoding="utf-8")
    return load_module(path)


def arguments(batch: int = 2, seq_q: int = 3, seq_k: int = 5) -> dict[str, Tensor]:
    return {
        "q": torch.randn(batch, seq_q, 4, 16).half(),
        "k": torch.randn(batch, seq_k, 2, 16).half(),
        "v": torch.randn(batch, seq_k, 2, 16).half(),
        "slopes": torch.rand(4),
        "bias": torch.rand(4, seq_q, seq_k).bfloat16(),
        "table": torch.rand(4, 9),
        "q_docs": torch.zeros(batch, seq_q, dtype=torch.int32),
        "docs": torch.zeros(batch, seq_k, dtype=torch.int32),
        "lengths": torch.full((batch,), seq_k, dtype=torch.int32),
    }


def test_what_does_not_depend_on_the_key_is_read_before_the_loop() -> None:
    functions = {
        node.name: node for node in ast.parse(text()).body if isinstance(node, ast.FunctionDef)
    }
    kernel, loop = (ast.unparse(functions[name]) for name in ("_forward_kernel", "_attend"))
    assert "slopes_h = _read_slopes(slopes_ptr, h)" in kernel
    assert (
        "q_docs_b_q = _read_q_docs(q_docs_ptr, q_docs_stride_0, seq_q, b, rows[:, None])" in kernel
    )
    assert "docs_b_k = _read_docs(docs_ptr, docs_stride_0, seq_k, b, keys[None, :])" in loop
    assert "_read_slopes" not in loop
    assert "lengths" not in functions["_visible_keys"].name


def test_values_have_names_of_their_own() -> None:
    variant = attention(score="s + table[h, 1] + table[h, 2] + slopes[h]", mask="docs[b, k] == 0")
    names = attention_names(variant)
    assert len(set(names.values())) == len(names) == 4
    assert names[expr("slopes[h]")] == "slopes_h"


def test_tensors_are_named_arguments(module: ModuleType) -> None:
    given = arguments()
    out, lse = module.reads(given.pop("q"), given.pop("k"), given.pop("v"), **given)
    assert out.shape == (2, 3, 4, 16)
    assert lse.isfinite().all()
    with pytest.raises(TypeError, match="positional"):
        module.reads(*arguments().values())


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("slopes", lambda x: x.double(), TypeError, "slopes: expected dtype torch.float32"),
        (
            "slopes",
            lambda x: x[:3],
            ValueError,
            r"slopes: expected shape \[heads\] = \[4\], got \[3\]",
        ),
        ("bias", lambda x: x[None], ValueError, r"bias: expected shape \[heads, seq_q, seq_k\]"),
        ("docs", lambda x: x.long(), TypeError, "docs: expected dtype torch.int32"),
        ("docs", lambda x: x[:, :-1], ValueError, "docs: expected shape"),
        ("table", lambda x: x.to("meta"), ValueError, "table: expected a tensor on cpu like q"),
        ("table", lambda x: x.requires_grad_(), ValueError, "table: forward only"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    module: ModuleType, name: str, change: object, error: type[Exception], message: str
) -> None:
    given = arguments()
    given[name] = change(given[name])  # type: ignore[operator]
    with pytest.raises(error, match=message):
        module.reads(**given)


def test_torch_compile_sees_one_operator(module: ModuleType) -> None:
    given = arguments()
    fake = module._fake(*given.values())
    assert [x.shape for x in fake] == [x.shape for x in module._op(*given.values())]
    torch.library.opcheck(module._op, tuple(given.values()))


def test_a_sink_of_minus_infinity_is_none(tmp_path: Path) -> None:
    variant = replace(READS, name="sunk", sink=expr("slopes[h]"))
    plain = replace(READS, name="plain", score=expr("s"), inputs=READS.inputs[1:])
    plain = replace(plain, score=expr("s + bias[h, q, k] + table[h, 0]"))
    variant = replace(variant, score=plain.score)
    given = arguments(seq_q=4) | {"slopes": torch.full((4,), -math.inf)}
    results = []
    for item in (variant, plain):
        path = tmp_path / f"{item.name}.py"
        path.write_text(text(item), encoding="utf-8")
        made = load_module(path)
        own = {name: x for name, x in given.items() if item is variant or name != "slopes"}
        results.append(getattr(made, item.name)(**own))
        with virtual_gpu(80):
            results.append(getattr(made, item.name)(**own))
    for out, lse in results[1:]:
        torch.testing.assert_close(out, results[0][0], atol=2e-3, rtol=0)
        torch.testing.assert_close(lse, results[0][1], atol=1e-5, rtol=0)


def test_without_keys_there_is_the_sink(tmp_path: Path) -> None:
    variant = attention(name="sunk", sink=expr("slopes[h] * 2.0"), inputs=READS.inputs[:1])
    path = tmp_path / "sunk.py"
    path.write_text(text(variant), encoding="utf-8")
    given = arguments(seq_k=0)
    slopes = given["slopes"]
    with virtual_gpu(80):
        out, lse = load_module(path).sunk(given["q"], given["k"], given["v"], slopes=slopes)
    assert (out == 0).all()
    torch.testing.assert_close(lse, (2 * slopes)[:, None].expand(2, 4, 3))


def test_the_specialised_family_reads_tensors_too() -> None:
    """Once per work tile what does not depend on the key, the rest where scores are masked."""
    functions = {
        node.name: ast.unparse(node)
        for node in ast.parse(text(replace(READS, sink=expr("slopes[h]")), "b200")).body
        if isinstance(node, ast.FunctionDef)
    }
    role, step = functions["_softmax"], functions["_softmax_step"]
    assert role.count("slopes_h = _read_slopes(inputs.slopes_ptr, h)") == 1
    assert "inputs.q_docs_stride_0, problem.seq_q, b, q[:, None])" in role
    assert "_normalised(row_max, row_sum, slopes_h)" in role
    assert "_read_table(inputs.table_ptr, inputs.table_stride_0, h, k - q[:, None] + 4)" in step
    assert "_read_slopes" not in step
    assert "inputs." not in "".join(functions[name] for name in ("_correct", "_mma", "_load"))


def test_the_specialised_family_reads_tensors_beside_packed_sequences_and_sigmoid_weights() -> None:
    """A packed sequence has lengths of its own, which bound what is read."""
    packed = text(attention(lengths=Lengths.PACKED, mask="k < docs[b, q]"), "b200")
    assert "problem.seq_k" not in packed
    assert "_read_docs(inputs.docs_ptr, inputs.docs_stride_0, sequence.seq_k, b" in packed
    weighed = text(attention(weights=Weights.SIGMOID, score="s + slopes[h]"), "b200")
    assert "slopes_h = _read_slopes(inputs.slopes_ptr, h)" in weighed
    assert "part = _score(bw.mul2(part, gl.full_like(part, PRESCALE)), slopes_h)" in weighed


def test_a_tensor_may_be_read_by_rows_of_keys_and_by_element() -> None:
    """Documents are read at the key of every score, and at the query of a row."""
    both = text(attention(mask="docs[b, q] == docs[b, k]"), "b200")
    assert "_read_docs(inputs.docs_ptr, inputs.docs_stride_0, b, key + first, layout)" in both
    assert "_read_docs_element(" in both
    assert "ptr + (i0 * stride_0) * 4 + i1" in both  # strides count groups of four for both
    assert both.count("docs_stride_0: gl.int64,") == 1
