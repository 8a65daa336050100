"""`model` items: the pattern of layers, and what is compiled for which target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.driver import check_spec, plan_indexes, plan_spec
from flash4gen.ir.lower import analyse
from flash4gen.source import SourceFile

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.ir.model import Model

LAYERS = """
attention a { dtype = bf16  heads = 4  head_dim = 64  target = a100, b200 }
attention b { dtype = bf16  heads = 4  head_dim = 64  target = b200, h100, a100 }
"""


def model(text: str) -> Model:
    lowered = analyse(SourceFile("test.attn", LAYERS + text))
    assert not lowered.diagnostics
    return lowered.models[0]


@pytest.mark.parametrize(
    ("written", "layers"),
    [
        ("4 = repeat [a, b]", "abab"),
        ("4 = repeat a", "aaaa"),
        ("12 = repeat [5 * a, b]", "aaaaabaaaaab"),
        ("8 = repeat [5 * a, b], 2 * a", "aaaaabaa"),
        ("8 = b, repeat [2 * a, b], b", "baabaabb"),
        ("7 = 2 * [a, 2 * b], a", "abbabba"),
        ("6 = 2 * [[a, b], a]", "abaaba"),
        ("1 = a", "a"),
    ],
)
def test_patterns(written: str, layers: str) -> None:
    assert "".join(model(f"model m {{ layers {written} }}").layers) == layers


def test_what_layers_have_is_listed_once_and_in_order() -> None:
    found = model("model m { layers 5 = 2 * b, repeat [a, b, a] }")
    assert [item.name for item in found.attentions] == ["b", "a"]
    assert found.pattern == "2 * b, repeat [a, b, a]"


def test_targets_are_those_of_all_layers_or_the_models_own() -> None:
    assert model("model m { layers 2 = a, b }").targets == ("a100", "b200")
    assert model("model m { layers 2 = a, b  target = h100 }").targets == ("h100",)


def test_a_layer_with_a_mistake_gives_no_model_and_no_echo() -> None:
    text = "attention c { dtype = bf15  heads = 1  head_dim = 64 } model m { layers 2 = a, c }"
    lowered = analyse(SourceFile("test.attn", LAYERS + text))
    assert [str(item.code) for item in lowered.diagnostics] == ["F4G302"]
    assert lowered.models == ()


def spec(folder: Path, text: str) -> Path:
    path = folder / "test.attn"
    path.write_text(text)
    return path


def test_layers_are_planned_for_the_targets_of_their_model(tmp_path: Path) -> None:
    (tmp_path / "layers.attn").write_text(LAYERS)
    text = 'use "layers.attn"\nmodel m { layers 4 = repeat a  target = h100 }'
    checked = check_spec(spec(tmp_path, text))
    plans, problems = plan_spec(checked)
    assert not problems
    assert [plan.subject for plan in plans] == ["h100/a"]
    assert [plan.subject for plan in plan_indexes(checked)] == ["h100/m"]
    assert [plan.subject for plan in plan_indexes(checked, ["a100"])] == ["a100/m"]


def test_own_attentions_keep_their_own_targets_too(tmp_path: Path) -> None:
    checked = check_spec(spec(tmp_path, LAYERS + "model m { layers 1 = a  target = h100 }"))
    subjects = {plan.subject for plan in plan_spec(checked)[0]}
    assert subjects == {"a100/a", "b200/a", "h100/a", "b200/b", "h100/b", "a100/b"}


def test_a_model_without_any_target_is_told_once(tmp_path: Path) -> None:
    text = "attention a { dtype = bf16  heads = 4  head_dim = 64 }\nmodel m { layers 1 = a }"
    (problem,) = plan_spec(check_spec(spec(tmp_path, text)))[1]
    assert problem.message == "`m` names no target"
