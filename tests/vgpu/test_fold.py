"""64 rows of each CTA of a pair, over 128 lanes of tensor memory: what lies where."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch

from flash4gen.vgpu.concurrent.footprint import footprint, overlap
from flash4gen.vgpu.errors import FaultError
from flash4gen.vgpu.lowering import lower
from flash4gen.vgpu.onchip import Buffer, View
from flash4gen.vgpu.ops.reinterpret import reinterpret
from flash4gen.vgpu.parse.tree import MemDescType, Operation, ScalarType

if TYPE_CHECKING:
    from flash4gen.vgpu.lowering import RegionCompiler

F32 = ScalarType("f32")
COLUMNS = 16
"""Of the tile that has a row to each lane."""


def memory(rows: int, columns: int, *, pair: bool = True) -> MemDescType:
    """Return the type of what one CTA has in tensor memory."""
    layout = (
        f"#ttng.tensor_memory_encoding<blockM = {rows}, blockN = {columns}, colStride = 1, "
        f"CGALayout = [[1, 0]], twoCTAs = {str(pair).lower()}>"
    )
    return MemDescType(shape=(rows, columns), element=F32, layout=layout, space="tmem")


TILE = memory(128, COLUMNS)


def tile() -> View:
    """Return a tile whose elements are numbered, lane after lane."""
    view = Buffer("tmem", 128 * COLUMNS * 4, "s").view((128, COLUMNS), torch.float32, TILE.layout)
    view.write(torch.arange(128.0 * COLUMNS).view(128, COLUMNS))
    return view


def window(view: View, first: int, columns: int) -> View:
    return view.derive((first, columns), TILE.layout, lambda x: x.narrow(1, first, columns))


def folded(view: View, first: int = 4, columns: int = 8) -> View:
    """Return the view of a window of a tile as 64 rows of twice as many columns."""
    source = memory(128, columns)
    return reinterpret(window(view, first, columns), source, memory(64, 2 * columns))


def test_the_second_half_of_the_columns_lies_in_the_upper_lanes() -> None:
    rows = folded(tile())
    assert rows.shape == (64, 16)
    seen = rows.read()
    for row, column in ((0, 0), (3, 7), (3, 8), (63, 15)):
        lane, place = row + 64 * (column // 8), 4 + column % 8
        assert seen[row, column] == lane * COLUMNS + place


def test_what_is_written_is_read_and_changes_nothing_else() -> None:
    view = tile()
    before = view.read()
    rows = folded(view)
    value = -torch.arange(1.0, 64 * 16 + 1).view(64, 16)
    rows.write(value)
    assert torch.equal(rows.read(), value)
    after = view.read()
    assert torch.equal(after[:, :4], before[:, :4])
    assert torch.equal(after[:, 12:], before[:, 12:])
    assert bool((after[:, 4:12] < 0).all())


def test_it_collides_with_columns_of_its_window_in_all_lanes() -> None:
    view = tile()
    rows = footprint(folded(view).data)
    assert overlap(rows, footprint(window(view, 11, 4).data))
    assert overlap(rows, footprint(window(view, 4, 1).data[127:]))
    assert not overlap(rows, footprint(window(view, 0, 4).data))
    assert not overlap(rows, footprint(window(view, 12, 4).data))


def test_void_elements_are_void_in_both_views() -> None:
    empty = Buffer("tmem", 128 * COLUMNS * 4, "s").view((128, COLUMNS), torch.float32, TILE.layout)
    rows = folded(empty)
    with pytest.raises(FaultError, match="never written"):
        rows.read()
    rows.skip()
    assert rows.peek().shape == (64, 16)
    rows.write(torch.ones(64, 16))
    assert not empty.ready
    assert window(empty, 4, 8).ready


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (memory(128, 8), memory(64, 8)),
        (memory(128, 8), memory(64, 32)),
        (memory(128, 8, pair=False), memory(64, 16)),
    ],
    ids=["half of it", "more than it", "of one CTA"],
)
def test_another_window_is_refused(source: MemDescType, target: MemDescType) -> None:
    with pytest.raises(FaultError, match="take all 128 lanes of half as many columns"):
        reinterpret(window(tile(), 0, 8), source, target)


def test_a_part_is_refused() -> None:
    rows: Any = folded(tile())
    with pytest.raises(FaultError, match="a part of 64 rows of a pair"):
        rows.derive("part", rows.layout, lambda x: x)


def test_half_of_the_columns_is_no_load_for_four_warps() -> None:
    """Triton 3.9 lets two of them read lanes that hold the other half."""
    cut = Operation(
        name="ttng.tmem_subslice",
        line=1,
        results=("%part",),
        operands=("%sum",),
        attributes={"offset": 0},
        operand_types=(memory(64, 16),),
        result_types=(replace(memory(64, 8), layout=memory(64, 16).layout),),
    )
    with pytest.raises(FaultError, match="two halves of the lanes"):
        lower(cut, cast("RegionCompiler", None))
    whole = replace(cut, result_types=(memory(64, 16),))
    assert lower(whole, cast("RegionCompiler", None))
