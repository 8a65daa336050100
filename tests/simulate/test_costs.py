"""Operations of TTGIR as instructions of a warp, from types and layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flash4gen.clock.program import Work
from flash4gen.simulate.costs import work
from flash4gen.vgpu.parse import parse_ttgir

if TYPE_CHECKING:
    from flash4gen.vgpu.parse.tree import Operation

ROW = """#row = #ttg.linear<{register = [[0, 1], [0, 2], [0, 4], [0, 8], [0, 16]], lane = [[1, 0], [2, 0], [4, 0], [8, 0], [16, 0]], warp = [[32, 0], [64, 0]], block = []}>"""  # noqa: E501
MMA = """#mma = #ttg.nvidia_mma<{versionMajor = 2, versionMinor = 0, warpsPerCTA = [4, 1], instrShape = [16, 8]}>"""  # noqa: E501
SUM = """
    %s = "tt.reduce"(%x) <{{axis = 1 : i32}}> ({{
    ^bb0(%a: f32, %b: f32):
      %c = arith.{op} %a, %b : f32 loc(#loc)
      tt.reduce.return %c : f32 loc(#loc)
    }}) : (tensor<128x32xf32, {layout}>) -> tensor<128xf32, #ttg.slice<{{dim = 1, parent = {layout}}}>>
"""  # noqa: E501


def operation(line: str, layout: str = "#row") -> Operation:
    """The last operation of a function with %x: tensor<128x32xf32>, before its return."""
    text = f"""{ROW}
{MMA}
module attributes {{"ttg.num-ctas" = 1 : i32, "ttg.num-warps" = 4 : i32}} {{
  tt.func public @f(%x: tensor<128x32xf32, {layout}>, %i: i32) {{
    {line} loc(#loc)
    tt.return loc(#loc)
  }} loc(#loc)
}} loc(#loc)
#loc = loc(unknown)
"""
    return parse_ttgir(text).kernel.body.blocks[0].operations[-2]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # 128 x 32 elements of 128 threads: 32 each.
        ("%y = math.exp2 %x : tensor<128x32xf32, #row>", Work(mufu=32)),
        ("%y = arith.mulf %x, %x : tensor<128x32xf32, #row>", Work(fma=32)),
        ("%y = arith.maxnumf %x, %x : tensor<128x32xf32, #row>", Work(alu=32)),
        (
            "%y = arith.truncf %x : tensor<128x32xf32, #row> to tensor<128x32xbf16, #row>",
            Work(cvt=16),
        ),
        (
            "%y = arith.truncf %x : tensor<128x32xf32, #row> to tensor<128x32xf8E4M3FN, #row>",
            Work(cvt8=16),
        ),
        ("%y = arith.addi %i, %i : i32", Work(alu=1)),
    ],
)
def test_elements_of_a_thread_are_instructions_of_its_warp(line: str, expected: Work) -> None:
    assert work(operation(line), 4, packed=True) == expected


def test_a_row_in_one_thread_is_reduced_without_exchange() -> None:
    summed = operation(SUM.format(op="addf", layout="#row"))
    assert work(summed, 4, packed=True) == Work(fma2=31 / 2)
    assert work(summed, 4, packed=False) == Work(fma=31)
    largest = operation(SUM.format(op="maxnumf", layout="#row"))
    assert work(largest, 4, packed=True) == Work(alu=31 / 2)


def test_a_row_of_an_accumulator_is_exchanged_between_four_lanes() -> None:
    summed = operation(SUM.format(op="addf", layout="#mma"), "#mma")
    # 32 elements of 4 rows: 28 additions, and two exchanges and additions for each row.
    assert work(summed, 4, packed=False) == Work(fma=28 + 8, shuffle=8)
