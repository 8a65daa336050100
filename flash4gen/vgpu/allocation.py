"""How much shared and tensor memory a kernel needs at least, and whether its target has that.

An allocation is live from its operation to the last use of a view of it, through whole loops and
partitions. The compiler may need more (padding, its own scratch), never less.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flash4gen.vgpu.dtypes import torch_dtype
from flash4gen.vgpu.errors import Finding, FindingKind
from flash4gen.vgpu.parse.tree import MemDescType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flash4gen.vgpu.parse.tree import Module, Operation, Region

# Shared memory of one block in bytes: CUDA C++ Programming Guide, table of technical
# specifications per compute capability; the LDS in ROCm's documentation, AMD GPU specifications.
SHARED_BYTES: dict[int | str, int] = {
    80: 166_912,
    86: 101_376,
    87: 166_912,
    89: 101_376,
    90: 232_448,
    100: 232_448,
    103: 232_448,
    107: 232_448,
    110: 232_448,
    120: 101_376,
    121: 101_376,
    "gfx942": 65_536,
    "gfx950": 163_840,
}
# Tensor memory of an SM in columns of 128 words of 32 bits: PTX ISA, tcgen05.alloc.
TENSOR_COLUMNS = 512
_LOOPS = ("scf.for", "scf.while", "ttg.warp_specialize")


@dataclass(slots=True)
class _Live:
    operation: Operation
    space: str
    size: int
    start: int
    end: int


@dataclass(slots=True)
class _Walk:
    """Numbers the operations of a kernel and stretches lifetimes to their last uses."""

    share: int
    allocations: list[_Live] = field(default_factory=list)
    views: dict[str, _Live] = field(default_factory=dict)
    count: int = 0

    def region(self, region: Region) -> Iterator[_Live]:
        """Walk a region and yield what it uses."""
        for block in region.blocks:
            for op in block.operations:
                yield from self.operation(op)

    def operation(self, op: Operation) -> list[_Live]:
        """Walk an operation and return what it uses."""
        self.count += 1
        if op.name in ("ttg.local_alloc", "ttng.tmem_alloc"):
            return [self._allocate(op)]
        used = [self.views[v] for v in op.operands if v in self.views]
        if not (used or op.bindings or op.regions):
            for result in op.results:
                self.views.pop(result, None)
            return used
        self._bind(op, used)
        before = self.count
        for region in op.regions:
            used.extend(self.region(region))
        for live in used:
            # What a loop uses and did not allocate itself is needed to its end.
            outside = live.start <= before
            live.end = max(live.end, self.count if op.name in _LOOPS and outside else before)
        return used

    def _bind(self, op: Operation, used: list[_Live]) -> None:
        """Name what an operation makes, and what a loop hands to its body.

        Sibling regions use the same names again, so whatever is no memory is forgotten.
        """
        for name, value in op.bindings:
            self._alias(name, self.views.get(str(value)))
        kinds = dict(zip(op.results, op.result_types, strict=False))
        for result in op.results:
            is_memory = isinstance(kinds.get(result), MemDescType)
            self._alias(result, used[0] if is_memory and used else None)
        if op.name == "ttg.warp_specialize":
            self._capture(op)

    def _alias(self, name: str, live: _Live | None) -> None:
        if live is None:
            self.views.pop(name, None)
        else:
            self.views[name] = live

    def _allocate(self, op: Operation) -> _Live:
        kind = op.result_types[-1]
        if not isinstance(kind, MemDescType):
            raise TypeError(f"{op.name} of {kind}")
        size = _columns(kind) if kind.space == "tmem" else _bytes(kind)
        live = _Live(op, kind.space, size // self.share, self.count, self.count)
        self.allocations.append(live)
        self.views[op.results[0]] = live
        return live

    def _capture(self, op: Operation) -> None:
        for region in op.regions[1:]:
            for argument, value in zip(region.blocks[0].arguments, op.operands, strict=False):
                if str(value) in self.views:
                    self.views[argument.name] = self.views[str(value)]


def _bytes(kind: MemDescType) -> int:
    return math.prod(kind.shape) * torch_dtype(kind).itemsize


def _columns(kind: MemDescType) -> int:
    """Return columns of tensor memory: a block of 64 or 128 rows takes its own."""
    block = re.search(r"blockM = (\d+)", kind.layout)
    stride = re.search(r"colStride = (\d+)", kind.layout)
    if block is None or stride is None:
        return 0  # scale factors: a few columns
    *leading, rows, width = kind.shape
    tiles = math.prod(leading) * max(1, rows // int(block.group(1)))
    return tiles * width * torch_dtype(kind).itemsize * int(stride.group(1)) // 4


def over_allocations(module: Module) -> list[Finding]:
    """Return findings of a kernel that needs more memory than its target has."""
    ctas = module.attributes.get("ttg.num-ctas", 1)
    walk = _Walk(ctas if isinstance(ctas, int) else 1)
    for _ in walk.region(module.kernel.body):
        pass
    target = re.search(r"cuda:(\d+)|hip:(\w+)", str(module.attributes.get("ttg.target", "")))
    arch = None if target is None else target[2] or int(target[1])
    shared = None if arch is None else SHARED_BYTES.get(arch)
    found = [_peak(walk.allocations, "tmem", TENSOR_COLUMNS)]
    if shared is not None:
        found.append(_peak(walk.allocations, "smem", shared))
    return [finding for finding in found if finding is not None]


def _peak(allocations: list[_Live], space: str, limit: int) -> Finding | None:
    for new in (live for live in allocations if live.space == space):
        total = sum(
            live.size
            for live in allocations
            if live.space == space and live.start <= new.start <= live.end
        )
        if total > limit:
            kind, unit = (
                (FindingKind.TMEM_OVERALLOCATION, "columns of tensor memory")
                if space == "tmem"
                else (FindingKind.SMEM_OVERALLOCATION, "bytes of shared memory")
            )
            return Finding(
                kind=kind,
                message=f"{total} {unit} are in use from here on; the target has {limit}",
                op=new.operation.name,
                line=new.operation.line,
                location=new.operation.location,
            )
    return None
