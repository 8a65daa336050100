"""Which part of a tensor each CTA of a cluster holds, by the text of its layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import torch

from flash4gen.vgpu.errors import FaultError
from flash4gen.vgpu.parse.tree import MemDescType, Operation, PointerType, ScalarType, TensorType
from flash4gen.vgpu.split import localised, split_of, split_of_layout
from flash4gen.vgpu.spread import join, spread

if TYPE_CHECKING:
    from flash4gen.vgpu.lowering import RegionCompiler

F32 = ScalarType("f32")
BLOCKED = (
    "#ttg.blocked<{sizePerThread = [1, 4], threadsPerWarp = [4, 8], warpsPerCTA = [4, 1], "
    "order = [1, 0], CGALayout = [[1, 0]]}>"
)
LINEAR = (
    "#ttg.linear<{register = [[0, 1]], lane = [[1, 0]], warp = [[32, 0], [64, 0]], "
    "block = [[128, 0]]}>"
)
MMA = (
    "#ttg.nvidia_mma<{versionMajor = 3, versionMinor = 0, warpsPerCTA = [4, 1], "
    "CGALayout = [[1, 0]], instrShape = [16, 64, 16]}>"
)
TMEM = (
    "#ttng.tensor_memory_encoding<blockM = 128, blockN = 64, colStride = 1, "
    "CGALayout = [[1, 0]], twoCTAs = true>"
)
SHARED = "#ttg.nvmma_shared<{swizzlingByteWidth = 64, elementBitWidth = 16, CGALayout = [[0, 1]]}>"


def slice_of(parent: str, dim: int) -> str:
    return f"#ttg.slice<{{dim = {dim}, parent = {parent}}}>"


def dot_of(parent: str, index: int) -> str:
    return f"#ttg.dot_op<{{opIdx = {index}, parent = {parent}, kWidth = 2}}>"


@pytest.mark.parametrize(
    ("shape", "layout", "local", "second"),
    [
        ((256, 64), BLOCKED, (128, 64), (1, 0)),
        ((256, 64), LINEAR, (128, 64), (1, 0)),
        ((256, 64), MMA, (128, 64), (1, 0)),
        ((256,), slice_of(BLOCKED, 1), (128,), (1,)),
        ((64,), slice_of(BLOCKED, 0), (64,), (0,)),
        ((256,), slice_of(LINEAR, 1), (128,), (1,)),
        ((64,), slice_of(LINEAR, 0), (64,), (0,)),
        ((8,), slice_of(slice_of(BLOCKED.replace("[[1, 0]]", "[[0, 1, 0]]"), 2), 0), (4,), (1,)),
        ((256, 16), dot_of(MMA, 0), (128, 16), (1, 0)),
        ((16, 64), dot_of(MMA, 1), (16, 64), (0, 0)),
        # Too small to be split: every CTA holds it.
        ((1, 64), BLOCKED, (1, 64), (0, 0)),
        ((1, 64), LINEAR, (1, 64), (0, 0)),
        ((128, 64), LINEAR, (128, 64), (0, 0)),
        ((64, 64), "", (64, 64), (0, 0)),
    ],
)
def test_tensors(
    shape: tuple[int, ...], layout: str, local: tuple[int, ...], second: tuple[int, ...]
) -> None:
    kind = TensorType(shape, F32, layout)
    assert localised(kind, 2) == TensorType(local, F32, layout)
    assert split_of(kind, 2).places == ((0,) * len(shape), second)


@pytest.mark.parametrize(
    ("shape", "layout", "space", "local"),
    [
        ((2, 64, 64), SHARED, "smem", (2, 64, 32)),
        ((256, 64), TMEM, "tmem", (128, 64)),
        ((3, 256, 64), TMEM, "tmem", (3, 128, 64)),
        ((4, 2), "#ttg.swizzled_shared<{order = [0], CGALayout = [[1]]}>", "smem", (4, 1)),
        ((4, 1), "#ttg.swizzled_shared<{order = [0], CGALayout = [[0]]}>", "smem", (4, 1)),
    ],
)
def test_memories(shape: tuple[int, ...], layout: str, space: str, local: tuple[int, ...]) -> None:
    kind = MemDescType(shape=shape, element=F32, layout=layout, space=space)
    assert getattr(localised(kind, 2), "shape", None) == local


def test_what_has_no_shape_is_left_alone() -> None:
    pointer = PointerType(F32)
    assert localised(pointer, 2) is pointer
    assert split_of(pointer, 2).whole


def test_four_ctas() -> None:
    split = split_of_layout("#x<{CGALayout = [[1, 0], [0, 1]]}>", 4)
    assert (split.counts, split.places) == ((2, 2), ((0, 0), (1, 0), (0, 1), (1, 1)))
    pairs = split_of_layout("#x<{CGALayout = [[0], [1]]}>", 4)
    assert [pairs.first(cta) for cta in range(4)] == [0, 0, 2, 2]
    line = split_of_layout("#x<{CGALayout = [[1], [2]]}>", 4)
    assert line.places == ((0,), (1,), (2,), (3,))


def test_blocks_that_are_not_in_one_piece_are_refused() -> None:
    rows = LINEAR.replace("[[128, 0]]", "[[64, 0]]")
    with pytest.raises(FaultError, match="blocks are not one piece"):
        split_of(TensorType((256, 64), F32, rows), 2)
    with pytest.raises(FaultError, match="split along one dimension"):
        split_of_layout("#x<{CGALayout = [[1], [4]]}>", 4)


def test_blocks_make_the_whole_again() -> None:
    whole = torch.arange(256 * 64).view(256, 64)
    split = split_of(TensorType((256, 64), F32, LINEAR), 2)
    parts = [whole[split.window(cta, (128, 64))] for cta in range(2)]
    assert torch.equal(join(parts, split.counts, split.places), whole)
    assert not torch.equal(parts[0], parts[1])


ROWS = "#ttg.swizzled_shared<{vec = 1, perPhase = 1, maxPhase = 1, order = [0], CGALayout = [[1]]}>"
COPIES = ROWS.replace("[[1]]", "[[0]]")


def view(name: str, source: MemDescType, target: MemDescType) -> Operation:
    return Operation(
        name=f"ttg.memdesc_{name}",
        line=1,
        results=("%view",),
        operands=("%memory",),
        operand_types=(source,),
        result_types=(target,),
    )


def shared(shape: tuple[int, ...], layout: str) -> MemDescType:
    return MemDescType(shape=shape, element=F32, layout=layout, space="smem")


@pytest.mark.parametrize(
    ("name", "source", "target", "known"),
    [
        ("reinterpret", shared((256,), ROWS), shared((128,), COPIES), True),
        ("reinterpret", shared((256,), ROWS), shared((256,), COPIES), False),
        ("reshape", shared((2, 256), ROWS), shared((2, 256), ROWS), True),
        ("reshape", shared((2, 256), ROWS), shared((512,), ROWS), False),
    ],
)
def test_a_view_shows_what_the_cta_holds(
    name: str, source: MemDescType, target: MemDescType, known: bool
) -> None:
    """Of 256 rows a CTA holds 128, and may view those alone; it never holds other elements."""
    operation, compiler = view(name, source, target), cast("RegionCompiler", None)
    if known:
        assert spread(operation, compiler, 2)
        return
    with pytest.raises(FaultError, match="splits memory among CTAs in another way"):
        spread(operation, compiler, 2)
