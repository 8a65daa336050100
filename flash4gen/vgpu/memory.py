"""Global memory of a launch: the tensors it was given, at virtual addresses with wide gaps.

Every pointer argument gets an address range of its own, so that a pointer which leaves its tensor
reaches no other one, and an access is in bounds only if it falls on an element of the very view
that was passed. Aliases are kept apart as addresses and share their bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import int_dtype
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable

# Distance of two address ranges: farther than any 32-bit offset in elements can reach.
_SPACING = 40
_OFFSET_MASK = (1 << _SPACING) - 1
# Poison: what lanes read that were masked off and had no `other`.
_POISON_BYTE = 0xA5


@dataclass(eq=False)
class Region:
    """One tensor argument as an address range.

    Attributes:
        base: virtual address of its first element; keeps the tensor's own alignment.
        tensor: the tensor as it was passed.
        name: the argument's name, for messages.
    """

    base: int
    tensor: Tensor
    name: str

    def __post_init__(self) -> None:
        tensor, size = self.tensor, self.tensor.element_size()
        reach = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        self.span = 0 if tensor.numel() == 0 else reach + 1
        self.end = self.base + self.span * size
        self.dense = _is_dense(tensor)
        self._flat: dict[int, Tensor] = {}

    def flat(self, size: int) -> Tensor:
        """Return the span as a one-dimensional tensor of `size`-byte integers."""
        flat = self._flat.get(size)
        if flat is None:
            own = self.tensor.element_size()
            line = self.tensor.detach().as_strided((self.span,), (1,), self.tensor.storage_offset())
            begins = self.tensor.storage_offset() * own
            if begins % size or self.span * own % size:
                raise FaultError(
                    FindingKind.MISALIGNED,
                    f"{self.name}: {size}-byte access to a tensor of {self.span} elements of "
                    f"{own} bytes",
                )
            flat = line.view(int_dtype(own)).view(int_dtype(size))
            self._flat[size] = flat
        return flat

    @cached_property
    def allowed(self) -> Tensor:
        """For every byte of the span, whether it belongs to an element of the view."""
        size = self.tensor.element_size()
        allowed = torch.zeros(self.span, dtype=torch.bool)
        allowed.as_strided(self.tensor.shape, self.tensor.stride()).fill_(value=True)
        return allowed.repeat_interleave(size)


class WriteLog:
    """Which program wrote each byte of each storage, in one launch; -1 is nobody."""

    def __init__(self) -> None:
        self._owners: dict[int, Shadow] = {}

    def record(self, cells: Tensor, index: Tensor | None, program: int) -> int | None:
        """Note a write of cells, or of those at an index, and return another who wrote there."""
        storage = cells.untyped_storage()
        key = storage.data_ptr()
        if key not in self._owners:
            unit = cells.element_size()
            self._owners[key] = Shadow(storage.nbytes(), unit, blank=-1, dtype=torch.int32)
        owners = self._owners[key]
        before = owners.get(cells, index)
        others = before[(before != -1) & (before != program)]
        if others.numel():
            return int(others[0])
        owners.put(cells, index, program)
        return None


class GlobalMemory:
    """The address space of one launch."""

    def __init__(self) -> None:
        self._regions: list[Region] = []
        self.log = WriteLog()

    def bind(self, tensor: Tensor, name: str) -> int:
        """Give a tensor an address range and return the address of its first element."""
        start = (len(self._regions) + 1) << _SPACING
        # The tensor's own alignment, up to a page, shows in its virtual address.
        region = Region(start + (tensor.data_ptr() & 0xFFF), tensor, name)
        self._regions.append(region)
        return region.base

    def region(self, address: int) -> Region:
        """Return the region an address lies in or near; raises `FaultError` if there is none."""
        index = (address >> _SPACING) - 1
        if not 0 <= index < len(self._regions):
            raise FaultError(
                FindingKind.OUT_OF_BOUNDS, f"address {address:#x} belongs to no argument"
            )
        return self._regions[index]

    def load(self, address: Tensor, mask: Tensor | None, other: Any, dtype: torch.dtype) -> Tensor:
        """Gather elements.

        Args:
            address: int64 addresses, any shape.
            mask: bool of the same shape, or None for all lanes.
            other: what masked-off lanes get: a tensor of `dtype`, or None for poison.
            dtype: type of the elements.
        """
        mask = _narrow(mask)
        if mask is not None and not mask.any():
            return poison(address.shape, dtype) if other is None else other
        safe, region, index = self._locate(address, mask, dtype.itemsize, "load")
        flat = region.flat(dtype.itemsize)
        value = flat.index_select(0, index.reshape(-1)).view(dtype).view(safe.shape)
        if mask is None:
            return value
        if other is None:
            other = poison(address.shape, dtype)
        return select(mask, value, other)

    def store(self, address: Tensor, value: Tensor, mask: Tensor | None, program: int) -> None:
        """Scatter elements; `program` is the linear id that the write log remembers."""
        mask = _narrow(mask)
        size = value.dtype.itemsize
        if mask is not None:
            address, value = address[mask], value[mask]
        if address.numel() == 0:
            return
        _, region, index = self._locate(address, None, size, "store")
        flat = region.flat(size)
        index = index.reshape(-1)
        flat[index] = value.reshape(-1).view(int_dtype(size))
        self._record(region, flat, index, program)

    def update(
        self,
        address: Tensor,
        value: Tensor,
        mask: Tensor | None,
        combine: Callable[[Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Replace each element by `combine(old, value)`, lane after lane, and return the old ones.

        Lanes that are masked off return poison.
        """
        old = poison(address.shape, value.dtype)
        live = torch.ones_like(address, dtype=torch.bool) if mask is None else mask
        if not live.any():
            return old
        _, region, index = self._locate(address[live], None, value.dtype.itemsize, "atomic")
        flat = region.flat(value.dtype.itemsize).view(value.dtype)
        given = value[live].reshape(-1)
        if index.numel() == int(torch.unique(index).numel()):
            before = flat[index]
            flat[index] = combine(before, given)
        else:
            before = torch.empty_like(given)
            for lane, place in enumerate(index.tolist()):
                before[lane] = flat[place]
                flat[place] = combine(flat[place], given[lane])
        old[live] = before
        return old

    def cells(
        self, address: Tensor, mask: Tensor | None, size: int
    ) -> tuple[Tensor, Tensor] | None:
        """Return a region as integers of `size` bytes and the indices of the live lanes in it."""
        if mask is not None:
            address = address[mask]
        if address.numel() == 0:
            return None
        _, region, index = self._locate(address, None, size, "access")
        return region.flat(size), index.reshape(-1)

    def _locate(
        self, address: Tensor, mask: Tensor | None, size: int, access: str
    ) -> tuple[Tensor, Region, Tensor]:
        """Check addresses and return them with their region and element indices."""
        if mask is None:
            low, high = (int(bound) for bound in address.aminmax())
        else:
            live = address[mask]
            low, high = (int(bound) for bound in live.aminmax())
            address = torch.where(mask, address, low)
        region = self.region(low)
        if low < region.base or high + size > region.end:
            first = low if low < region.base else high
            raise FaultError(FindingKind.OUT_OF_BOUNDS, _outside(region, first, size, access))
        if low % size:
            raise FaultError(
                FindingKind.MISALIGNED,
                f"{access} of {size} bytes at {region.name} + {low - region.base} bytes",
            )
        offset = address - region.base
        if not region.dense:
            self._check_view(region, offset, size, access)
        return address, region, offset >> size.bit_length() - 1 if size > 1 else offset

    @staticmethod
    def _check_view(region: Region, offset: Tensor, size: int, access: str) -> None:
        inside = region.allowed[offset.reshape(-1)]
        if not inside.all():
            bad = int(offset.reshape(-1)[~inside][0]) + region.base
            raise FaultError(FindingKind.OUT_OF_BOUNDS, _outside(region, bad, size, access))

    def _record(self, region: Region, cells: Tensor, index: Tensor | None, program: int) -> None:
        other = self.log.record(cells, index, program)
        if other is not None:
            raise FaultError(
                FindingKind.WRITE_OVERLAP,
                f"programs {other} and {program} both write the same element of {region.name}",
            )

    def scalar_load(self, address: int, dtype: torch.dtype) -> Tensor:
        """Load one element as a one-element tensor."""
        return self.load(torch.tensor([address]), None, None, dtype)

    def box(self, address: int, shape: list[int], strides: list[int], dtype: torch.dtype) -> Tensor:
        """Return a strided view of in-bounds elements, sizes in elements of `dtype`."""
        region = self.region(address)
        size = dtype.itemsize
        flat = region.flat(size)
        offset = (address - region.base) // size
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if offset < 0 or last >= flat.numel():
            bad = address if offset < 0 else region.base + last * size
            raise FaultError(FindingKind.OUT_OF_BOUNDS, _outside(region, bad, size, "access"))
        if not region.dense:
            bytes_ = [stride * size for stride in strides]
            view = region.allowed.as_strided(shape, bytes_, address - region.base)
            if not view.all():
                raise FaultError(
                    FindingKind.OUT_OF_BOUNDS,
                    f"a box of {'x'.join(map(str, shape))} at {region.name} + "
                    f"{address - region.base} bytes covers bytes outside of the tensor's view",
                )
        return flat.as_strided(shape, strides, flat.storage_offset() + offset)

    def log_box(self, address: int, view: Tensor, program: int) -> None:
        """Record that a program wrote a box of elements that `box` returned."""
        self._record(self.region(address), view, None, program)


def _is_dense(tensor: Tensor) -> bool:
    """Whether a view covers its span without gaps or overlaps, in any order of dimensions."""
    expected = 1
    for stride, extent in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if extent == 1:
            continue
        if stride != expected:
            return False
        expected *= extent
    return True


def poison(shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Return the value of lanes that hold none: NaN, or a fixed odd pattern for integers."""
    if dtype.is_floating_point:
        return torch.full(tuple(shape), float("nan"), dtype=torch.float32).to(dtype)
    if dtype is torch.bool:
        return torch.ones(tuple(shape), dtype=torch.bool)
    pattern = int.from_bytes(bytes([_POISON_BYTE]) * dtype.itemsize, "little", signed=True)
    return torch.full(tuple(shape), pattern, dtype=dtype)


def select(mask: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """`torch.where` for every dtype, fp8 included."""
    if yes.dtype.is_floating_point and yes.dtype.itemsize == 1:
        raw = torch.where(mask, yes.view(torch.int8), no.view(torch.int8))
        return raw.view(yes.dtype)
    return torch.where(mask, yes, no)


def _narrow(mask: Tensor | None) -> Tensor | None:
    return None if mask is None or bool(mask.all()) else mask


def _outside(region: Region, address: int, size: int, access: str) -> str:
    shape = "x".join(map(str, region.tensor.shape))
    offset = address - region.base
    return (
        f"{access} of {size} bytes at byte {offset} of {region.name}, "
        f"a tensor of shape {shape} whose elements end at byte {region.end - region.base}"
        + ("" if region.dense else " and leave gaps")
    )
