"""Rendered modules become cubins for every target, with the instructions that the target has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from flash4gen.build.compile import CompileError, compile_module
from flash4gen.build.load import load_module
from flash4gen.ir import library
from flash4gen.ir.nodes import Pin
from flash4gen.render.module import render
from flash4gen.schedule.choose import choose
from flash4gen.schedule.model import Choice, as_portable
from tests.ir.notation import attention

if TYPE_CHECKING:
    from pathlib import Path

    from flash4gen.build.artefact import Artefact

VARIANT = attention(
    heads=2,
    kv_heads=1,
    head_dim=64,
    value_dim=64,
    mask="k <= q_end",
    pins=(Pin("family", "portable"),),
)
TENSOR_INSTRUCTION = {"a100": "HMMA", "h100": "HGMMA", "b200": "UTCHMMA", "rtx5090": "HMMA"}
TILE_COPY = {"a100": "LDGSTS", "h100": "UTMALDG", "b200": "UTMALDG", "rtx5090": "UTMALDG"}


def compiled(target: str, folder: Path, *, listed: bool = True) -> tuple[Artefact, Choice]:
    hardware = library.target(target)
    choice = choose(VARIANT, hardware)
    assert isinstance(choice, Choice)
    file = folder / "small.py"
    file.write_text(render(VARIANT, hardware, choice).text, encoding="utf-8")
    return compile_module(file, VARIANT, hardware, listed=listed), choice


@pytest.mark.parametrize("target", sorted(TENSOR_INSTRUCTION))
def test_a_variant_compiles_for_every_target(target: str, tmp_path: Path) -> None:
    artefact, choice = compiled(target, tmp_path)
    facts, hardware = artefact.facts, library.target(target)
    assert artefact.cubin.startswith(b"\x7fELF")
    assert f".target sm_{hardware.arch}" in artefact.ptx
    assert facts.spill_bytes == 0
    assert 0 < facts.registers <= hardware.registers_per_thread
    assert facts.threads == 32 * as_portable(choice.schedule).warps
    assert 0 < facts.smem_bytes <= hardware.smem_per_block
    assert (facts.tmem_columns > 0) == (target == "b200")
    assert all(name.startswith(TENSOR_INSTRUCTION[target]) for name, _ in facts.tensor_instructions)
    # tiles come in by the copy engine, or by 16-byte asynchronous copies: never element by element
    assert TILE_COPY[target] in artefact.sass
    assert "LDG.E.U16" not in artefact.sass


def test_a_kernel_that_is_not_listed_is_the_same_without_what_is_counted(tmp_path: Path) -> None:
    whole, _ = compiled("a100", tmp_path)
    part, _ = compiled("a100", tmp_path, listed=False)
    nothing = replace(whole.facts, tensor_instructions=(), instructions=0)
    assert part == replace(whole, sass="", facts=nothing)


def test_what_triton_refuses_is_reported_with_its_log(tmp_path: Path) -> None:
    hardware = library.target("a100")
    choice = choose(VARIANT, hardware)
    assert isinstance(choice, Choice)
    text = render(VARIANT, hardware, choice).text
    broken = text.replace("tl.dot(q, k.T)", "tl.dot(q, k)")
    assert broken != text
    file = tmp_path / "small.py"
    file.write_text(broken, encoding="utf-8")
    with pytest.raises(CompileError) as caught:
        compile_module(file, VARIANT, hardware)
    assert "tl.dot(q, k)" in caught.value.log
    assert str(caught.value) == "input and other must have equal reduction dimensions"


def test_a_module_is_imported_anew_each_time_and_leaves_no_bytecode(tmp_path: Path) -> None:
    file = tmp_path / "value.py"
    file.write_text("X = 1\n", encoding="utf-8")
    first = load_module(file)
    file.write_text("X = 2\n", encoding="utf-8")
    assert (first.X, load_module(file).X) == (1, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["value.py"]


@pytest.mark.slow
def test_no_loop_of_the_widest_heads_spills(tmp_path: Path) -> None:
    """Their one softmax role finds its scores in slots that take turns: an address to compute."""
    wide = attention(
        heads=2,
        kv_heads=1,
        head_dim=256,
        value_dim=256,
        mask="k <= q_end and q_end - k < 300",
        score="50.0 * tanh(s / 50.0)",
    )
    for name in ("b200", "b300"):
        hardware = library.target(name)
        choice = choose(wide, hardware)
        assert isinstance(choice, Choice)
        file = tmp_path / "small.py"
        file.write_text(render(wide, hardware, choice).text, encoding="utf-8")
        facts = compile_module(file, wide, hardware).facts
        assert dict(facts.tensor_instructions)["UTCHMMA"] > 0
        assert facts.loop_spills == 0
