"""The text of warp-specialised modules: it says what the schedule decided, and is formatted."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import Any

import pytest
from triton.experimental.gluon import language as gl

from flash4gen.ir.library import target
from flash4gen.ir.nodes import DType, EmptyRow, Lengths, Scales, Weights, descales
from flash4gen.render.languages import in_gluon
from flash4gen.render.module import render
from flash4gen.render.source_expr import TRITON
from flash4gen.schedule.model import Family
from tests.ir.notation import attention, expr
from tests.project import ROOT
from tests.schedule.variants import CAUSAL, SOFTCAP, WINDOW, chosen, pinning

Pins = dict[str, int | float | str]

CHOICES: dict[str, Pins] = {
    "plan p_in_s": {"plan": "p_in_s"},
    "plan shared_s": {},
    "one kernel": {"short_queries": 0},
    "plan double_s": {"plan": "double_s", "query_tiles": 1},
    "static": {"dispatch": "static"},
    "clc": {"dispatch": "clc"},
    "query tiles first": {"order": "query_tiles_first"},
    "packed": {"pack": 4},
    "all by the MUFU": {"emulated": 0},
    "most by polynomials": {"emulated": 96},
    "released at once": {"early": 0},
    "always rescaled": {"rescale_threshold": 0},
    "one staging buffer": {"staging": 1},
}
MEANINGS: dict[str, dict[str, Any]] = {
    "window": {"mask": WINDOW},
    "two ranges": {"mask": "k < 4 or k <= q_end and q_end - k < 64"},
    "no interval": {"mask": "(q + k) % 3 == 0"},
    "of heads": {"mask": "k <= q and q - k < where(h < 2, 5, 50)"},
    "softcap": {"score": SOFTCAP},
    "of positions": {"score": "s - 0.5 * float(q - k) * float(h)"},
    "192 and 128": {"head_dim": 192},
    "256": {"head_dim": 256, "value_dim": 256},
    "64": {"head_dim": 64, "value_dim": 64},
    "NaN": {"empty_row": EmptyRow.NAN},
    "slopes": {"score": "s + slopes[h] * float(k - q_end)"},
    "bias": {"score": "s + bias[h, q, k] + table[h, k - q + 4]"},
    "documents": {"mask": "k <= q_end and q_docs[b, q] == docs[b, k]"},
    "sink": {"sink": expr("0.0"), "mask": WINDOW},
}


EIGHT: dict[str, Any] = {"dtype": DType.FP8_E4M3, "out_dtype": DType.BF16}
SCALED: dict[str, Any] = {
    **EIGHT,
    "scales": Scales.PER_KV_HEAD,
    "inputs": descales(Scales.PER_KV_HEAD),
}


def text(pins: Pins | None = None, on: str = "b200", **changes: object) -> str:
    """Return a module of a small causal attention of width 128 with some things changed."""
    plain: dict[str, object] = {"heads": 8, "head_dim": 128, "value_dim": 128, "mask": CAUSAL}
    what = pinning(attention(**{**plain, **changes}), **(pins or {}))
    choice = chosen(what, target(on))
    assert choice.schedule.family is Family.BLACKWELL
    return render(what, target(on), choice).text


def function(module: str, name: str) -> str:
    """Return the text of one function."""
    (found,) = (
        node
        for node in ast.parse(module).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    )
    return ast.get_source_segment(module, found) or ""


MODULES: dict[str, tuple[Pins, dict[str, Any]]] = {
    **{name: (pins, {}) for name, pins in CHOICES.items()},
    **{name: ({}, changes) for name, changes in MEANINGS.items()},
    "plan disjoint": ({"plan": "disjoint"}, {"head_dim": 32, "value_dim": 32}),
    "packed, of positions": ({"pack": 4}, MEANINGS["of positions"]),
    "packed, read": (
        {"pack": 4},
        {"score": "s * slopes[h] + bias[h, q, k]", "sink": expr("slopes[h]")},
    ),
    "packed, 256": ({"pack": 4}, MEANINGS["256"]),
    "packed sequences": ({}, {"lengths": Lengths.PACKED}),
    "packed sequences, 256": ({}, {"lengths": Lengths.PACKED, **MEANINGS["256"]}),
    "packed sequences, of positions": (
        {"dispatch": "clc"},
        {"lengths": Lengths.PACKED, **MEANINGS["of positions"], "mask": "(q + k) % 3 == 0"},
    ),
    "sigmoid": ({}, {"weights": Weights.SIGMOID}),
    "sigmoid, p_in_s": (
        {"plan": "p_in_s", "emulated": 0, "early": 0},
        {"weights": Weights.SIGMOID, "score": "s - 3.0"},
    ),
    "sigmoid, of positions": (
        {"pack": 4, "dispatch": "clc"},
        {"weights": Weights.SIGMOID, **MEANINGS["of positions"]},
    ),
    "sigmoid, packed sequences": ({}, {"weights": Weights.SIGMOID, "lengths": Lengths.PACKED}),
    "clc, 192 and 128": ({"dispatch": "clc"}, MEANINGS["192 and 128"]),
    "8 bits": ({}, EIGHT),
    "8 bits, sink": ({"emulated": 0}, {**EIGHT, **MEANINGS["sink"]}),
    "8 bits, factors": ({}, SCALED),
    "8 bits, factors, shared_s": ({"plan": "shared_s"}, SCALED),
    "8 bits, factors, softcap": (
        {"plan": "double_s", "query_tiles": 1},
        {**SCALED, "score": SOFTCAP},
    ),
    "8 bits, factors, packed sequences, sink": (
        {},
        {**SCALED, "sink": expr("0.0"), "lengths": Lengths.PACKED},
    ),
    "8 bits, factors, packed heads": ({"pack": 4}, SCALED),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_formatted_as_ruff_does_it(name: str) -> None:
    pins, changes = MODULES[name]
    module = text(pins, **changes)
    compile(module, f"{name}.py", "exec")
    for command in (["format", "--diff"], ["check"]):
        ended = subprocess.run(
            # The name stands for a file in generated/, whose rules are these.
            [sys.executable, "-m", "ruff", *command, "--stdin-filename=generated/module.py", "-"],
            cwd=ROOT,
            input=module,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_choice_and_every_meaning_leaves_a_trace_in_the_code() -> None:
    """Comments and the digest in the op's name aside."""
    codes = {
        re.sub(r"small_[0-9a-f]{8}", "", ast.unparse(ast.parse(text(pins, **changes))))
        for pins, changes in MODULES.values()
    }
    assert len(codes) == len(MODULES)


def test_one_score_used_in_turn_and_a_weights_slot_per_tile() -> None:
    module = text({"plan": "shared_s"})
    assert (
        "s=bw.allocate_tensor_memory(\n            gl.float32,\n            [1, TILE_Q, " in module
    )
    assert "p=bw.allocate_tensor_memory(\n            gl.float16,\n            [TILES, " in module
    assert "QUERY_TILES: Final = gl.constexpr(2)" in module
    assert "memory.s.index(0)" in function(module, "_scores")
    assert "memory.p.index(TILE)" in function(module, "_weights")
    # The other tile's scores must be in registers before these overwrite them.
    assert "memory.p.shape[0] - 1 - TILE" in function(module, "_qk")
    assert "bars.s_empty" not in text(CHOICES["plan p_in_s"])


def test_8_bit_weights_lie_four_to_a_column() -> None:
    weights = function(text({"plan": "p_in_s"}, **EIGHT), "_weights")
    assert "reinterpret(gl.float8e4nv, [TILE_Q, 4 * TILE_K], layout)" in weights
    assert "both.slice(2 * TILE_K, TILE_K)" in weights


def test_factors_of_8_bit_elements_are_read_once_per_work_tile() -> None:
    module = text(**SCALED)
    assert "_read_descale" not in function(module, "_softmax_step")
    softmax = function(module, "_softmax")
    assert "to_log2 = TO_LOG2 * (descale_q_b_hkv * descale_k_b_hkv)" in softmax
    assert "factor = gl.where(row_sum > 0.0, descale_v_b_hkv / row_sum, 0.0)" in softmax
    assert "x.to(gl.bfloat16)" in function(module, "_stage")
    capped = function(text(score=SOFTCAP, **SCALED), "_softmax")
    assert "prescale = PRESCALE * (descale_q_b_hkv * descale_k_b_hkv)" in capped
    assert "to_log2" not in capped


def test_weights_inside_their_scores() -> None:
    module = text(CHOICES["plan p_in_s"])
    assert "p=bw.allocate_tensor_memory" not in module
    assert "memory.s.index(TILE).reinterpret(gl.float16" in function(module, "_weights")
    in_turn = text(CHOICES["plan double_s"])
    assert "memory.s.index(turn & 1).reinterpret(gl.float16" in function(in_turn, "_weights")
    assert in_turn.count("(_softmax, (") == 1
    assert "[4, 1, 1, 1]" in function(in_turn, "_forward_kernel")


def test_the_order_of_products_follows_from_the_plan() -> None:
    """Weights inside the scores must be read before the next scores; others need not."""
    behind, ahead = (function(text(CHOICES[f"plan {p}"]), "_mma") for p in ("p_in_s", "shared_s"))
    loop = "for i in range(tiles - 1):"
    inside, apart = behind.partition(loop)[2], ahead.partition(loop)[2]
    assert inside.index("_pv(") < inside.index("_qk(")
    assert apart.index("_qk(") < apart.index("_pv(")


def test_without_emulation_there_is_no_polynomial() -> None:
    module = text({"emulated": 0})
    assert "EMULATED" not in module
    assert "fma.rn.ftz" not in module
    assert function(module, "_exp2").count("gl.exp2(") == 1


@pytest.mark.parametrize(
    ("columns", "spread"), [(4, "(0, 2, 2, 0)"), (16, "(4, 6, 6, 0)"), (96, "(32, 32, 32, 0)")]
)
def test_emulated_columns_are_spread_over_all_fragments_but_the_last(
    columns: int, spread: str
) -> None:
    assert f"EMULATED: Final = gl.constexpr({spread})" in text({"emulated": columns})


def test_the_maximum_comes_with_the_load_where_the_target_can_do_that() -> None:
    step = function(text(on="b300"), "_softmax_step")
    masked, plain = step.partition("if MASKED:")[2].split("else:")[:2]
    assert ".load(layout)" in masked
    assert "gl.max(part, 1)" in masked
    assert ".load_max(layout)" in plain
    assert "load_max" not in text()


def test_a_score_that_grows_with_its_product_is_applied_to_the_maximum() -> None:
    """In tiles without a mask: one tanh a row comes early, those of all keys late."""
    step = function(text(score=SOFTCAP), "_softmax_step")
    first, second = step.split("row_max, offset, rescale = ")
    assert "top = gl.max(part, 1)" in first
    assert "if not MASKED:" in first.partition("top = gl.maximum(")[2]
    assert "top = _score(top * PRESCALE)" in first
    assert "if not MASKED:" in second
    assert "part = _score(" in second
    # A score of positions may order keys in another way: it is applied before the maximum.
    first, second = function(text(**MEANINGS["of positions"]), "_softmax_step").split(
        "row_max, offset, rescale = "
    )
    assert "_score(" in first
    assert "_score(" not in second


def test_the_score_of_a_softcap_is_one_tanh() -> None:
    module = text(score=SOFTCAP, scale=0.25)
    assert function(module, "_score").splitlines()[-1].strip() == "return _tanh(s)"
    assert "PRESCALE: Final = gl.constexpr(0.005)" in module  # scale / 50
    assert "tanh.approx.f32" not in module
    assert "tanh.approx.f32" in function(text({"tanh": "approx"}, score=SOFTCAP), "_tanh")


def test_packed_heads_are_an_axis_of_the_boxes() -> None:
    module = text({"pack": 4})
    launch = function(module, "_launch")
    assert launch.count("unflatten(2, (PACKS.value, PACK.value))") == 2  # q and out
    assert "1, PACK.value, HEAD_PAD.value]" in launch
    assert "[b, q, pack, 0, 0]" in function(module, "_load")
    assert "[b, q, pack, 0, column]" in function(module, "_store")
    assert "ROWS: Final = gl.constexpr(64)" in module  # 2 tiles of 128 rows, 4 heads each
    assert "unflatten" not in text()


def test_masks_of_intervals_are_bits_and_others_comparisons() -> None:
    assert "_bits_below(" in text(mask=WINDOW)
    module = text(**MEANINGS["no interval"])
    assert "_bits_below(" not in module
    assert "(k < problem.seq_k) & _visible(" in function(module, "_softmax_step")


def test_wide_heads_come_in_chunks() -> None:
    module = text(**MEANINGS["192 and 128"])
    for line in ("CHUNK: Final = gl.constexpr(64)", "HEAD_CHUNKS: Final = gl.constexpr(3)"):
        assert line in module
    assert "for chunk in range(chunks):" in function(module, "_qk")
    assert "CHUNK" not in text()


def test_programs_and_their_work() -> None:
    walk = "for work in range(gl.program_id(0), problem.works, gl.num_programs(0)):"
    assert "_forward_kernel[(works,)]" in text()
    static = text({"dispatch": "static"})
    assert "_forward_kernel[(min(works, 148),)]" in static
    roles = ("_load", "_mma", "_softmax", "_correct", "_store")
    assert all(walk in function(static, role) for role in roles)
    launched = text({"dispatch": "clc"})
    assert all("while work >= 0:" in function(launched, role) for role in roles)
    assert [role for role in roles if "_request_work(" in function(launched, role)] == ["_load"]


def test_rows_without_keys() -> None:
    zero, nan = text(), text(empty_row=EmptyRow.NAN)
    assert "1.0 / row_sum, 0.0)" in function(zero, "_correct")
    assert 'out.fill_(0.0), lse.fill_(float("-inf"))' in function(zero, "_launch")
    assert '1.0 / row_sum, float("nan"))' in function(nan, "_correct")
    assert 'out.fill_(float("nan"))' in function(nan, "_launch")


def test_gluon_has_every_function_that_expressions_call() -> None:
    for call in TRITON.calls.values():
        word = in_gluon(f"{call}(x)").partition("(")[0]
        module, _, name = word.rpartition(".")
        assert (
            hasattr(gl, name) if module == "gl" else word in ("_tanh", "_logistic", "libdevice.pow")
        )


def test_a_sigmoid_is_a_function_of_the_module() -> None:
    variant = attention(mask="k <= q_end", score="sigmoid(s) * 4.0")
    hardware = target("b200")
    text = render(variant, hardware, chosen(variant, hardware)).text
    assert "def _logistic(x):" in text
    assert "return _logistic(s)\n" in text
    assert "gl.sigmoid" not in text


def test_offsets_of_a_number_for_each_score_have_64_bits() -> None:
    """Gluon hands strides over in 32 bits where they fit; 2^31 elements are 32 heads of 8,192²."""
    large = function(text(score="s + bias[h, q, k]"), "_read_bias")
    assert "i0 * stride_0.to(gl.int64) + i1 * stride_1.to(gl.int64)" in large
    beside = function(text(score="s + bias[h, q, k + 1]"), "_read_bias")
    assert "i1 * stride_1.to(gl.int64) + i2" in beside
    assert "int64" not in function(text(score="s + key_bias[h, k]"), "_read_key_bias")


def test_sigmoid_weights_know_where_keys_are_before_they_read_tensors() -> None:
    found = text(weights=Weights.SIGMOID, score="s + bias[h, q, k + 1]", mask="k <= q")
    step = function(found, "_sigmoid_step")
    assert 0 < step.index("k = key + first") < step.index("_read_bias(")


def test_what_a_user_says_of_triton_stays_when_code_becomes_gluon() -> None:
    said = "see tl.sigmoid(x), and it's tl.dot"
    code = f'"""{said}"""\n@triton.jit\nz = tl.sigmoid(tl.sigmoid(a.tl.b))  # {said}\n'
    expected = f'"""{said}"""\n@gluon.jit\nz = _logistic(_logistic(a.tl.b))  # {said}\n'
    assert in_gluon(code) == expected
    assert f'"""{said}.' in text(doc=said)
