"""A model on disk: an index beside the modules of its layers, typed, linted, fresh or stale."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch

from flash4gen.driver import check_fresh, check_spec, compile_spec
from flash4gen.render.index import render_index
from tests.long_matrix import slow
from tests.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from flash4gen.driver import CompileResult

SPEC = """
attention near { dtype = fp16  heads = 2  kv_heads = 1  head_dim = 32  mask = window(keys = 2) }
attention far  { dtype = fp16  heads = 2  kv_heads = 1  head_dim = 32  doc = "All of it" }
model tiny {
    doc = "A tiny model"
    layers 8 = repeat [2 * near, far], 2 * near   # ends in the middle
}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CompileResult]:
    """Return the folder of a compiled model, and what the compile said."""
    folder = tmp_path_factory.mktemp("model")
    spec = folder / "tiny.attn"
    spec.write_text(SPEC, encoding="utf-8")
    result = compile_spec(spec, targets=["a100"], out=folder / "made_model", validate=False)
    assert result.ok, result.diagnostics
    return folder, result


@pytest.fixture
def index(made: tuple[Path, CompileResult], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(made[0]))
    return importlib.import_module("made_model.a100.tiny")


def test_one_module_for_each_kind_of_layer(made: tuple[Path, CompileResult]) -> None:
    folder, result = made
    names = sorted(path.name for path in (folder / "made_model" / "a100").glob("*.py"))
    assert names == ["far.py", "near.py", "tiny.py"]
    assert [one.changed for one in result.indexes] == [True]


def test_every_layer_has_its_function(index: ModuleType) -> None:
    names = [index.tiny(layer).__name__ for layer in range(8)]
    assert names == ["near", "near", "far", "near", "near", "far", "near", "near"]
    assert [layer.__name__ for layer in index.LAYERS] == names
    assert index.__all__ == ["LAYERS", "tiny"]
    q = torch.randn(1, 3, 2, 32).half()
    out, lse = index.tiny(2)(q, q[:, :, :1], q[:, :, :1])
    assert (out.shape, lse.shape) == ((1, 3, 2, 32), (1, 2, 3))


@pytest.mark.parametrize("layer", [-1, 8])
def test_a_layer_that_is_not_there_is_named(index: ModuleType, layer: int) -> None:
    with pytest.raises(IndexError, match=f"layer: expected 0 to 7, got {layer}"):
        index.tiny(layer)


def test_freshness_is_that_of_the_index_too(made: tuple[Path, CompileResult]) -> None:
    folder, result = made
    path = result.indexes[0].path
    fresh = path.read_text(encoding="utf-8")

    def messages() -> list[str]:
        found = check_fresh(folder / "tiny.attn", targets=["a100"], out=folder / "made_model")
        return [item.message for item in found if "certificate" not in item.message]

    assert messages() == []
    path.write_text(fresh.replace("* 2", "* 3"), encoding="utf-8")
    assert messages() == [f"{path} is not what the spec compiles to now"]
    path.unlink()
    assert messages() == [f"{path} does not exist"]
    path.write_text(fresh, encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "--config", "pyproject.toml"),
        ("ruff", "format", "--check", "--config", "pyproject.toml"),
        ("mypy", "--strict", "--config-file", "pyproject.toml"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("length", [60, *slow(1)])
def test_an_index_is_linted_formatted_and_typed(
    command: tuple[str, ...], length: int, tmp_path: Path
) -> None:
    """Whatever the names: the longest ones must not break a line too late."""
    near, far = "n" * length, "f" * length
    text = SPEC.replace("near", near).replace("far", far).replace("A tiny", "A tiny" * length)
    spec = tmp_path / "tiny.attn"
    spec.write_text(text, encoding="utf-8")
    checked = check_spec(spec)
    folder = tmp_path / "generated" / "a100"
    folder.mkdir(parents=True)
    made = render_index(checked.models[0], checked.target("a100"))
    (folder / "tiny.py").write_text(made, encoding="utf-8")
    for name in (near, far):
        body = "def {}(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]: return q, k\n"
        head = "from __future__ import annotations\n\nfrom torch import Tensor\n\n\n"
        (folder / f"{name}.py").write_text(head + body.format(name), encoding="utf-8")
    options = [str(ROOT / part) if part == "pyproject.toml" else part for part in command]
    ended = subprocess.run(
        [sys.executable, "-m", *options, "generated/a100/tiny.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
