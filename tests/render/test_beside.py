"""Pipelines with portable kernels beside them, in one module: two languages, each its own names."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from flash4gen.ir.library import target
from flash4gen.ir.nodes import Pass
from flash4gen.render.module import render
from flash4gen.validate.text import faults
from tests.ir.notation import attention
from tests.long_matrix import slow
from tests.project import ROOT
from tests.render.test_mixed import foreign, kernels
from tests.schedule.variants import CAUSAL, chosen

BIAS = "s + bias[h, q, k]"
CAPPED = "5.0 * tanh((s + key_bias[h, k]) / 5.0) + slopes[h] * float(k - q_end)"

VARIANTS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "bias": ({"score": BIAS, "mask": CAUSAL}, ("_bias_h_q_k_gradient_kernel",)),
    "192 and 128": (
        {"score": BIAS, "head_dim": 192, "value_dim": 128},
        ("_bias_h_q_k_gradient_kernel",),
    ),
    "capped": ({"score": CAPPED, "mask": CAUSAL}, ("_query_sum_kernel", "_key_sum_kernel")),
    "by query": ({"score": "s + temperature[h, q]"}, ("_query_sum_kernel",)),
    "by key and score": (
        {"score": "tanh(s + key_bias[h, k]) + bias[h, q, k]", "mask": CAUSAL},
        ("_key_sum_kernel", "_bias_h_q_k_gradient_kernel"),
    ),
    "all kinds": (
        {"score": f"{CAPPED} + bias[h, q, k]", "head_dim": 128},
        ("_query_sum_kernel", "_key_sum_kernel", "_bias_h_q_k_gradient_kernel"),
    ),
}


def text(name: str, on: str = "b200") -> str:
    """Return the module of a variant."""
    small = {"passes": (Pass.FORWARD, Pass.BACKWARD), "head_dim": 64, "value_dim": 64}
    what = attention(**{**small, **VARIANTS[name][0]})
    choice = chosen(what, target(on))
    assert choice.backward is not None
    assert choice.backward.beside is not None
    return render(what, target(on), choice).text


@pytest.mark.parametrize("name", ["capped", *slow(*(it for it in VARIANTS if it != "capped"))])
def test_each_language_calls_its_own_functions(name: str) -> None:
    module = text(name)
    assert faults(module, "small") == ()
    assert [*foreign(module)] == []
    languages = {name: language for name, (language, _) in kernels(module).items()}
    beside = {it for it, language in languages.items() if language == "triton" and "kernel" in it}
    assert beside == {*VARIANTS[name][1]}
    assert languages["_gradient_kernel"] == "gluon"
    for kernel in VARIANTS[name][1]:
        assert f"{kernel}[" in module


@pytest.mark.parametrize("name", ["by key and score", *slow("bias", "capped", "192 and 128")])
def test_they_come_out_linted_and_formatted(name: str) -> None:
    for command in (("check",), ("format", "--check")):
        given = (*command, "--stdin-filename", "generated/b200/x.py", "-")
        ended = subprocess.run(
            (sys.executable, "-m", "ruff", *given),
            cwd=ROOT,
            input=text(name),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout


def test_a_kernel_is_launched_where_its_gradient_is_wanted() -> None:
    module = text("all kinds")
    lines = [line.strip() for line in module.splitlines()]
    asked = [line for line in lines if line.startswith("if needs[")]
    assert asked == ["if needs[4]:", "if needs[3]:", "if needs[5]:"]
    launched = ["_query_sum_kernel[", "_key_sum_kernel[", "_bias_h_q_k_gradient_kernel["]
    for condition, kernel in zip(asked, launched, strict=True):
        after = lines[lines.index(condition) :]
        assert next(line for line in after if "_kernel[" in line).startswith(kernel)
