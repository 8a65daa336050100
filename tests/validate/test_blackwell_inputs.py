"""Warp-specialised kernels that read input tensors and have sinks, on the virtual GPU."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from flash4gen.build.load import load_module
from flash4gen.driver import check_spec
from flash4gen.ir.expr import lookups
from flash4gen.ir.library import target
from flash4gen.ir.nodes import EmptyRow
from flash4gen.render.module import render
from flash4gen.validate import Status
from flash4gen.validate.concurrency import concurrency_rung
from flash4gen.vgpu import Check, Policy, virtual_gpu
from tests.ir.notation import attention, expr
from tests.schedule.variants import CAUSAL, FULL, chosen, pinning
from tests.validate.subjects import subject

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from flash4gen.ir.nodes import Attention

B200 = target("b200")
BATCH, SEQ_Q, SEQ_K = 2, 150, 300
"""Key tiles of 128, the last one cut; one row of queries more than one tile holds."""


def variant(width: int = 64, value_dim: int | None = None, **changes: Any) -> Attention:
    sink, pins = changes.pop("sink", None), changes.pop("pins", {})
    plain = {"name": "small", "heads": 4, "mask": CAUSAL, "scale": width**-0.5}
    widths = {"head_dim": width, "value_dim": value_dim or width}
    made = attention(**{**plain, **widths, **changes})
    if sink is not None:
        read = [*made.inputs, *(found.tensor for found in lookups(expr(sink)))]
        made = replace(made, sink=expr(sink), inputs=tuple(dict.fromkeys(read)))
    return pinning(made, **pins)


ALL = variant(
    score="s * slopes[h] + bias[h, q, k] + table[h, k - q + 4]",
    mask="q_docs[b, q] == docs[b, k] and k < lengths[b]",
    sink="slopes[h]",
    pins={"pack": 2},
)
SUNK = variant(sink="slopes[h]")
VARIANTS = {
    "slopes": variant(score="s + slopes[h] * float(k - q_end)"),
    "sinks, 192 and 128": variant(192, 128, sink="slopes[h] * 2.0", score="s * slopes[h]"),
    "sinks, 256": variant(256, sink="slopes[h]"),
    "documents": variant(mask="k <= q_end and q_docs[b, q] == docs[b, k]", pins={"pack": 2}),
    "documents of one tensor": variant(mask="k <= q_end and docs[b, q_end] == docs[b, k]"),
    "sinks and a bias, two ctas": variant(
        128, mask=FULL, score="s + bias[h, q, k]", sink="slopes[h]", pins={"ctas": 2}
    ),
}


def tensors(what: Attention, seq_q: int = SEQ_Q, seq_k: int = SEQ_K) -> dict[str, Tensor]:
    """Return random q, k and v, documents of 70 tokens, and lengths that end before the keys."""
    random = torch.Generator().manual_seed(0)
    shapes = {
        "q": (seq_q, what.heads, what.head_dim),
        "k": (seq_k, what.kv_heads, what.head_dim),
        "v": (seq_k, what.kv_heads, what.value_dim),
    }
    given = {n: torch.randn(BATCH, *s, generator=random).half() for n, s in shapes.items()}
    dtypes = {"f32": torch.float32, "bf16": torch.bfloat16}
    for tensor in what.inputs:
        shape = what.shape_of(tensor, BATCH, seq_q, seq_k)
        if tensor.name == "lengths":
            given["lengths"] = torch.tensor([seq_k, seq_k // 2], dtype=torch.int32)
        elif "docs" in tensor.name:
            given[tensor.name] = (torch.arange(shape[-1]) // 70).int().expand(shape).clone()
        else:
            given[tensor.name] = torch.randn(shape, generator=random).to(dtypes[tensor.dtype])
    return given


def made(what: Attention, folder: Path, *changes: tuple[str, str]) -> Any:
    """Return a module, its text changed by replacements that must find something."""
    text = render(what, B200, chosen(what, B200)).text
    for old, new in changes:
        assert old in text, f"the templates no longer print {old!r}"
        text = text.replace(old, new)
    path = folder / "small.py"
    path.write_text(text, encoding="utf-8")
    return load_module(path)


def checked(module: Any, given: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Run a kernel with all concurrency checks on, which must find nothing."""
    with virtual_gpu(B200.arch, check=Check(policy=Policy.RANDOM)) as gpu:
        out, lse = module.small(**given)
    (report,) = gpu.reports
    assert not report.findings, "\n".join(map(str, report.findings[:5]))
    return out, lse


def compare(module: Any, given: dict[str, Tensor]) -> None:
    out, lse = checked(module, given)
    expected, expected_lse = module._eager(*given.values())
    torch.testing.assert_close(out, expected, rtol=4e-3, atol=4e-3, equal_nan=True)
    torch.testing.assert_close(lse, expected_lse, rtol=0, atol=3e-4)


def test_everything_at_once_with_packed_heads(tmp_path: Path) -> None:
    """Whole tiles and short queries, which have a kernel of their own; and tensors in pieces."""
    module = made(ALL, tmp_path)
    given = tensors(ALL)
    compare(module, given)
    compare(module, tensors(ALL, 20, 200))
    apart = {
        name: x if name in "qkv" else torch.stack([x, torch.full_like(x, 77)], -1)[..., 0]
        for name, x in given.items()
    }
    with virtual_gpu(B200.arch):
        for one, other in zip(module.small(**apart), module.small(**given), strict=True):
            assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_numbers_and_concurrency(name: str, tmp_path: Path) -> None:
    module = made(VARIANTS[name], tmp_path)
    compare(module, tensors(VARIANTS[name]))
    compare(module, tensors(VARIANTS[name], 40, 129))


def tree(folder: Path, width: int = 64) -> Attention:
    """Return trees of up to 160 nodes behind a prefix."""
    spec = folder / "tree.attn"
    spec.write_text(
        f"attention small {{ dtype = fp16  heads = 2  head_dim = {width}\n"
        " input bits : i32[batch, seq_q, 5]  mask = tree(bits) }"
    )
    (what,) = check_spec(spec).attentions
    return what


def drafts(what: Attention, prefix: int, nodes: int) -> dict[str, Tensor]:
    """Return the tensors of trees whose nodes see any others."""
    given = tensors(replace(what, inputs=()), nodes, prefix + nodes)
    random = torch.Generator().manual_seed(nodes)
    given["bits"] = torch.randint(-(2**31), 2**31, (BATCH, nodes, 5), generator=random).int()
    return given


@pytest.mark.slow
@pytest.mark.parametrize(("prefix", "nodes"), [(150, 150), (128, 97), (37, 33), (0, 40)])
def test_trees_whose_words_begin_anywhere_in_a_fragment(
    prefix: int, nodes: int, tmp_path: Path
) -> None:
    what = tree(tmp_path)
    compare(made(what, tmp_path), drafts(what, prefix, nodes))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("_bits_from(low, high, key - (seq_k - seq_q))", "_bits_from(low, high, key)"),
        ("above | (high << (31 - shift) << 1)", "above"),
        ("low.to(gl.uint32, bitcast=True) >> shift", "low.to(gl.uint32, bitcast=True) >> 0"),
        ("_bits_below(seq_k - seq_q - key", "_bits_below(seq_k - seq_q - 1 - key"),
        ("bits[:, None] & seen", "seen"),
    ],
)
def test_a_wrong_bit_of_a_tree_shows(right: str, wrong: str, tmp_path: Path) -> None:
    what = tree(tmp_path, 16)
    given = drafts(what, 45, 70)
    module = made(what, tmp_path, (right, wrong))
    with virtual_gpu(B200.arch):
        out, _ = module.small(**given)
    assert not (out - module._eager(*given.values())[0]).abs().max() <= 0.02


@pytest.mark.slow
def test_no_mutant_of_a_tree_is_missed(tmp_path: Path) -> None:
    proven = subject(tree(tmp_path, 16), "b200", tmp_path)
    rung = concurrency_rung(proven, load_module(proven.path), lambda _: None, mutate=True)
    assert rung.status is Status.PASSED, rung.details
    score = rung.details["mutants"]
    assert isinstance(score, dict)
    counts = {name: count for name, count in score.items() if isinstance(count, int)}
    assert counts["missed"] == 0
    assert counts["flagged"] + counts["redundant"] == counts["all"] > 100


@pytest.mark.slow
def test_sinks_of_any_size(tmp_path: Path) -> None:
    """Far above and far below all scores, −∞, and where rows have no keys; maxima may be old."""
    module = made(SUNK, tmp_path)
    given = tensors(SUNK, SEQ_K, SEQ_Q)  # the first half of the queries comes before all keys
    # Key tiles are walked down: scores grow, by less than asks for rescaling, and then by more.
    given["k"][:, :100] *= 2
    given["k"][:, :20] *= 3
    given["slopes"] = torch.tensor([200.0, -200.0, -math.inf, 3.0])
    compare(module, given)
    out, lse = checked(module, given)
    assert (out[:, : SEQ_K - SEQ_Q] == 0).all()
    torch.testing.assert_close(lse[0, :, 0], given["slopes"])
    nan = made(replace(SUNK, empty_row=EmptyRow.NAN), tmp_path)
    out, _ = checked(nan, given)
    assert out[:, 0].isnan().all(-1).tolist() == [[False, False, True, False]] * BATCH


FAULTS = [
    (SUNK, "gl.exp2(sink - top)", "0.0"),
    (SUNK, "weight / total", "1.0 / total"),
    (SUNK, "_read_slopes(inputs.slopes_ptr, h)", "_read_slopes(inputs.slopes_ptr, b)"),
    (ALL, "key + first, layout)", "key, layout)"),
    (ALL, "part = gl.where(visible, part", "part = gl.where(visible | True, part"),
    (ALL, "i1 * stride_1.to(gl.int64)) * 8", "i1 * stride_0.to(gl.int64)) * 8"),
    (ALL, "(i1 >= 0) & (i1 < 9)", "(i1 >= 0) & (i1 < 8)"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("what", "right", "wrong"), FAULTS)
def test_a_fault_shows(what: Attention, right: str, wrong: str, tmp_path: Path) -> None:
    module = made(what, tmp_path, (right, wrong))
    with pytest.raises(AssertionError, match=r"not close|out-of-bounds"):
        compare(module, tensors(what))


def test_rows_that_loads_of_16_bytes_cannot_read_are_copied(tmp_path: Path) -> None:
    module = made(ALL, tmp_path)
    whole = torch.arange(2 * 3 * 256.0).view(2, 3, 256)
    assert module._in_tiles(whole, 4) is whole
    assert module._in_tiles(whole[:, :1].expand(2, 3, 256), 4).stride() == (768, 0, 1)
    for odd in (whole[..., 1:129], whole[..., :200], whole.mT.contiguous().mT):
        copied = module._in_tiles(odd, 4)
        assert copied.shape[-1] % 128 == 0
        assert copied.is_contiguous()
        assert torch.equal(copied[..., : odd.shape[-1]], odd)
        assert not copied[..., odd.shape[-1] :].any()
