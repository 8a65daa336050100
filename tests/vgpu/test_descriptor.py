"""Descriptors of the copy engine as a launch hands them over: boxes cut inside of a tensor."""

from __future__ import annotations

import pytest
import torch

from flash4gen.vgpu.descriptor import Descriptor
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.memory import GlobalMemory

FAR = 1 << 30
ROW = 16


def ragged(x: torch.Tensor, memory: GlobalMemory) -> Descriptor:
    """Describe rows that end anywhere, as ``triton.tools.ragged_tma`` does."""
    return Descriptor(
        address=memory.bind(x, "x"),
        shape=(FAR + 1, FAR + 1, FAR, x.shape[1]),
        strides=(2**34 - ROW, ROW, ROW, 1),
        dtype=x.dtype,
        nan_fill=False,
        name="x",
    )


def test_rows_end_where_they_are_said_to() -> None:
    """Rows 3 and 4 of five: a box of four rows from the second of them on holds one."""
    x = torch.arange(5 * ROW, dtype=torch.float16).view(5, ROW)
    memory = GlobalMemory()
    found = ragged(x, memory)
    found.check(memory)
    end, size, row = 5, 2, 1
    at, box = (FAR, end, FAR - size + row, 0), (1, 1, 4, ROW)
    assert torch.equal(found.load(memory, at, box)[0, 0, 0], x[4])
    assert bool((found.load(memory, at, box)[0, 0, 1:] == 0).all())
    found.store(memory, at, torch.full(box, -1.0, dtype=torch.float16), program=0)
    assert bool((x[4] == -1).all())
    assert bool((x[:4] >= 0).all())


def test_rows_may_come_behind_heads() -> None:
    """Head 1 of rows 2 and 3 of five, of which one is left; heads lie side by side in a row."""
    heads = 2
    x = torch.arange(5 * heads * ROW, dtype=torch.float16).view(5, heads, ROW)
    memory, row = GlobalMemory(), heads * ROW
    found = Descriptor(
        address=memory.bind(x, "x"),
        shape=(FAR + 1, FAR + 1, heads, FAR, ROW),
        strides=(2**34 - row, row, ROW, row, 1),
        dtype=x.dtype,
        nan_fill=False,
        name="x",
    )
    found.check(memory)
    box = found.load(memory, (FAR, 4, 1, FAR - 2 + 1, 0), (1, 1, 1, 2, ROW))[0, 0, 0]
    assert torch.equal(box[0], x[3, 1])
    assert bool((box[1] == 0).all())


def test_a_sequence_that_reaches_beyond_its_tensor_is_found_out() -> None:
    memory = GlobalMemory()
    found = ragged(torch.zeros(5, ROW, dtype=torch.float16), memory)
    with pytest.raises(FaultError) as caught:
        found.load(memory, (FAR, 6, FAR - 2, 0), (1, 1, 2, ROW))
    assert caught.value.kind is FindingKind.OUT_OF_BOUNDS


def test_extents_that_are_merely_too_large_are_refused() -> None:
    memory = GlobalMemory()
    x = torch.zeros(5, ROW, dtype=torch.float16)
    found = Descriptor(
        address=memory.bind(x, "x"),
        shape=(FAR, ROW),
        strides=(ROW, 1),
        dtype=x.dtype,
        nan_fill=False,
        name="x",
    )
    with pytest.raises(FaultError, match="beyond the end of its tensor"):
        found.check(memory)
