"""An attention's name never means something else in its module: what modules say is refused."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING, Any

import pytest
import triton

from flash4gen.build.load import load_module
from flash4gen.ir.library import target, target_names
from flash4gen.ir.lower import analyse
from flash4gen.ir.module_names import MODULE_NAMES, taken
from flash4gen.ir.nodes import DType, Pass, Weights
from flash4gen.render.module import render
from flash4gen.source import SourceFile
from tests.ir.notation import attention
from tests.render.test_blackwell import MODULES, text
from tests.schedule.variants import CAUSAL, FULL, SOFTCAP, chosen, pinning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "small"
POWER = "s ** 1.5"
MEANINGS: tuple[dict[str, Any], ...] = (
    {},
    {"mask": CAUSAL, "score": SOFTCAP},
    {"score": SOFTCAP, "dtype": DType.BF16},
    {"mask": "(q + k) % 3 == 0", "score": POWER},
)


def portable(on: str, load: str, **changes: Any) -> str:
    what = pinning(attention(name=NAME, **changes), family="portable", load=load)
    return render(what, target(on), chosen(what, target(on))).text


TRAINED = """attention small {
    dtype    = bf16
    heads    = 2
    head_dim = 64
    input bias : f32[heads, seq_q, seq_k]
    input far : f32[heads, 63]
    score    = s + bias[h, q, k] + far[h, k - q + 31]
    dropout  = 0.1
    passes   = forward, backward
}"""


def trained() -> str:
    """Return a module with all kinds of backward kernels."""
    (what,) = analyse(SourceFile("small.attn", TRAINED)).attentions
    return render(what, target("h100"), chosen(what, target("h100"))).text


def pipelined(**changes: Any) -> str:
    """Return a module whose backward pass is the pipeline."""
    both = {"passes": tuple(Pass), "head_dim": 64, "value_dim": 64, "mask": CAUSAL}
    what = attention(name=NAME, **both, **changes)
    return render(what, target("b200"), chosen(what, target("b200"))).text


def mixed() -> str:
    """Return a module in two languages."""
    widths = {"head_dim": 32, "value_dim": 16}
    what = attention(name=NAME, passes=tuple(Pass), mask=CAUSAL, score=SOFTCAP, **widths)
    return render(what, target("b200"), chosen(what, target("b200"))).text


def modules() -> Iterator[str]:
    """Yield modules of both families that differ in what they print."""
    for pins, changes in MODULES.values():
        yield text(pins, name=NAME, **changes)
    yield text({}, name=NAME, score=POWER)
    yield text({"ctas": 2}, name=NAME, mask=FULL, heads=2)
    for changes in MEANINGS:
        for on in target_names():
            yield portable(on, "pointer", **changes)
        yield portable("h100", "tma", **changes)
    yield portable("h100", "pointer", block_size=16)
    yield trained()
    # gradients of queries that the kernel of keys adds up
    yield portable("h100", "tma", passes=(Pass.FORWARD, Pass.BACKWARD))
    yield pipelined()
    yield pipelined(weights=Weights.SIGMOID, score="s * 0.3 - 1.0")
    yield mixed()
    for weights in Weights:
        eight = {"dtype": DType.FP8_E4M3, "out_dtype": DType.BF16, "weights": weights}
        yield portable("h100", "tma", **eight)


def said(module: str) -> set[str]:
    """Return the names that a module imports, defines, or takes from Python; helpers aside."""
    tree = ast.parse(module)
    found: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                found |= {item.asname or item.name for item in names}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.Assign(targets=targets):
                found |= {it.id for it in targets if isinstance(it, ast.Name)}
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    found |= {name for name in used if hasattr(builtins, name)}
    return {name for name in found if not name.startswith("_")}


def test_the_list_of_names_is_what_modules_say() -> None:
    names = set().union(*map(said, modules()))
    assert NAME in names
    assert {name for name in names if not taken(name)} == {NAME}
    assert names >= MODULE_NAMES, f"no module says {sorted(MODULE_NAMES - names)} any more"


@pytest.mark.parametrize("family", ["blackwell", "portable"])
def test_a_name_may_be_that_of_a_variable(family: str, tmp_path: Path) -> None:
    """Triton takes names that a function assigns for the function's own, in every place."""
    file = tmp_path / f"{NAME}.py"
    specialised = family == "blackwell"
    file.write_text(text(name=NAME) if specialised else portable("h100", "tma", mask=CAUSAL))
    module = load_module(file)
    nodes = list(ast.walk(ast.parse(file.read_text())))
    local = {it.id for it in nodes if isinstance(it, ast.Name) and isinstance(it.ctx, ast.Store)}
    local |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    local -= {*vars(module)}
    for name in local:
        setattr(module, name, getattr(module, NAME))
    functions = [it for it in vars(module).values() if isinstance(it, triton.JITFunction)]
    assert len(functions) > 5
    for function in functions:
        # Raises for a Python function that a kernel mentions.
        assert function.cache_key
        assert not local & {name for name, _ in function.used_global_vals}
