"""The parser: what it makes of single lines, and of the text that Triton prints."""

from __future__ import annotations

import pytest
import torch
from triton.tools.tensor_descriptor import TensorDescriptor

from flash4gen.vgpu import TtgirSyntaxError, parse_ttgir
from flash4gen.vgpu.parse.tree import (
    MemDescType,
    Operation,
    PointerType,
    ScalarType,
    TensorType,
)
from tests.vgpu import kernels
from tests.vgpu.running import ttgir

HEAD = """#shared = #ttg.swizzled_shared<{vec = 8, perPhase = 1, maxPhase = 8, order = [1, 0]}>
#slice = #ttg.slice<{dim = 1, parent = #mma}>
#mma = #ttg.nvidia_mma<{versionMajor = 2, versionMinor = 0, warpsPerCTA = [4, 1]}>
#smem = #ttg.shared_memory
#loc = loc("attention.py":10:1)
#loc2 = loc("scores"(#loc))
#loc3 = loc("helper.py":3:5)
#loc4 = loc(callsite(#loc3 at #loc2))
"""


def operation(line: str) -> Operation:
    text = f"""{HEAD}module attributes {{"ttg.num-warps" = 4 : i32}} {{
  tt.func public @kernel(%x: !tt.ptr<f16> {{tt.divisibility = 16 : i32}} loc("x"(#loc))) {{
    {line}
    tt.return loc(#loc)
  }} loc(#loc)
}} loc(#loc)
"""
    return parse_ttgir(text).kernel.body.blocks[0].operations[0]


def test_results_operands_and_attributes() -> None:
    op = operation("%c-1_i32, %b = tt.x %a#2, %v.0 {axis = 1 : i32, flag} : i32 loc(#loc)")
    assert op.results == ("c-1_i32", "b")
    assert op.operands == ("a#2", "v.0")
    assert op.attributes == {"axis": 1, "flag": True}
    assert op.line == 11


def test_several_results_are_numbered() -> None:
    assert operation("%r:3 = tt.x : i32 loc(#loc)").results == ("r#0", "r#1", "r#2")


def test_labels_and_subscripts_and_groups() -> None:
    op = operation(
        "tt.x %d[%i, 4] %p, 8192, [%s] mask %m other %o cacheModifier = ca"
        " : tensor<4x!tt.ptr<f16>, #slice> -> <4x8xf16, #shared, #smem, mutable> loc(#loc)"
    )
    assert op.operands == ("d", "p", 8192)
    assert op.subscripts == {0: ("i", 4)}
    assert op.groups == (("s",),)
    assert op.labelled == {"mask": ("m",), "other": ("o",)}
    assert op.attributes == {"cacheModifier": "ca"}


def test_types_with_aliases_resolved() -> None:
    op = operation(
        "%y = tt.x %x : tensor<4x!tt.ptr<f16>, #slice>"
        " -> !ttg.memdesc<2x4x8xf8E4M3FN, #shared, #smem, mutable, 3x4x8> loc(#loc)"
    )
    pointers, memory = op.operand_types[0], op.result_types[0]
    assert isinstance(pointers, TensorType)
    assert pointers.shape == (4,)
    assert pointers.element == PointerType(ScalarType("f16"))
    assert "versionMajor = 2" in pointers.layout
    assert isinstance(memory, MemDescType)
    assert (memory.shape, memory.element) == ((2, 4, 8), ScalarType("f8E4M3FN"))
    assert memory.space == "smem"


def test_a_generic_operation_with_a_region() -> None:
    op = operation(
        '%m:2 = "tt.reduce"(%a, %b) <{axis = 1 : i32}> ({\n'
        "    ^bb0(%p: f32 loc(#loc), %q: i32 loc(callsite(#loc3 at #loc))):\n"
        "      tt.reduce.return %p, %q : f32, i32 loc(#loc)\n"
        "    }) : (tensor<4x8xf32>, tensor<4x8xi32>) -> (tensor<4xf32>, tensor<4xi32>) loc(#loc)"
    )
    block = op.regions[0].blocks[0]
    assert [argument.name for argument in block.arguments] == ["p", "q"]
    assert block.operations[0].name == "tt.reduce.return"
    assert op.attributes == {"axis": 1}
    assert [str(kind) for kind in op.result_types] == ["tensor<4xf32>", "tensor<4xi32>"]


def test_a_loop_with_carried_values() -> None:
    op = operation(
        "%r:2 = scf.for %i = %lo to %hi step %st iter_args(%a = %x, %b = %y) -> (f32, i32)  : i32 {"
        "\n      scf.yield %a, %b : f32, i32 loc(#loc)\n    } {tt.num_stages = 3 : i32} loc(#loc)"
    )
    assert op.bindings == (("i", "lo"), ("a", "x"), ("b", "y"))
    assert (op.labelled["to"], op.labelled["step"]) == (("hi",), ("st",))
    assert op.regions[0].blocks[0].operations[0].operands == ("a", "b")


def test_branches_between_blocks() -> None:
    op = operation("cf.cond_br %c, ^bb1, ^bb2(%x, %y : i32, i32) loc(#loc)")
    assert op.operands == ("c",)
    assert op.successors == (("^bb1", ()), ("^bb2", ("x", "y")))


@pytest.mark.parametrize(
    ("loc", "frames", "name"),
    [
        ("loc(#loc)", ["attention.py:10"], ""),
        ("loc(#loc2)", ["attention.py:10"], "scores"),
        ("loc(#loc4)", ["helper.py:3", "attention.py:10"], ""),
        ("loc(unknown)", [], ""),
        ('loc("a.py":7:3)', ["a.py:7"], ""),
        ('loc("a.py":7:3 to 9:1)', ["a.py:7"], ""),
        ('loc(callsite("a.py":1:1 at callsite("b.py":2:1 at "c.py":3:1)))', None, ""),
    ],
)
def test_locations(loc: str, frames: list[str] | None, name: str) -> None:
    location = operation(f"tt.x {loc}").location
    expected = ["a.py:1", "b.py:2", "c.py:3"] if frames is None else frames
    assert [str(frame) for frame in location.frames] == expected
    assert location.name == name


def test_a_text_that_is_not_ttgir_is_refused_with_its_line() -> None:
    with pytest.raises(TtgirSyntaxError, match="line 11: cannot read `%y = = 3"):
        operation("%y = = 3 loc(#loc)")


def test_what_triton_prints_for_partitions_of_warps() -> None:
    x = TensorDescriptor.from_tensor(torch.zeros(1024, 128, dtype=torch.float16), [128, 128])
    text = ttgir(100, kernels.specialised, x, torch.zeros(128, 128), 8, 128)
    names = [op.name for op in parse_ttgir(text).kernel.body.blocks[0].operations]
    assert "ttg.warp_specialize" in names


def test_a_text_reads_the_same_line_by_line() -> None:
    """A second text with the same aliases is read line by line, where lines allow it."""
    text = FRESH.replace("BODY", "%a = arith.constant 1 : i32 loc(#loc)")
    other = FRESH.replace("BODY", "%a = arith.constant 2 : i32 loc(#loc)")
    broken = FRESH.replace("BODY", "%a = arith.constant 2 : i32 loc(#loc) loc(#loc)")
    first, again, second = parse_ttgir(text), parse_ttgir(text), parse_ttgir(other)
    assert first == again != second
    (loop, _) = second.kernel.body.blocks[0].operations
    (constant, combined, _) = loop.regions[0].blocks[0].operations
    assert (constant.operands, constant.line) == ((2,), 5)
    assert (combined.name, combined.line) == ("arith.addi", 6)
    with pytest.raises(TtgirSyntaxError, match="TTGIR line 5"):
        parse_ttgir(broken)


FRESH = """#loc = loc("by_lines.py":1:1)
module {
  tt.func public @kernel(%n: i32 loc(#loc)) {
    scf.for %i = %n to %n step %n : i32 {
      BODY
      %b = arith.addi
        %a, %a : i32 loc(#loc)
      scf.yield loc(#loc)
    } loc(#loc)
    tt.return loc(#loc)
  } loc(#loc)
} loc(#loc)
"""
