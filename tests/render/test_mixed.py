"""Modules in two languages: Gluon forward, Triton backward, and no name that means both."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from flash4gen.ir.expr import Extent, Input, InputDType
from flash4gen.ir.library import target
from flash4gen.ir.nodes import EmptyRow, Lengths, Pass, Weights
from flash4gen.render.environment import in_triton
from flash4gen.render.fitting import fitted
from flash4gen.render.languages import in_its_languages, told_apart
from flash4gen.render.module import render
from flash4gen.validate.text import faults
from tests.ir.notation import attention, expr
from tests.long_matrix import slow
from tests.project import ROOT
from tests.schedule.variants import CAUSAL, chosen

if TYPE_CHECKING:
    from collections.abc import Iterator

NARROW = {"head_dim": 32, "value_dim": 32}
WIDE = {"head_dim": 192, "value_dim": 128}
SLOPES = Input("slopes", InputDType.F32, (Extent.HEADS,))
OFTEN = (
    *("widths", "two ranges", "positions", "bias", "distances", "192 and 128", "sigmoid weights"),
    "packed",
)
"""Those that the default run renders; the others are for the long one."""

VARIANTS: dict[str, dict[str, Any]] = {
    "narrow": {"mask": CAUSAL},
    "no mask": {},
    "widths": {"head_dim": 24, "value_dim": 16},
    "widest": {"head_dim": 256, "value_dim": 256, "mask": CAUSAL},
    "two ranges": {"mask": "k <= q_end and q_end - k < 40 or k < 4"},
    "never": {"mask": "k < 0", "head_dim": 64, "value_dim": 64},
    "positions": {"score": "s - 0.1 * abs(float(q_end - k))", "mask": CAUSAL},
    "softcap": {"score": "5.0 * tanh(s / 5.0)", "mask": CAUSAL},
    "a power": {"score": "abs(s) ** 1.5"},
    "a sigmoid": {"score": "4.0 * sigmoid(s)"},
    "bias": {"score": "s + bias[h, q, k]", "mask": CAUSAL},
    "distances": {"score": "s + table[h, k - q_end + 4]", "mask": CAUSAL},
    "documents": {"mask": "docs[b, q] == docs[b, k]"},
    "192 and 128": {
        **WIDE,
        "score": "s * temperature[h, q]",
        "mask": "docs[b, q] == docs[b, k] and q_docs[b, q] < 4",
    },
    "deterministic": {"mask": CAUSAL, "deterministic": True},
    "sigmoid weights": {"weights": Weights.SIGMOID, "mask": CAUSAL},
    "a sink": {"sink": expr("slopes[h]"), "inputs": (SLOPES,), "mask": CAUSAL},
    "rows of NaN": {"empty_row": EmptyRow.NAN, "mask": "k < q - 3"},
    "equal lengths": {"lengths": Lengths.EQUAL, "mask": "k <= q and q - k < 5"},
    "packed": {"lengths": Lengths.PACKED, "score": "s * gains[b, h]", "mask": CAUSAL},
}


def text(name: str, on: str = "b200") -> str:
    """Return the module of a variant."""
    what = attention(**{"passes": (Pass.FORWARD, Pass.BACKWARD), **NARROW, **VARIANTS[name]})
    choice = chosen(what, target(on))
    assert choice.mixed
    return render(what, target(on), choice).text


def kernels(module: str) -> dict[str, tuple[str, set[str]]]:
    """Return the language of each kernel function, and the other ones that it calls."""
    functions = {
        function.name: (ast.unparse(decorator).partition(".")[0], function)
        for function in ast.parse(module).body
        if isinstance(function, ast.FunctionDef)
        for decorator in function.decorator_list
    }
    return {
        name: (language, {it.id for it in ast.walk(function) if isinstance(it, ast.Name)})
        for name, (language, function) in functions.items()
    }


def foreign(module: str) -> Iterator[str]:
    """Yield calls from one language to the other."""
    known = kernels(module)
    for name, (language, calls) in known.items():
        others = (it for it in calls & known.keys() if known[it][0] != language)
        yield from (f"{name} calls {it}" for it in others)


@pytest.mark.parametrize("name", [*OFTEN, *slow(*(it for it in VARIANTS if it not in OFTEN))])
def test_each_language_calls_its_own_functions(name: str) -> None:
    module = text(name)
    assert faults(module, "small") == ()
    assert [*foreign(module)] == []
    languages = {name: language for name, (language, _) in kernels(module).items()}
    assert languages["_forward_kernel"] == "gluon"
    assert languages["_query_gradient_kernel"] == languages["_key_gradient_kernel"] == "triton"
    assert not {"\1", "\2"} & {*module}


def test_a_call_from_one_language_to_the_other_is_found() -> None:
    module = text("softcap")
    assert "_tanh_tl(s" in module
    assert [*foreign(module.replace("_tanh_tl(s", "_tanh(s"))] == ["_score_gradient calls _tanh"]


@pytest.mark.parametrize("on", ["b300", *slow("rubin")])
def test_other_targets_with_tensor_memory_have_them_too(on: str) -> None:
    module = text("narrow", on)
    assert faults(module, "small") == ()
    assert [*foreign(module)] == []


@pytest.mark.parametrize(
    "name", ["widths", "packed", *slow("bias", "distances", "192 and 128", "two ranges")]
)
def test_they_come_out_linted_and_formatted(name: str) -> None:
    for command in (("check",), ("format", "--check")):
        ended = subprocess.run(
            (
                sys.executable,
                "-m",
                "ruff",
                *command,
                "--stdin-filename",
                "generated/b200/x.py",
                "-",
            ),
            cwd=ROOT,
            input=text(name),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout


def test_constants_of_both_passes_differ_where_their_values_do() -> None:
    """Products of tcgen05 have 32 columns of 192 together; `tl.dot` needs powers of two."""
    module = text("192 and 128")
    assert "HEAD_PAD: Final = gl.constexpr(192)" in module
    assert "HEAD_PAD_TL: Final = tl.constexpr(256)" in module
    assert "VALUE_PAD_TL" not in module


def test_only_names_that_stand_before_get_an_ending() -> None:
    before = "ROWS: Final = gl.constexpr(256)\n\n\ndef _clamp(x):\n    return x\n"
    after = (
        "ROWS: Final = tl.constexpr(64)\n\n\n"
        "def _store(x, ROWS: tl.constexpr):\n    return _clamp(x, ROWS)\n\n\n"
        "def _clamp(x, most):\n    return min(x, most, ROWS)  # as `_clamp` of old\n"
    )
    assert told_apart(after, before) == (
        "ROWS_TL: Final = tl.constexpr(64)\n\n\n"
        "def _store(x, ROWS: tl.constexpr):\n    return _clamp_tl(x, ROWS)\n\n\n"
        "def _clamp_tl(x, most):\n    return min(x, most, ROWS_TL)  # as `_clamp_tl` of old\n"
    )


def test_what_is_not_marked_is_gluon() -> None:
    word = "@triton.jit\ndef _{}(x):\n    return tl.exp2(x)\n"
    marked = word.format("a") + in_triton(word.format("b")) + word.format("c")
    gluon = word.replace("triton.jit", "gluon.jit").replace("tl.", "gl.")
    assert in_its_languages(marked) == gluon.format("a") + word.format("b") + gluon.format("c")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("    x = _f_tl(" + ", ".join("abcdefg") + ")", None),
        (
            f"    x = y[0] + _f_tl({'a' * 40}, {'b' * 40})",
            f"    x = y[0] + _f_tl(\n        {'a' * 40}, {'b' * 40}\n    )",
        ),
        (
            f"    x = _f_tl(\n        {'a' * 50}, g({'b' * 40}, c), d\n    )",
            f"    x = _f_tl(\n        {'a' * 50},\n        g({'b' * 40}, c),\n        d,\n    )",
        ),
        (
            f'    """One line.\n\n    {"a" * 60} {"b" * 40}\n    """',
            f'    """One line.\n\n    {"a" * 60}\n    {"b" * 40}\n    """',
        ),
        (f"    # {'a' * 60} {'b' * 40}", f"    # {'a' * 60}\n    # {'b' * 40}"),
        (
            f"A_TL: Final = f({'a' * 40})  # {'b' * 60}",
            f"# {'b' * 60}\nA_TL: Final = f({'a' * 40})",
        ),
        ("x = " + " + ".join(["a" * 20] * 5), None),
        ("    # " + "a" * 100, None),
    ],
    ids=[
        "fits",
        "a call",
        "arguments",
        "a docstring",
        "a comment",
        "a reason",
        "nothing to break",
        "one word",
    ],
)
def test_lines_that_became_too_long_are_laid_out_again(line: str, expected: str | None) -> None:
    assert fitted(line) == (expected or line)
