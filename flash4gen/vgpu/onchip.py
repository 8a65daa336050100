"""Shared and tensor memory: allocations of bytes, typed views of them, and what each byte holds.

Beside its data every allocation keeps a map of the same layout that says whether an element was
written. A view is a pair of equally strided torch tensors, one into each, so that any chain of
index, slice, transpose and reinterpret applies to both alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from flash4gen.vgpu.dtypes import int_dtype
from flash4gen.vgpu.errors import FaultError, FindingKind
from flash4gen.vgpu.memory import poison

if TYPE_CHECKING:
    from collections.abc import Callable

    from flash4gen.vgpu.concurrent.barrier import CheckedBarrier
    from flash4gen.vgpu.concurrent.footprint import Footprint
    from flash4gen.vgpu.concurrent.history import History

# States of a byte. READY is zero, so that "all ready" is "no bit set".
READY = 0x00
EMPTY = 0x01
SKIPPED = 0x02
BUSY = 0x03


def _pattern(state: int, size: int) -> int:
    return int.from_bytes(bytes([state]) * size, "little", signed=True)


@dataclass(eq=False)
class Buffer:
    """One allocation.

    Attributes:
        space: `smem` or `tmem`.
        size: bytes.
        name: of the value that the allocation defines, for messages.
        barriers: the mbarriers that live in it, by byte offset.
        checked: the same on the checked machine.
        history: the accesses to it on the checked machine.
        twins: in a cluster, the same allocation on every CTA.
        emptied: how often elements of it stopped to hold values.
    """

    space: str
    size: int
    name: str

    def __post_init__(self) -> None:
        # Eight spare bytes let every dtype view the storage whole.
        whole = (self.size + 7) // 8 * 8
        self.data = torch.empty(whole, dtype=torch.uint8)
        self.state = torch.full((whole,), EMPTY, dtype=torch.uint8)
        self.barriers: dict[int, Barrier] = {}
        self.checked: dict[int, CheckedBarrier] = {}
        self.history: History | None = None
        self.twins: tuple[Buffer, ...] = ()
        self.emptied = 0

    def view(self, shape: tuple[int, ...], dtype: torch.dtype, layout: str) -> View:
        """Return the whole allocation as a row-major tensor."""
        count = math.prod(shape)
        data = self.data.view(dtype)[:count].view(shape)
        state = self.state.view(int_dtype(dtype.itemsize))[:count].view(shape)
        return View(self, data, state, layout)


@dataclass(eq=False)
class Barrier:
    """An mbarrier: a phase completes when its arrivals and its bytes have come.

    Attributes:
        count: arrivals a phase needs.
        phase: index of the phase that is running; the first is 0.
        pending: arrivals still to come in it.
        bytes: bytes announced and not yet delivered.
    """

    count: int
    name: str
    phase: int = 0
    pending: int = field(init=False)
    bytes: int = 0

    def __post_init__(self) -> None:
        self.pending = self.count

    def passed(self, parity: int) -> bool:
        """Whether the phase of that parity has completed, as `try_wait.parity` answers it."""
        return (self.phase & 1) != (parity & 1)

    def expect(self, count: int) -> None:
        """Announce bytes for the running phase."""
        self.bytes += count

    def deliver(self, count: int) -> None:
        """Bytes arrive by TMA."""
        self.bytes -= count
        self._turn()

    def arrive(self, count: int) -> None:
        """Threads or a commit arrive."""
        if count > self.pending:
            raise FaultError(
                FindingKind.BARRIER_OVER_ARRIVAL,
                f"{count} arrivals at {self.name}, whose phase {self.phase} needs "
                f"{self.pending} more of {self.count}",
            )
        self.pending -= count
        self._turn()

    def _turn(self) -> None:
        if self.pending == 0 and self.bytes == 0:
            self.phase += 1
            self.pending = self.count


class View:
    """A typed, strided window on a buffer; `data` and `state` have the same geometry."""

    __slots__ = (
        "_children",
        "_full_since",
        "_state_flat",
        "buffer",
        "data",
        "footprint",
        "layout",
        "offset",
        "state",
    )

    def __init__(self, buffer: Buffer, data: Tensor, state: Tensor, layout: str) -> None:
        self.buffer = buffer
        self.data = data
        self.state = state
        self.layout = layout
        # Byte offset of the first element in the buffer.
        self.offset = int(data.storage_offset()) * data.element_size()
        self.footprint: Footprint | None = None
        self._children: dict[object, View] = {}
        # A dense window is checked by words of eight bytes, whatever its order of dimensions.
        self._state_flat = _words(state)
        # A window that was found full stays so until elements of the buffer are emptied.
        self._full_since = -1

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.buffer.name

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what kernels see; that of `data`, unless dimensions that lie apart are merged."""
        return tuple(self.data.shape)

    @property
    def elements(self) -> Tensor:
        """What kernels see; void elements are not told apart."""
        return self.data

    def derive(self, key: object, layout: str, of: Transform) -> View:
        """Return the view that `of` makes of both tensors; remembered under `key`."""
        child = self._children.get(key)
        if child is None:
            child = View(self.buffer, of(self.data), of(self.state), layout)
            self._children[key] = child
        return child

    def element(self, index: int, layout: str) -> View:
        """Return the view of one element along the first dimension; the index is in range."""
        child = self._children.get(index)
        return child or self.derive(index, layout, lambda tensor: tensor[index])

    def child(self, key: object, make: Callable[[], View]) -> View:
        """Return another view of the same memory, made at most once; remembered under `key`."""
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = make()
        return child

    def twin(self, rank: int) -> View:
        """Return the same window on another CTA's part of the allocation."""
        other = self._children.get(("twin", rank))
        if other is None:
            buffer, size = self.buffer.twins[rank], self.data.element_size()
            data = buffer.data.view(self.data.dtype)
            state = buffer.state.view(int_dtype(size))
            place = self.data.shape, self.data.stride(), self.data.storage_offset()
            other = self._over(buffer, data.as_strided(*place), state.as_strided(*place))
            self._children["twin", rank] = other
        return other

    def _over(self, buffer: Buffer, data: Tensor, state: Tensor) -> View:
        """Return a view of this kind over other memory."""
        return View(buffer, data, state, self.layout)

    def mark(self, state: int) -> None:
        """Set the state of every element."""
        if state != READY:
            self.buffer.emptied += 1
        self._state_flat.fill_(_pattern(state, self._state_flat.element_size()))

    def write(self, value: Tensor) -> None:
        """Store a tensor, or keep what `data` has become; all of the window is ready then."""
        if value is not self.data:
            self.data.copy_(value)
        if self._full_since != self.buffer.emptied:
            self._state_flat.zero_()
            self._full_since = self.buffer.emptied

    def skip(self) -> None:
        """Note that a predicated-off write would have come here: what was empty is void now."""
        empty = self.state == _pattern(EMPTY, self.state.element_size())
        self.state.masked_fill_(empty, _pattern(SKIPPED, self.state.element_size()))

    @property
    def ready(self) -> bool:
        """Whether every element holds a value."""
        emptied = self.buffer.emptied
        if self._full_since == emptied:
            return True
        full = not bool(self._state_flat.any())
        if full:
            self._full_since = emptied
        return full

    def read(self) -> Tensor:
        """Return a copy of the elements; void ones are poison.

        Raises:
            FaultError: an element was never written, or an asynchronous write to it is under way.
        """
        return self.peek().clone()

    def peek(self) -> Tensor:
        """Like `read` without the copy: for consumers that do not keep what they get."""
        if self.ready:
            return self.elements
        if self.holds(BUSY):
            raise FaultError(
                FindingKind.IN_FLIGHT,
                f"{self.buffer.space} of {self.name} is read while an asynchronous write to it "
                "is under way",
            )
        if self.holds(EMPTY):
            raise FaultError(
                FindingKind.UNINITIALISED,
                f"{self.buffer.space} of {self.name} is read and was never written",
            )
        return self.patched((SKIPPED,))

    def holds(self, state: int) -> bool:
        """Whether an element is in a state."""
        return bool((self.state == _pattern(state, self.state.element_size())).any())

    def patched(self, states: tuple[int, ...]) -> Tensor:
        """Return the elements, those in any of the states replaced by poison."""
        size = self.state.element_size()
        void = self.state == _pattern(states[0], size)
        for state in states[1:]:
            void = void | (self.state == _pattern(state, size))
        raw = poison(self.data.shape, self.data.dtype)
        patched = torch.where(
            void,
            raw.view(int_dtype(size)),
            self.data.contiguous().view(int_dtype(size)),
        )
        return patched.view(self.data.dtype)


class Transform(Protocol):
    """A reshaping of a tensor; the type of `View.derive`'s last argument."""

    def __call__(self, tensor: Tensor) -> Tensor:
        """Return a view of the tensor."""
        ...


def _words(state: Tensor) -> Tensor:
    """Return the same bytes as 8-byte words where the window is dense, else the window."""
    straight = state
    if not state.is_contiguous():
        strides = state.stride()
        straight = state.permute(sorted(range(state.dim()), key=lambda axis: -strides[axis]))
    size = state.element_size()
    aligned = straight.numel() * size % 8 == 0 and straight.storage_offset() * size % 8 == 0
    return straight.view(-1).view(torch.int64) if aligned and straight.is_contiguous() else state
