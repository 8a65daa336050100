"""The memory plan of a schedule: shared-memory buffers by name, and tensor-memory columns.

In: the fields of a schedule and the target. Out: what Triton 3.9 allocates for the portable kernel,
never less. ``tests/schedule`` holds the plan to the measured table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from flash4gen.ir.hardware import Feature
from flash4gen.schedule.model import Load
from flash4gen.schedule.units import GROUP_ROWS, Unit, matrix_unit, warp_grid

if TYPE_CHECKING:
    from flash4gen.ir.hardware import Hardware
    from flash4gen.schedule.space import Shape
    from flash4gen.schedule.workload import TileRead

ELEMENT = 2
"""Bytes of one fp16 or bf16 element: what an element is unless it is said."""

BARRIERS = 64
"""Bytes set aside for mbarriers where something signals through them."""

SCRATCH = 1024
"""Bytes of scratch for exchanges between warps, and of alignment, where a unit reads q in shared
memory that the copy engine has filled."""

MMA_ROWS = 128
"""Rows, that is lanes, of tensor memory."""

LEAST_COLUMNS = 32
"""The fewest columns of tensor memory that can be allocated."""


class Buffer(NamedTuple):
    """One shared-memory allocation."""

    name: str
    bytes: int


def shared_memory(
    hardware: Hardware,
    shape: Shape,
    head_pad: int,
    value_pad: int,
    reads: tuple[TileRead, ...] = (),
    *,
    element: int = ELEMENT,
) -> tuple[Buffer, ...]:
    """Return the buffers of one block; their sum is what the block asks for.

    The query tile stays for the whole loop, unless the unit takes it from registers: then its
    buffer is free once it is read, and only what it has over the rings counts (mma.sync, of tiles
    that the copy engine brings). What is looked up in words comes by cp.async and has a ring too;
    16-bit elements, and what is left of the others, go through scratch to the layout of the scores,
    and so do factors of keys. With wgmma, 8-bit values lie in one slot less, and in a buffer in
    which they are transposed: it reads no others.
    """
    unit = matrix_unit(hardware, shape.tile_q, shape.warps)
    if unit is Unit.MFMA:
        return _local_data_share(hardware, shape, (head_pad, value_pad), reads, element)
    slots = ring_slots(unit, shape.stages)
    key_ring = slots * shape.tile_k * head_pad * element
    value_ring = slots * shape.tile_k * value_pad * element
    query = shape.tile_q * head_pad * element
    weights = 0
    if unit is Unit.MMA_SYNC and warp_grid(unit, shape.tile_q, value_pad, shape.warps).columns > 1:
        weights = shape.tile_q * shape.tile_k * element
    stays = unit is Unit.WGMMA and shape.load is Load.TMA
    reused = shape.load is Load.TMA and unit is Unit.MMA_SYNC
    name = "q, beyond the rings it leaves its place to" if reused else "q"
    if reused:
        query = max(0, query - key_ring - value_ring - weights)
    small = SCRATCH if unit is Unit.TCGEN05 or stays else 0
    if unit is Unit.TCGEN05 or shape.load is Load.TMA:
        small += BARRIERS
    plan = (
        Buffer(name, query),
        Buffer(f"k, {slots} slots", key_ring),
        Buffer(f"v, {slots} slots", value_ring),
        Buffer("p", weights),
        Buffer("barriers and scratch", small),
        Buffer("look-ups", _look_ups(shape, slots, reads)),
    )
    return tuple(buffer for buffer in plan if buffer.bytes)


def _local_data_share(
    hardware: Hardware,
    shape: Shape,
    pads: tuple[int, int],
    reads: tuple[TileRead, ...],
    element: int,
) -> tuple[Buffer, ...]:
    """Return the buffers of one block in AMD's LDS.

    The query tile passes through it on its way into registers, before the rings are there. Copies
    that pass registers fill a slot late, as with mma.sync; those that do not need one for each
    stage, and of one ring a pad of 16 elements after each 1024 bytes. Without a pipeline, values
    take the place of the keys. 8-bit weights of as many keys as one product of gfx950 takes come to
    the matrix cores through the LDS, those of fewer through registers.
    """
    copies = hardware.has(Feature.LDS_DMA)
    exchanged = copies and element == 1 and shape.tile_k >= _KEYS_OF_A_PRODUCT
    weights = shape.tile_q * shape.tile_k * exchanged
    head_pad, value_pad = (pad * element for pad in pads)
    query, keys, values = (
        shape.tile_q * head_pad,
        shape.tile_k * head_pad,
        shape.tile_k * value_pad,
    )
    slots = shape.stages if copies else shape.stages - 1
    rings = [
        Buffer(f"k, {slots} slots", slots * keys),
        Buffer(f"v, {slots} slots", slots * values),
        Buffer("padding", slots * max(keys, values) * 16 * element // 1024 if copies else 0),
        Buffer("weights", weights),
    ]
    if shape.stages == 1:
        slots, rings = 1, [Buffer("k, then v", max(keys, values, weights))]
    taken = sum(buffer.bytes for buffer in rings)
    plan = (
        Buffer("q, beyond the rings it leaves its place to", max(0, query - taken)),
        *rings,
        Buffer("look-ups", _look_ups(shape, slots, reads)),
    )
    return tuple(buffer for buffer in plan if buffer.bytes)


_KEYS_OF_A_PRODUCT = 128
"""What a product of 8-bit elements sums (Triton 3.9, gfx950: v_mfma_f32_16x16x128_f8f6f4)."""


def _look_ups(shape: Shape, slots: int, reads: tuple[TileRead, ...]) -> int:
    """Return the bytes of all rings of look-ups and of the largest exchange between layouts.

    What is computed from keys is exchanged, and has no ring.
    """
    sizes = [
        (read, shape.tile_k * (shape.tile_q if read.per_score else 1) * read.bytes)
        for read in reads
    ]
    rings = sum(
        slots * size for read, size in sizes if read.looked_up and read.bytes >= _ASYNC_BYTES
    )
    return rings + max((size for _, size in sizes), default=0)


_ASYNC_BYTES = 4
"""The shortest copy that cp.async makes (PTX ISA, cp.async)."""


def ring_slots(unit: Unit, stages: int) -> int:
    """Return how many key tiles, and as many value tiles, lie in shared memory at a time.

    The asynchronous units read a tile while the next one arrives, so that each stage has a slot;
    mma.sync has read a tile into registers before its slot is filled again.
    """
    return max(1, stages - 1) if unit is Unit.MMA_SYNC else max(1, stages)


def tensor_columns(hardware: Hardware, shape: Shape, value_pad: int, element: int = ELEMENT) -> int:
    """Return the columns of tensor memory, 0 where the tile does not use any.

    Accumulator and scores are 32-bit, a column each; 16-bit weights take half, 8-bit ones a
    quarter. Triton
    allocates a power of two. Tiles of 64 rows use half the lanes: scores that are wider than the
    accumulator share their columns with it and the weights, else the weights lie beside them.
    """
    if matrix_unit(hardware, shape.tile_q, shape.warps) is not Unit.TCGEN05:
        return 0
    if shape.tile_q > GROUP_ROWS:
        weights = shape.tile_k * element // 4
        columns = (value_pad + shape.tile_k + weights) * (shape.tile_q // MMA_ROWS)
    elif shape.tile_k > value_pad:
        columns = max(shape.tile_k, value_pad + shape.tile_k * element // 4)
    else:
        columns = value_pad + shape.tile_k
    return max(LEAST_COLUMNS, 1 << (columns - 1).bit_length())
